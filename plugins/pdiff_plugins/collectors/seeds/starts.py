"""The networks that runs begin with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from torch import nn

from pdiff.checkpoints.names import whole
from pdiff.context import Context, derive
from pdiff.errors import UserError
from pdiff_plugins.adapters.layers import adapted

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.zoo import Layout

Start = Literal["independent", "shared", "base"]


def starts(
    start: Start, model: nn.Module, layout: Layout, bench: Bench, ctx: Context
) -> tuple[nn.Module, Callable[[int], nn.Module]]:
    """Return the network that holds what is not trained, and the one that a run begins with.

    `model` is the base network. Raises UserError where independent starts cannot have one anchor.
    """
    if start == "base":
        return model, lambda run: model
    if start == "shared":
        model = bench.build(derive(ctx.seed, "start")).to(ctx.device)
        return model, lambda run: model
    return model, independent(model, layout, bench, ctx)


def independent(
    model: nn.Module, layout: Layout, bench: Bench, ctx: Context, asked: str = "collect.start = 'independent'",
    instead: str = "collect.start = 'shared' or 'base'",
) -> Callable[[int], nn.Module]:  # fmt: skip
    """Return what gives the network that a run begins with, each at its own initialisation; see `starts`.

    `asked`: the option that a person set; `instead`: what to set it to where that cannot be.
    """
    _require_all(model, bench.build(derive(ctx.seed, "run", 0)), layout, asked, instead)
    return lambda run: _like(model, bench.build(derive(ctx.seed, "run", run)), asked, instead)


def _like(model: nn.Module, started: nn.Module, asked: str, instead: str) -> nn.Module:
    """Return the network that a run starts with. Raises UserError where whole numbers in it are its own."""
    state, ours = started.state_dict(), model.state_dict()
    odd = next((key for key in whole(state) if not state[key].equal(ours[key].to(state[key].device))), None)
    if odd:
        raise UserError(
            f"{asked}: {odd!r} is drawn anew for each network, and whole numbers are not generated; use {instead}, or "
            "files and the collector 'folder'"
        )
    return started


def begins(model: nn.Module, layout: Layout, bench: Bench, ctx: Context) -> str:
    """Return what networks that `bench.start` gives begin from, as `Generator.facts` has it: `nothing`, or `one`.

    `model` holds the anchor: what is not selected is the base network's, as is what adapters are added to.
    """
    of_base = adapted(model) or _kept(model, bench.build(derive(ctx.seed, "run", 0)), layout)
    return "one" if of_base else "nothing"


def _require_all(model: nn.Module, started: nn.Module, layout: Layout, asked: str, instead: str) -> None:
    """Raise UserError where an entry is not selected: one anchor cannot hold it for runs that begin differently."""
    if key := _kept(model, started, layout):
        raise UserError(
            f"{asked}: {key!r} is not selected, and differs between runs; use selector 'entire', or {instead}"
        )


def _kept(model: nn.Module, started: nn.Module, layout: Layout) -> str | None:
    """Return the first entry that is not selected, and not the same in all new networks; None where there is none.

    Adapters begin differently on one network, whose entries are the same. Others begin with the same statistics, and
    train them.
    """
    begun, statistics = started.state_dict(), set() if adapted(model) else {key for key, _ in model.named_buffers()}
    for key, value in model.state_dict().items():
        if key in layout.keys or not value.is_floating_point() or not value.numel():
            continue
        if key not in statistics and value.equal(begun[key].to(value.device)):
            continue
        return key
    return None
