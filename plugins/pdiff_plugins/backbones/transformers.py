"""Transformers over tokens: as codec (hyper-representations, SANE) and as denoiser (DiT, G.pt)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pdiff.components import IF_SET, Codec, Denoiser
from pdiff.errors import UserError
from pdiff_plugins.batches import foresee_batch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Layout
    from pdiff_plugins.backbones.tokens import Tokens


Mixing = Literal["attention", "convolution", "none"]
MIXING: Any = Field(
    "attention", json_schema_extra=IF_SET, description="how tokens see each other: attention, a convolution over seven "
    "neighbours, or not at all (a perceptron for each)",
)  # fmt: skip


def check_heads(width: int, heads: int) -> None:
    """Raise PydanticCustomError where the width cannot be shared out among the heads."""
    if width % heads:
        near = max(heads, width // heads * heads)
        raise PydanticCustomError(
            "heads",
            "width = {width} is no multiple of heads = {heads}; set width = {near}",
            {"width": width, "heads": heads, "near": near},
        )


class TransformerCodec(Codec):
    """Transformer autoencoder over tokens: one latent per token, or one per network.

    Tokens are the rows of layers, biases appended, cut where they are longer than `size`. The loss is
    (1 - contrast) times the squared error where there is no padding, plus contrast times NT-Xent between two views
    with noise. The papers' layer-wise loss normalisation, by a layer's deviation in the zoo, is not needed: the method
    normalises each tensor (each column's mean, too, unless `faithful`) before the codec sees it: what is learnt is the
    difference from the average checkpoint. One network of few parameters reads all tokens, so a zoo may have any size.
    """

    name = "transformer"
    source: ClassVar[str] = (
        "Schürholt et al. 2022, arXiv 2209.14733, section 3 (latent per network); Schürholt et al. 2024 (SANE), "
        "arXiv 2406.09997, section 3 (latent per token), and the authors' code"
    )
    tokens: Literal["neuron", "layer", "chunk"] = Field(
        "neuron", description="a row is: all that belongs to one output, one entry, or the whole vector"
    )
    size: int = Field(0, ge=0, description="numbers per token; longer rows are cut; 0: the longest row")
    latent_per: Literal["token", "network"] = Field("token", description="what has a latent of its own")
    latent: int = Field(32, gt=0, description="length of a latent")
    bounded: bool = Field(False, description="tanh on the latent")
    mixing: Mixing = MIXING
    width: int = Field(64, gt=1, description="width of the blocks, a multiple of heads")
    depth: int = Field(2, gt=0, description="blocks on the way to the latent, and as many on the way back")
    heads: int = Field(4, gt=0, description="heads of the attention")
    steps: int = Field(1000, gt=0, description="training steps")
    lr: float = Field(1e-3, gt=0, description="largest learning rate of AdamW, in one cycle")
    weight_decay: float = Field(3e-9, ge=0, description="weight decay of AdamW")
    batch_size: int = Field(32, gt=0, description="checkpoints per step")
    noise: float = Field(0.1, ge=0, description="deviation of the factor by which training multiplies each number")
    contrast: float = Field(0.05, ge=0, lt=1, description="weight of the contrastive loss; 0: none")
    window: int = Field(128, gt=0, description="tokens read at a time; with a latent per network all are")
    halo: int = Field(64, ge=0, description="tokens of context on both sides of a window")

    @model_validator(mode="after")
    def _sound(self) -> TransformerCodec:
        check_heads(self.width, self.heads)
        return self

    def build(self, *, dim: int, layout: Layout | None = None) -> nn.Module:
        """See `Codec.build`. Without a layout, tokens are pieces of the vector."""
        from pdiff_plugins.backbones.nets.transformer import TransformerAutoencoder
        from pdiff_plugins.backbones.tokens import Tokens

        tokens = Tokens.of(layout, self.tokens, self.size) if layout else Tokens.chunks(dim, self.size)
        return TransformerAutoencoder(
            tokens, latent=self.latent, per=self.latent_per, bounded=self.bounded, width=self.width, depth=self.depth,
            heads=self.heads, window=self.window, halo=self.halo, contrast=self.contrast > 0, mixing=self.mixing,
        )  # fmt: skip

    def foresee(self, ahead: Ahead) -> None:
        foresee_batch(ahead, self.batch_size)

    def fit(self, module: nn.Module, x_ND: Tensor, bench: Bench, ctx: Context) -> list[dict[str, float]]:
        from pdiff_plugins.backbones.nets.transformer import TransformerAutoencoder
        from pdiff_plugins.backbones.token_training import fit

        assert isinstance(module, TransformerAutoencoder)
        return fit(self, module, x_ND, ctx)


class TransformerDenoiser(Denoiser):
    """Transformer over pieces of the latent.

    With codec `identity`, tokens may follow the network: one for each of its entries, with linear maps of its own as in
    HyperDiffusion (`layer`), or one for each neuron. Time and condition scale, shift and gate every block (`adaln`, as
    DiT), or are two more tokens (`additive`, as G.pt). The output layer starts at zero; with `adaln` the blocks start
    as the identity.
    """

    name = "transformer"
    source: ClassVar[str] = (
        "Peebles & Xie 2023 (DiT), arXiv 2212.09748, section 3.2; Peebles et al. 2022 (G.pt), arXiv 2209.12892, "
        "and the authors' code; layer: HyperDiffusion, arXiv 2303.17015, section 3.2, and the authors' code"
    )
    tokens: Literal["chunk", "layer", "neuron"] = Field(
        "chunk", description="a token is: a piece of the latent, or of the network, an entry or a neuron"
    )
    token: int = Field(16, gt=0, description="length of the latent's pieces, the last one padded; read by chunk only")
    time: Literal["adaln", "additive"] = Field("adaln", description="how time and condition go in")
    mixing: Mixing = MIXING
    width: int = Field(128, gt=1, description="width of the blocks, a multiple of heads")
    depth: int = Field(3, gt=0, description="blocks")
    heads: int = Field(4, gt=0, description="heads of the attention")

    @model_validator(mode="after")
    def _sound(self) -> TransformerDenoiser:
        check_heads(self.width, self.heads)
        return self

    def build(self, *, dim: int, condition_dim: int = 0, layout: Layout | None = None) -> nn.Module:
        """See `Denoiser.build`. Raises UserError where tokens follow the network and the latent does not."""
        from pdiff_plugins.backbones.nets.token_denoiser import AdaptiveDenoiser, AdditiveDenoiser

        kind = {"adaln": AdaptiveDenoiser, "additive": AdditiveDenoiser}[self.time]
        apart = self.tokens == "layer"
        return kind(self._cut(dim, layout), condition_dim, self.width, self.depth, self.heads, apart, self.mixing)

    def _cut(self, dim: int, layout: Layout | None) -> Tokens:
        from pdiff_plugins.backbones.tokens import Tokens

        if self.tokens == "chunk":
            return Tokens.chunks(dim, self.token)
        if layout is None or layout.dim != dim:
            raise UserError(
                f"method.denoiser.tokens = {self.tokens!r}: the latent of {dim} numbers is not the network's own "
                "parameters; use codec 'identity', or tokens = 'chunk'"
            )
        return Tokens.of(layout, self.tokens)
