"""What can be reordered and rescaled in a network without changing its function, derived from its graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pdiff import hookimpl
from pdiff_plugins.symmetry.steps import Align, Permuted

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.context import Context
    from pdiff.data import Inputs
    from pdiff.zoo import Layout


@hookimpl
def register_transforms(register: Any) -> None:
    register(Align)
    register(Permuted)


@hookimpl
def align_networks(
    model: nn.Module, inputs: Inputs, layout: Layout, reference_D: Tensor, ctx: Context
) -> Callable[[Tensor, Tensor | None], Tensor] | None:
    from pdiff_plugins.symmetry.align import aligner

    return aligner(model, inputs, layout, reference_D, ctx)
