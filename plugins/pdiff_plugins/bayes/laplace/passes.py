"""Passes of a network with dropout; see `dropout`."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from pdiff.bench import Bench
from pdiff.components import Generator
from pdiff.context import Context, derive
from pdiff.data import Split, evaluation_batches
from pdiff.errors import UserError
from pdiff.training.loop import threads_for
from pdiff.zoo import Zoo


def dropping(model: nn.Module, p: float) -> nn.Module:
    """Return a copy in eval mode, but for its dropout, of a part p or as much as it says. Raises UserError."""
    model = copy.deepcopy(model).eval()
    drops = [module for module in model.modules() if isinstance(module, _DropoutNd)]
    kind = type(model).__name__
    if not drops:
        raise UserError(
            f"method dropout: the network, a {kind}, has no nn.Dropout to leave on; take an architecture that has, "
            "such as hyper_cnn with its option dropout, or leave the method out"
        )
    for module in drops:
        module.p = p or module.p
    if not any(module.p for module in drops):
        raise UserError(f"method dropout: the network, a {kind}, has nn.Dropout of p = 0, which drops nothing; set p")
    for module in drops:
        module.train()
    return model


class Passes(Generator):
    """One network, and its passes with dropout."""

    def __init__(self, p: float, zoo: Zoo, facts: dict[str, Any]):
        super().__init__(facts=facts)
        self.p, self.zoo = p, zoo

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        return self.zoo.base[None].clone()

    @torch.no_grad()
    def answers(self, examples: Split, count: int, bench: Bench, ctx: Context) -> Tensor | None:
        """See `Generator.answers`: in each pass every example has values of its own that are dropped."""
        objective = bench.objective
        model = dropping(objective.model, self.p)
        model.load_state_dict(self.zoo.anchor)
        rows: list[Tensor] = []
        devices = [ctx.device] if ctx.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), threads_for(model, ctx.threads):
            for number in range(count):
                torch.manual_seed(derive(ctx.seed, "dropout", number))
                batches = evaluation_batches(examples, 0, ctx.device)
                parts = [objective.task.log_probabilities(model, batch.inputs) for batch in batches]
                if parts[0] is None:
                    return None
                rows.append(torch.cat([part.float().cpu() for part in parts if part is not None]))
        return torch.stack(rows)
