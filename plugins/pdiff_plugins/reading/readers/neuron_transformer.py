"""A transformer that reads hidden units."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from pdiff.components import WeightReader
from pdiff_plugins.backbones.transformers import check_heads

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Readout
    from pdiff.context import Context


class NeuronTransformer(WeightReader):
    """Transformer with a token for every hidden unit, whatever their order.

    A unit's token holds its slice of every entry: numbers at fixed places as they are, and along axes that other units
    permute their mean, deviation and quartiles; one more token has what belongs to no unit, and summaries of all
    entries. Which axes follow which units, the network's graph says. There are no positions, so reordered networks read
    the same, and, with `balance`, rescaled ones. Networks of other widths can be read. The mean of `members` is told.
    """

    name = "neuron_transformer"
    source: ClassVar[str] = (
        "tokens of neurons: Schürholt et al. 2021, arXiv 2110.15288, section 3; without positions, over all units: "
        "Kofinas et al. 2024, arXiv 2403.12143, section 3"
    )
    balance: bool = Field(True, description="read networks in canonical scales")
    width: int = Field(64, gt=1, description="width of the blocks, a multiple of heads")
    depth: int = Field(2, gt=0, description="blocks")
    heads: int = Field(4, gt=0, description="heads of the attention")
    members: int = Field(3, gt=0, description="transformers, each from its own start, whose mean is told")
    steps: int = Field(1000, gt=0, description="training steps of each")
    lr: float = Field(2e-3, gt=0, description="largest learning rate of AdamW, in one cycle")
    weight_decay: float = Field(0.05, ge=0, description="weight decay of AdamW")
    batch_size: int = Field(64, gt=0, description="networks per step")
    noise: float = Field(0.3, ge=0, description="deviation of the factor by which training multiplies each number")

    @model_validator(mode="after")
    def _sound(self) -> NeuronTransformer:
        check_heads(self.width, self.heads)
        return self

    def fit(self, theta_ND: Tensor, value_N: Tensor, bench: Bench, ctx: Context) -> Readout:
        """See `WeightReader.fit`. Raises UserError where the network has no graph, or no units to reorder."""
        from pdiff_plugins.reading.by_units import learn_units
        from pdiff_plugins.reading.nets.unit_transformer import UnitTransformer

        return learn_units(
            self, lambda units, held, channels: UnitTransformer(held, self.width, self.depth, self.heads),
            theta_ND, value_N, bench, ctx,
        )  # fmt: skip
