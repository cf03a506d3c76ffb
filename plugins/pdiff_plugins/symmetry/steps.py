"""Steps that reorder or rescale hidden units, which changes no function: alignment, and copies in random orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import IF_SET, Transform

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Align(Transform):
    """Reorder each checkpoint's hidden units to match the first one's.

    Those held out are reordered alike. It changes no function, and is wanted for networks of independent seeds. With
    `scale` the units are rescaled first, so that what each reads with is as long as what reads it, where activations
    are homogeneous (ReLU, leaky ReLU); and before a BatchNorm, whose running statistics follow, as in the first one.
    """

    name = "align"
    version = 2
    exact: ClassVar[bool] = True
    source = "Ainsworth et al. 2022, Git Re-Basin, arXiv 2209.04836"
    scale: bool = Field(
        False, description="also rescale hidden units to a canonical form, of least norm", json_schema_extra=IF_SET
    )

    def zoo(self, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
        from pdiff_plugins.symmetry.align import align, balance, scaling_of, symmetry_of

        if self.scale:
            zoo = balance(zoo, scaling_of(bench, zoo.layout, "zoo: align.scale = true"), ctx)
        return align(zoo, symmetry_of(bench, zoo.layout, "zoo: align"), ctx)


class Permuted(Transform):
    """Add copies of each checkpoint, their hidden units in random orders.

    They compute the same functions, and count among the originals in every table.
    """

    name = "permuted"
    version = 2
    exact: ClassVar[bool] = True
    copies: int = Field(gt=0, examples=[4], description="further copies of each checkpoint")
    scale: float = Field(
        0.0, ge=0, json_schema_extra=IF_SET,
        description="standard deviation of the logarithm of units' random scales, where they change no function",
    )  # fmt: skip

    def zoo(self, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
        from pdiff_plugins.symmetry.align import scaling_of, symmetry_of, with_copies

        symmetry = symmetry_of(bench, zoo.layout, f"zoo: permuted.copies = {self.copies}")
        scaling = scaling_of(bench, zoo.layout, f"zoo: permuted.scale = {self.scale}") if self.scale else None
        return with_copies(zoo, self.copies, symmetry, ctx, scaling, self.scale)
