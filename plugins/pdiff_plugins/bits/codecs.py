"""Codecs of networks that have few bits, or keep few weights: another codec learns their coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import Codec
from pdiff.errors import UserError
from pdiff_plugins.backbones.codecs import Pca

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Layout, Zoo
    from pdiff_plugins.backbones.codec_module import Fitted, Learnt


class Quantised(Codec):
    """Any codec, of networks on a grid of few bits: all that it gives is on the grid.

    The inner codec learns the codes (whole numbers, and a half), the logarithms of the rows' steps, and what is not on
    the grid, as biases; what it gives is rounded to the nearest code and step. So networks that `bits` of a collector
    trained are kept exactly where the inner codec keeps them, and others are rounded. A weight that some networks have
    cut has a coordinate that says so, as with `sparse`.
    """

    name = "quantised"
    source: ClassVar[str] = (
        "the grid: Max 1960, Quantizing for minimum distortion; codes as numbers that are rounded: Chen et al. 2022, "
        "Analog Bits, arXiv 2208.04202, section 2"
    )
    codec: Codec = Field(default=Pca(), description="learns the coordinates")
    bits: int = Field(2, ge=2, le=8, description="bits of a matrix's weight, as the checkpoints have")

    @property
    def examples(self) -> int:
        """Training examples that the inner codec learns from."""
        return int(getattr(self.codec, "examples", 0))

    def foresee(self, ahead: Ahead) -> None:
        bits = getattr(ahead.recipe.collect, "bits", 0)
        if bits not in (0, self.bits):
            ahead.lacks(f"{ahead.key}.bits: it is {self.bits}, and collect.bits is {bits}; write the same")
        super().foresee(ahead)

    def build(self, *, dim: int, layout: Layout | None = None) -> nn.Module:
        _alone(self, layout)
        return self.codec.build(dim=dim)

    def fit(self, module: nn.Module, x_ND: Tensor, bench: Bench, ctx: Context) -> list[dict[str, float]]:
        return self.codec.fit(module, x_ND, bench, ctx)

    def on(self, zoo: Zoo, faithful: bool, whole: bool, bench: Bench, ctx: Context) -> Learnt:
        """See `OfZoo.on`."""
        from pdiff_plugins.bits.grid import rounded

        if not rounded(zoo.theta_ND, zoo.layout, self.bits).equal(zoo.theta_ND):
            ctx.warn(
                f"method.codec: the checkpoints are on no grid of {self.bits} bits, and are rounded to it; "
                f"collect.bits = {self.bits} would train them there"
            )
        return _learn(self, zoo, faithful, whole, bench, ctx, bits=self.bits)

    def loaded(self, tensors: dict[str, Tensor], zoo: Zoo, faithful: bool) -> Fitted:
        """See `OfZoo.loaded`."""
        return _loaded(self, tensors, zoo, faithful, bits=self.bits)


class Sparse(Codec):
    """Any codec, of networks that keep few weights: all that it gives has a mask.

    Beside every weight of a matrix that has zeros in some network stands a coordinate, +1 where it is kept and -1 where
    it is cut, whose sign is taken in what the inner codec gives. The value of a weight that is cut is the mean of those
    networks that keep it.
    """

    name = "sparse"
    source: ClassVar[str] = (
        "masks as numbers of which the sign is taken: Chen et al. 2022, Analog Bits, arXiv 2208.04202"
    )
    codec: Codec = Field(default=Pca(), description="learns the coordinates")
    keep: float = Field(
        0.0, ge=0, le=1,
        description="share of the matrices' weights that a network keeps, those most sure to be; 0: all whose mask is "
        "above 0",
    )  # fmt: skip

    @property
    def examples(self) -> int:
        """Training examples that the inner codec learns from."""
        return int(getattr(self.codec, "examples", 0))

    def build(self, *, dim: int, layout: Layout | None = None) -> nn.Module:
        _alone(self, layout)
        return self.codec.build(dim=dim)

    def fit(self, module: nn.Module, x_ND: Tensor, bench: Bench, ctx: Context) -> list[dict[str, float]]:
        return self.codec.fit(module, x_ND, bench, ctx)

    def on(self, zoo: Zoo, faithful: bool, whole: bool, bench: Bench, ctx: Context) -> Learnt:
        """See `OfZoo.on`."""
        from pdiff_plugins.bits.masks import kept

        if kept(zoo.theta_ND, zoo.layout).all():
            ctx.warn("method.codec: sparse: no checkpoint has a weight that is zero, so there are no masks to learn")
        return _learn(self, zoo, faithful, whole, bench, ctx, keep=self.keep)

    def loaded(self, tensors: dict[str, Tensor], zoo: Zoo, faithful: bool) -> Fitted:
        """See `OfZoo.loaded`."""
        return _loaded(self, tensors, zoo, faithful, keep=self.keep)


def _alone(codec: Quantised | Sparse, layout: Layout | None) -> None:
    """Raise UserError where a method would train the codec's module itself: it has none but the inner codec's."""
    if layout is not None:
        raise UserError(
            f"method.codec: {codec.name} takes networks apart before its inner codec learns them, and has no module "
            f"of its own for this method to train; use it with pdiff or flow_matching, or take codec "
            f"'{codec.codec.name}' itself"
        )


def _learn(
    codec: Quantised | Sparse, zoo: Zoo, faithful: bool, whole: bool, bench: Bench, ctx: Context, bits: int = 0,
    keep: float = 0.0,
) -> Learnt:  # fmt: skip
    from pdiff_plugins.bits.coordinates import Assembled, Coordinates
    from pdiff_plugins.latent.space import learn

    coordinates = Coordinates.fitted(zoo, bits, keep)
    through = bench.through(coordinates.between)
    learnt = learn(codec.codec, coordinates.zoo(zoo, ctx), through, ctx, faithful, whole)
    return learnt._replace(fitted=Assembled(coordinates, learnt.fitted))


def _loaded(
    codec: Quantised | Sparse, tensors: dict[str, Tensor], zoo: Zoo, faithful: bool, bits: int = 0, keep: float = 0.0
) -> Fitted:
    from pdiff_plugins.bits.coordinates import Assembled, load
    from pdiff_plugins.latent.space import rebuilt

    coordinates, inner = load(tensors, zoo.layout, bits, keep)
    stands = any(key.startswith("span.") for key in inner)  # on the checkpoints; else their layout is enough
    return Assembled(
        coordinates, rebuilt(codec.codec, inner, coordinates.zoo(zoo if stands else zoo.subset([0])), faithful)
    )
