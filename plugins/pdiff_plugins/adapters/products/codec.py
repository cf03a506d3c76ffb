"""Principal components of adapters' products. N checkpoints, M networks, L layers, Z latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import Codec
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Layout, Zoo
    from pdiff_plugins.adapters.products.span import ProductSpan
    from pdiff_plugins.backbones.codec_module import Learnt


class Products(Codec):
    """Principal components of adapters' products.

    They follow from the Gram matrix, which factors alone tell. A latent stands for a sum of the checkpoints' products,
    each layer in units of its own spread, and decoding cuts that sum to the adapters' rank, in balanced factors: B = U
    sqrt(S), A = sqrt(S) V^T. So no latent knows in which factors a checkpoint came, and none of the products is held
    but one layer's. What is no factor, as biases are, counts as it is. It stands on the run's own checkpoints, and is
    of no use without them.
    """

    name = "products"
    source: ClassVar[str] = (
        "Pearson 1901; of adapters: Dravid et al. 2024, weights2weights, arXiv 2406.09413 (there of factors)"
    )
    latent: int = Field(32, gt=0, description="components kept at most")

    def foresee(self, ahead: Ahead) -> None:
        from pdiff_plugins.adapters.products.asked import foresee_adapters

        foresee_adapters(ahead, f"{ahead.key}: products")

    def build(self, *, dim: int, layout: Layout | None = None) -> nn.Module:
        raise UserError(
            "method.codec: products reads a run's own adapters, and has no module to train; use it with pdiff or "
            "flow_matching and without augment, or take codec 'pca'"
        )

    def on(self, zoo: Zoo, faithful: bool, whole: bool, bench: Bench, ctx: Context) -> Learnt | None:
        """See `OfZoo.on`."""
        from pdiff_plugins.adapters.products.span import fit
        from pdiff_plugins.backbones.codec_module import Learnt

        return Learnt(*fit(zoo, self.latent)) if whole else None

    def loaded(self, tensors: dict[str, Tensor], zoo: Zoo, faithful: bool) -> ProductSpan:
        """See `OfZoo.loaded`."""
        from pdiff_plugins.adapters.products.span import ProductSpan

        return ProductSpan(zoo, tensors["weight"], tensors["unit"], tensors["centre"])
