"""One network that knows all classes of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pdiff.context import Context, derive
from pdiff.data import Batch, Split
from pdiff.errors import UserError
from pdiff.running.device import placed
from pdiff.training.loop import epoch_length, epoch_order, train
from pdiff_plugins.collectors.seeds.training import ready

if TYPE_CHECKING:
    from pdiff.bench import Bench


def class_network(
    bench: Bench, ctx: Context, steps: int, lr: float = 1e-3, batch_size: int = 128, augment: bool = False
) -> nn.Module:
    """Return a network of the run's architecture with an output for each class, trained by cross-entropy with Adam.

    It lies on the device, in eval mode. Raises UserError where the dataset's targets are no classes, or the
    architecture does not give an output for each.

    Args:
        augment: with the dataset's training transform.
    """
    split = bench.examples("train")
    if split.targets.ndim != 1 or split.targets.is_floating_point():
        raise UserError("a network of all classes: the dataset's targets are no class numbers")
    split = split if augment else ready(split, ctx.device) or split
    network = placed(bench.build(derive(ctx.seed, "classes"), outputs=bench.classes), ctx.device).train()
    _check_width(network, split, bench.classes, ctx)
    size = min(batch_size, len(split))
    per_epoch = epoch_length(len(split), size, network)

    def draw(step: int, generator: torch.Generator) -> Batch:
        order = epoch_order(len(split), size, step, ctx.seed, per_epoch)
        return split.batch(order, ctx.device, generator if augment else None)

    def loss(inputs: Any, targets: Tensor) -> Tensor:
        return cross_entropy(network(inputs), targets)

    train(network, loss, steps=steps, ctx=ctx, what="classes", lr=lr, optimizer="adam", draw=draw)
    return network.eval()


@torch.no_grad()
def _check_width(network: nn.Module, split: Split, classes: int, ctx: Context) -> None:
    first = split.batch(torch.zeros(1, dtype=torch.int64), ctx.device)
    given = network.eval()(first.inputs)
    network.train()
    if not isinstance(given, Tensor) or given.shape[-1] != classes:
        found = f"{given.shape[-1]} outputs" if isinstance(given, Tensor) else "no tensor"
        raise UserError(
            f"a network of all classes: the architecture gives {found}, and {classes} are asked of it; give it an "
            "argument `outputs`"
        )


def trunk(bench: Bench, ctx: Context, steps: int, lr: float, batch_size: int) -> nn.Module:
    """Return a new network of the run with what it shares, by name and shape, with a trained network of all classes.

    Raises UserError where that is nothing.
    """
    trained = class_network(bench, ctx.scope("trunk"), steps, lr, batch_size).state_dict()
    network = bench.build(derive(ctx.seed, "start"))
    ours = network.state_dict()
    taken = {key: value.cpu() for key, value in trained.items() if key in ours and value.shape == ours[key].shape}
    if not taken:
        raise UserError(
            "collect.start = 'trunk': a network of all the dataset's classes shares no entry with those of tasks; use "
            "'shared' or 'base'"
        )
    network.load_state_dict(ours | taken)
    return network
