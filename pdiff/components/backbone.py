"""The networks inside a method."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pdiff.components.base import Component

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Layout


class Codec(Component):
    """Maps normalised parameter vectors to latents and back."""

    kind: ClassVar[str] = "codec"

    @abstractmethod
    def build(self, *, dim: int, layout: Layout | None = None) -> nn.Module:
        """Return a module with `latent_dim`, `encode(x_BD) -> z_BZ` and `decode(z_BZ) -> x_BD`; here D is `dim`."""

    def fit(self, module: nn.Module, x_ND: Tensor, bench: Bench, ctx: Context) -> list[dict[str, float]]:
        """Train `module` in place on normalised vectors and return the log; nothing to do unless overridden.

        `bench` serves such vectors: what it is asked about is brought to the original scale first.
        """
        return []


class Denoiser(Component):
    """The network inside a diffusion or flow model."""

    kind: ClassVar[str] = "denoiser"

    @abstractmethod
    def build(self, *, dim: int, condition_dim: int = 0, layout: Layout | None = None) -> nn.Module:
        """Return a module called as `(z_BZ, t_B, condition_BC | None) -> [B, Z]`, Z = `dim`, t in 0..T-1 (float)."""
