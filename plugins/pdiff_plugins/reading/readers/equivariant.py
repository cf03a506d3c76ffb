"""A graph network over hidden units and the weights that tie them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import WeightReader

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Readout
    from pdiff.context import Context


class Equivariant(WeightReader):
    """Graph network: hidden units send messages along the weights that tie them.

    Each entry that follows several groups of units is a tensor of edges, with an axis for each: two for a layer between
    hidden layers, three for attention's heads. Its numbers at fixed places (pixels, taps, classes) are channels. Edges
    see the units at their ends, units the mean of their edges and of their group, and the whole network sees all
    groups. Which axes follow which units, the network's graph says; every step is equivariant, and what is told at the
    end is invariant: reordered networks read the same, and, with `balance`, rescaled ones. Networks of other widths can
    be read. The mean of `members` is told.
    """

    name = "equivariant"
    source: ClassVar[str] = (
        "Zhou et al. 2023, arXiv 2302.14040, section 3 (a layer's axes as groups); Kofinas et al. 2024, arXiv "
        "2403.12143, section 3 (states of edges and units)"
    )
    balance: bool = Field(True, description="read networks in canonical scales")
    width: int = Field(64, gt=0, description="width of a unit's state")
    edge_width: int = Field(16, gt=0, description="width of an edge's state")
    rounds: int = Field(2, gt=0, description="rounds of messages")
    members: int = Field(3, gt=0, description="graph networks, each from its own start, whose mean is told")
    steps: int = Field(1000, gt=0, description="training steps of each")
    lr: float = Field(4e-3, gt=0, description="largest learning rate of AdamW, in one cycle")
    weight_decay: float = Field(0.3, ge=0, description="weight decay of AdamW")
    batch_size: int = Field(64, gt=0, description="networks per step")
    noise: float = Field(0.3, ge=0, description="deviation of the factor by which training multiplies each number")

    def fit(self, theta_ND: Tensor, value_N: Tensor, bench: Bench, ctx: Context) -> Readout:
        """See `WeightReader.fit`. Raises UserError where the network has no graph, or no units to reorder."""
        from pdiff_plugins.reading.by_units import learn_units
        from pdiff_plugins.reading.nets.message_net import MessageNet

        return learn_units(
            self,
            lambda units, held, channels: MessageNet(
                held, channels, units.edges, self.width, self.edge_width, self.rounds
            ),
            theta_ND, value_N, bench, ctx, edges=True,
        )  # fmt: skip
