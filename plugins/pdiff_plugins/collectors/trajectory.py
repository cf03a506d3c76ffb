"""Collectors: where checkpoints come from."""

from __future__ import annotations

import hashlib
import math
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Collector, Task
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.data import DatasetSplits
    from pdiff.zoo import Layout, Zoo


class Trajectory(Collector):
    """The subset after each further training step, all else frozen (the paper's)."""

    name = "trajectory"
    source: ClassVar[str] = "Neural Network Diffusion, arXiv 2402.13144, section 3.1; settings from the authors' code"
    count: int = Field(300, gt=1, description="checkpoints")
    lr: float = Field(gt=0, description="learning rate, constant unless lr_end is given")
    lr_end: float = Field(0.0, ge=0, description="rate reached at the end of the first epoch by a cosine; 0: constant")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay (L2 for sgd)")
    batch_size: int = Field(128, gt=0, description="examples per step")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd has momentum 0.9")
    batch_norm: Literal["train", "eval"] = Field(
        "eval",
        description="eval: BatchNorm uses its frozen statistics, and dropout is off; train: those of the "
        "batch, although the saved networks are evaluated with the frozen ones. The authors' cells differ in this",
    )
    every: int = Field(1, gt=0, description="save every so many steps")
    skip_steps: int = Field(0, ge=0, description="steps before the first is saved")
    skip_first_batch: bool = Field(False, description="do not save after the first batch of an epoch, as some cells do")

    def collect(
        self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, bench: Bench, ctx: Context
    ) -> Zoo:
        from pdiff.data import Batch
        from pdiff.training.loop import epoch_order, train
        from pdiff.zoo import Zoo

        anchor = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
        for key, parameter in model.named_parameters(remove_duplicate=False):
            parameter.requires_grad_(key in layout.keys)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise UserError("selector: names no trainable parameter (buffers alone do not learn); select some")
        model.train(self.batch_norm == "train")
        per_epoch = math.ceil(len(data.train) / self.batch_size)
        saved = self.saved_steps(per_epoch)

        def draw(step: int, generator: Any) -> Batch:
            index = epoch_order(len(data.train), self.batch_size, step, ctx.seed)
            return data.train.batch(index, ctx.device, generator)

        def loss(*batch: Tensor) -> Tensor:
            return task.loss(model, Batch(*batch))

        recorder = _Recorder(model, layout, set(saved))
        train(
            model, loss, steps=saved[-1], ctx=ctx, what="collect", lr=self.lr, optimizer=self.optimizer,
            weight_decay=self.weight_decay, schedule=self._factor(per_epoch), observer=recorder,
            draw=draw,
        )  # fmt: skip
        rows = [{"run": 0, "step": step, "metrics": {}} for step in saved]
        return Zoo(recorder.theta(), layout, anchor, rows)

    def saved_steps(self, per_epoch: int) -> list[int]:
        """Return the steps (counted from 1) after which a checkpoint is saved."""
        steps: list[int] = []
        step = self.skip_steps
        idle = math.lcm(self.every, per_epoch)
        while len(steps) < self.count:
            step += 1
            if step - (steps[-1] if steps else self.skip_steps) > 2 * idle:
                raise UserError(
                    f"collect: every = {self.every} with {per_epoch} batches an epoch falls on first batches only, "
                    "which skip_first_batch leaves out; change one of them"
                )
            first = self.skip_first_batch and per_epoch > 1 and (step - 1) % per_epoch == 0
            if (step - self.skip_steps) % self.every == 0 and not first:
                steps.append(step)
        return steps

    def _factor(self, per_epoch: int) -> Any:
        if not self.lr_end:
            return "constant"
        low = self.lr_end / self.lr
        return lambda step: low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(step / per_epoch, 1.0)))


class _Recorder:
    """Keeps the selected parameters after the steps asked for."""

    def __init__(self, model: nn.Module, layout: Layout, steps: set[int]):
        self.model, self.layout, self.steps = model, layout, steps
        self.rows: list[Tensor] = []

    def after(self, step: int) -> dict[str, float]:
        if step in self.steps:
            self.rows.append(self.layout.vector(self.model.state_dict()))
        return {}

    def theta(self) -> Tensor:
        import torch

        return torch.stack(self.rows) if self.rows else torch.empty(0, self.layout.dim)

    def tensors(self) -> dict[str, Tensor]:
        return {"theta": self.theta()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.rows = list(tensors["theta"].unbind())


KINDS = (".safetensors", ".pt", ".pth", ".bin")
"""Of files that hold checkpoints."""


def _step(file: Path) -> int:
    """Return the number after "step", "epoch" or "iter" in a file's name, else the last number, else 0."""
    numbers = re.findall(r"(?:step|epoch|iteration|iter)[-_=]?(\d+)", file.stem, re.IGNORECASE)
    numbers = numbers or re.findall(r"\d+", file.stem)
    return int(numbers[-1]) if numbers else 0


class Folder(Collector):
    """Your own checkpoints: a folder of .safetensors, or of .pt with tensors only.

    Where it holds no files but folders of such, each of these is one run, and the number after "step", "epoch" or
    "iter" in a file's name its step (without these the last number, without numbers the place in the order of names).
    """

    name = "folder"
    path: str = Field(
        min_length=1, description="folder of checkpoint files, taken in the order of their names, or of one per run"
    )
    pattern: str = Field("*", description="glob of the files that count")
    anchor: Literal["same", "first", "base"] = Field(
        "same",
        description="where entries outside the selection come from: same: the files, which must agree; "
        "first: the first file; base: the base network (files that hold only the subset always take it)",
    )

    def identity(self) -> dict[str, Any]:
        """Name the files by their content, so that moving the folder changes no key."""
        digest, files = hashlib.sha256(), self.files()
        if files[0].parent != Path(self.path):
            digest.update(repr([(row["run"], row["step"]) for row in self._rows(files)]).encode())
        for file in files:
            with open(file, "rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        return super().identity() | {"path": f"sha256:{digest.hexdigest()}", "pattern": ""}

    def files(self) -> list[Path]:
        """Return the checkpoint files. Raises UserError when there are fewer than two."""
        folder = Path(self.path)
        if not folder.is_dir():
            raise UserError(f"collect.path = {self.path!r}: no such folder")
        files = sorted(self._within(folder))
        if not files:
            runs = sorted(run for run in folder.iterdir() if run.is_dir())
            files = [file for run in runs for file in sorted(self._within(run), key=lambda file: (_step(file), file))]
        if len(files) == 1 and any(self._within(run) for run in folder.iterdir() if run.is_dir()):
            raise UserError(
                f"collect.path = {self.path!r}: holds the file {files[0].name} beside folders of checkpoints; take it "
                "away, so that each folder is a run"
            )
        if len(files) < 2:
            raise UserError(
                f"collect.path = {self.path!r}: holds {len(files)} files {self.pattern!r} of {', '.join(KINDS)}; "
                "at least 2 are needed"
            )
        return files

    def _within(self, folder: Path) -> list[Path]:
        named = (file for file in folder.iterdir() if fnmatchcase(file.name, self.pattern))
        return [file for file in named if file.suffix in KINDS and file.is_file()]

    def collect(
        self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, bench: Bench, ctx: Context
    ) -> Zoo:
        import torch

        from pdiff.zoo import Zoo

        anchor = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
        others = [key for key in anchor if key not in layout.keys and anchor[key].is_floating_point()]
        files, thetas, first = self.files(), [], None
        with ctx.progress.step("collect", len(files)) as bar:
            for file in files:
                state = self._read(file, anchor, layout)
                thetas.append(layout.vector(state))
                if self.anchor != "base" and any(key in state for key in others):
                    first = first or state
                    self._compare(file, state, first, others)
                bar.advance()
        if first is not None:
            frozen = [key for key in anchor if key in first and key not in layout.keys]
            anchor |= {key: first[key].to(anchor[key].dtype) for key in frozen}
        return Zoo(torch.stack(thetas), layout, anchor, self._rows(files))

    def _rows(self, files: list[Path]) -> list[dict[str, Any]]:
        """Return what is known of each file: those of one folder below `path` are a run, other files one each."""
        top = Path(self.path)
        if files[0].parent == top:
            return [{"run": number, "step": 0, "metrics": {}, "file": file.name} for number, file in enumerate(files)]
        rows = []
        for number, run in enumerate(dict.fromkeys(file.parent for file in files)):
            own = [file for file in files if file.parent == run]
            steps = [_step(file) for file in own]
            steps = steps if len(set(steps)) == len(own) else list(range(len(own)))
            rows += [
                {"run": number, "step": step, "metrics": {}, "file": f"{run.name}/{file.name}"}
                for step, file in zip(steps, own, strict=True)
            ]
        return rows

    def _read(self, file: Path, anchor: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
        """Read one file and check it against the network and the selection."""
        import torch

        from pdiff.files import load_state

        state = load_state(file)
        for entry in layout.entries:
            if entry.key not in state:
                raise UserError(f"{file}: lacks {entry.key!r}, which the selector names")
        for key, value in state.items():
            if key not in anchor:
                raise UserError(f"{file}: holds {key!r}, which the architecture has not; is it another network?")
            if value.shape != anchor[key].shape:
                raise UserError(f"{file}: {key} has shape {list(value.shape)}, expected {list(anchor[key].shape)}")
            if not torch.isfinite(value).all():
                raise UserError(f"{file}: {key} holds NaN or Inf; remove the file")
        return state

    def _compare(self, file: Path, state: dict[str, Tensor], first: dict[str, Tensor], others: list[str]) -> None:
        for key in others:
            if key not in state:
                raise UserError(
                    f"{file}: holds entries outside the selection but lacks {key!r}; give whole state dicts, "
                    "files of the subset alone, or set collect.anchor = 'base'"
                )
        for key in others if self.anchor == "same" else ():
            if not state[key].equal(first[key]):
                raise UserError(
                    f"{file}: {key} is outside the selection and differs from the first file's; "
                    "select it (selector 'entire'), or set collect.anchor = 'first'"
                )


@hookimpl
def register_collectors(register: Any) -> None:
    register(Trajectory)
    register(Folder)
