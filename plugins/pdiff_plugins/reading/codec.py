"""An autoencoder with a latent for each hidden unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import Codec
from pdiff.errors import UserError
from pdiff_plugins.batches import foresee_batch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Layout, Zoo
    from pdiff_plugins.backbones.codec_module import Fitted, Learnt
    from pdiff_plugins.reading.nets.unit_codec import Table, UnitCodec


class UnitAutoencoder(Codec):
    """Autoencoder with a latent for each hidden unit, whatever their order.

    Reordered units have reordered latents. Units send messages along the weights that tie them, as in reader
    `equivariant`, and what they then hold is their latent; one more is the whole network's. Back, each weight is made
    from the latents of the units at its ends, after messages along all of them. Which axes follow which units, the
    network's graph says. So networks that were trained from starts of their own are learnt as sets of units: each
    network tells of as many units as it has. It begins as principal components of units. A vector without a network
    has no units, and only the whole's latent.
    """

    name = "equivariant"
    source: ClassVar[str] = (
        "Zhou et al. 2023, arXiv 2302.14040, section 3 (a layer's axes as groups); Kofinas et al. 2024, arXiv "
        "2403.12143, section 3 (states of edges and units); a latent per neuron: Schürholt et al. 2024 (SANE), arXiv "
        "2406.09997, section 3"
    )
    latent: int = Field(16, gt=0, description="length of a hidden unit's latent")
    whole: int = Field(16, gt=0, description="length of the whole network's latent")
    balance: bool = Field(False, description="learn networks in canonical scales, in which they come back")
    width: int = Field(32, gt=0, description="width of a unit's state")
    edge_width: int = Field(16, gt=0, description="width of an edge's state")
    rounds: int = Field(1, gt=0, description="rounds of messages on the way to the latent, and as many on the way back")
    steps: int = Field(2000, gt=0, description="training steps")
    lr: float = Field(1e-3, gt=0, description="largest learning rate of AdamW, in one cycle")
    weight_decay: float = Field(1.0, ge=0, description="weight decay of AdamW")
    batch_size: int = Field(32, gt=0, description="checkpoints per step")
    noise: float = Field(0.3, ge=0, description="deviation of the factor by which training multiplies each number")

    def foresee(self, ahead: Ahead) -> None:
        foresee_batch(ahead, self.batch_size)

    def of(self, table: Table) -> UnitCodec:
        """Return the module for networks whose numbers belong to units as a table says."""
        from pdiff_plugins.reading.nets.unit_codec import UnitCodec

        return UnitCodec(table, self.latent, self.whole, self.width, self.edge_width, self.rounds)

    def build(self, *, dim: int, layout: Layout | None = None) -> nn.Module:
        """See `Codec.build`. Raises UserError where a method would train it on networks without their graph."""
        from pdiff_plugins.reading.nets.unit_codec import Table

        if layout is not None:
            raise UserError(
                f"method.codec: {self.name} needs the networks' graph, which this method does not give it; use it with "
                "pdiff or flow_matching, or take codec 'transformer'"
            )
        return self.of(Table.alone(dim))

    def fit(self, module: nn.Module, x_ND: Tensor, bench: Bench, ctx: Context) -> list[dict[str, float]]:
        from pdiff_plugins.reading.nets.unit_codec import UnitCodec
        from pdiff_plugins.reading.unit_latents import learn

        assert isinstance(module, UnitCodec)
        return learn(self, module, x_ND, ctx)

    def on(self, zoo: Zoo, faithful: bool, whole: bool, bench: Bench, ctx: Context) -> Learnt:
        """See `OfZoo.on`. Raises UserError where the networks have no graph, or no units to reorder."""
        from pdiff_plugins.reading.unit_latents import fit

        return fit(self, zoo, faithful, bench, ctx)

    def loaded(self, tensors: dict[str, Tensor], zoo: Zoo, faithful: bool) -> Fitted:
        """See `OfZoo.loaded`."""
        from pdiff_plugins.reading.unit_latents import load

        return load(self, tensors, zoo.layout)
