"""The base network: trained from its recipe's table, before any checkpoint is collected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.components import Task, Train
from pdiff.context import Context
from pdiff.data import Batch, DatasetSplits
from pdiff.files import save_tensors, write_json
from pdiff.populations.predictor import score_model
from pdiff.running.device import placed
from pdiff.training.loop import epoch_length, epoch_order, train

AVERAGE = 0.999
"""Decay, per step, of the moving average of the weights that `keep = "average"` keeps."""


def do_train(
    model: nn.Module, settings: Train, data: DatasetSplits, selection: str, task: Task, folder: Path, ctx: Context
) -> None:
    """Train the base network and write network.safetensors, log.json and result.json."""
    split, log = data.split(selection), []
    if settings.epochs:
        per_epoch = epoch_length(len(data.train), settings.batch_size, model.train())
        best = None
        if settings.keep != "average":
            best = _KeepBest(model, per_epoch, settings.keep, lambda: score_model(model, task, split, ctx))
        log = _fine_tune(placed(model, ctx.device), settings, data, task, ctx, per_epoch, best)
        if best:
            model.load_state_dict(best.state)
            log = best.merge(log, per_epoch)
    save_tensors(folder / "network.safetensors", model.state_dict())
    write_json(folder / "log.json", log)
    scored = {task.metric: score_model(model, task, split, ctx)} if len(split) else {}
    write_json(folder / "result.json", scored | {"split": selection})


def _fine_tune(
    model: nn.Module, settings: Train, data: DatasetSplits, task: Task, ctx: Context, per_epoch: int,
    best: _KeepBest | None,
) -> list[dict[str, float]]:  # fmt: skip
    def draw(step: int, generator: torch.Generator) -> Batch:
        index = epoch_order(len(data.train), settings.batch_size, step, ctx.seed, per_epoch)
        return data.train.batch(index, ctx.device, generator)

    def loss(*batch: Any) -> Tensor:
        return task.loss(model, Batch(*batch))

    cosine = {"cosine": _by_epoch(per_epoch, settings.epochs), "constant": "constant"}[settings.schedule]
    model.train()
    return train(
        model, loss, steps=settings.epochs * per_epoch, ctx=ctx, what="train", lr=settings.lr,
        optimizer=settings.optimizer, weight_decay=settings.weight_decay, schedule=cosine, observer=best, draw=draw,
        ema=0.0 if best else AVERAGE,
    )  # fmt: skip


def _by_epoch(per_epoch: int, epochs: int) -> Any:
    """Cosine that falls once an epoch."""
    cosine = torch.cos(torch.pi * torch.arange(epochs, dtype=torch.float64) / epochs)
    factors = (0.5 * (1 + cosine)).tolist()
    return lambda step: factors[step // per_epoch]


class _KeepBest:
    """Keeps the state of the epoch with the best score (or of the last epoch)."""

    def __init__(self, model: nn.Module, per_epoch: int, keep: str, score: Any):
        self.model, self.per_epoch, self.keep, self.score = model, per_epoch, keep, score
        self.state: dict[str, Tensor] = {}
        self.scores: list[float] = []

    def after(self, step: int) -> dict[str, float]:
        if step % self.per_epoch == 0:
            training = self.model.training
            self.scores.append(self.score())
            self.model.train(training)
            if self.keep == "last" or not self.state or self.scores[-1] > max(self.scores[:-1]):
                self.state = {key: value.detach().clone() for key, value in self.model.state_dict().items()}
        return {"score": self.scores[-1]} if self.scores else {}

    def tensors(self) -> dict[str, Tensor]:
        return self.state | {"/scores": torch.tensor(self.scores, dtype=torch.float64)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.scores = tensors.pop("/scores").tolist()
        self.state = tensors

    def merge(self, log: list[dict[str, float]], per_epoch: int) -> list[dict[str, float]]:
        """Return the log with a row per epoch's score."""
        epochs = [{"step": (epoch + 1) * per_epoch, "score": score} for epoch, score in enumerate(self.scores)]
        return sorted([*log, *epochs], key=lambda row: row["step"])
