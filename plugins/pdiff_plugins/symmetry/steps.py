"""Steps that reorder hidden units, which changes no function: alignment, and copies in random orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import Transform

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Zoo
    from pdiff_plugins.symmetry.permutations import Symmetry


class Align(Transform):
    """Reorder each checkpoint's hidden units to match the first one's.

    Those held out are reordered alike. It changes no function, and is wanted for networks of independent seeds.
    """

    name = "align"
    exact: ClassVar[bool] = True
    source = "Ainsworth et al. 2022, Git Re-Basin, arXiv 2209.04836"

    def zoo(self, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
        from pdiff_plugins.symmetry.align import align

        return align(zoo, _symmetry(zoo, bench, "zoo: align"), ctx)


class Permuted(Transform):
    """Add copies of each checkpoint, their hidden units in random orders.

    They compute the same functions, and count among the originals in every table.
    """

    name = "permuted"
    exact: ClassVar[bool] = True
    copies: int = Field(gt=0, description="further copies of each checkpoint")

    def zoo(self, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
        from pdiff_plugins.symmetry.align import with_copies

        return with_copies(zoo, self.copies, _symmetry(zoo, bench, f"zoo: permuted.copies = {self.copies}"), ctx)


def _symmetry(zoo: Zoo, bench: Bench, key: str) -> Symmetry:
    import torch

    from pdiff_plugins.symmetry.align import symmetry_within

    return symmetry_within(bench.build(0), torch.zeros(2, *bench.input_shape), zoo.layout, key)
