"""The sets of shapes that are compared: those learnt, those that no method saw, and those drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from pdiff.components import Family
from pdiff.errors import UserError
from pdiff.view import ORIGINAL
from pdiff.zoo import about
from pdiff_plugins.fields.family import SHAPE

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff.zoo import Zoo


def real(view: View) -> tuple[Tensor, Tensor]:
    """Return training shapes `[T, P]` and unseen ones `[R, P]` at the same points.

    Where each network has a shape of its own, those learnt and those held out, at the points of the test split. Raises
    UserError where none is held out.
    """
    test_PS = view.targets("test")
    if not isinstance(view.recipe.task, Family):
        return learnt(view), test_PS.T
    return learnt(view, "test"), test_PS.T[shapes(_kept(view))]


def learnt(view: View, split: str = "train") -> Tensor:
    """Return training shapes `[T, P]` at the points of a split; where each network has one of its own, those."""
    shapes_SP = view.targets(split).T
    return shapes_SP[shapes(view.zoo)] if isinstance(view.recipe.task, Family) else shapes_SP


def drawn(view: View, source: str, ctx: Context) -> Tensor:
    """Return what a source's networks draw at those points, `[M, P]`.

    Of a source that takes conditions where each network has a shape of its own: of one network for each held out.
    """
    by_shape = isinstance(view.recipe.task, Family) and source != ORIGINAL
    if not by_shape or not view.generators[source].conditional:
        return view.predictions(source, "test")
    condition_MC = _kept(view).condition_NC
    assert condition_MC is not None
    ctx = ctx.scope(f"drawn {source}")
    theta_MD = view.generators[source].sample(len(condition_MC), view.bench, ctx, condition_MC)
    return view.bench.predict(theta_MD.detach().to("cpu"), "test")


def _kept(view: View) -> Zoo:
    if view.zoo.holdout is None:
        raise UserError(
            "evaluate fields: compares drawn shapes with those held out, and none is; set collect.held_out, such as 50"
        )
    return view.zoo.holdout


def shapes(zoo: Zoo) -> list[int]:
    """Return the numbers of the shapes that a zoo's networks are, each once."""
    return list(dict.fromkeys(about(row)[SHAPE] for row in zoo.rows))
