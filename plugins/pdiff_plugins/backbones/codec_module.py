"""What the module of a codec offers: what all have, and what one may declare beside. B batch, D dim, Z latent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class CodecModule(Protocol):
    """What every codec's module has beside those of `nn.Module`."""

    latent_dim: int

    def encode(self, x_BD: Tensor, /) -> Tensor: ...
    def decode(self, z_BZ: Tensor, /) -> Tensor: ...


def codec_module(module: nn.Module) -> CodecModule:
    """Return a codec's module by its type; torch's stubs take an attribute of any module for a tensor or a module."""
    return cast(CodecModule, module)


@runtime_checkable
class OneScale(Protocol):
    """A module that may say that its latents have one unit, so that their widths tell what matters."""

    one_scale: bool


@runtime_checkable
class Saying(Protocol):
    """A module that may say what its decoding keeps of networks, a row for each; None: the vectors themselves."""

    said: Callable[[Tensor], Tensor] | None


@runtime_checkable
class Reading(Protocol):
    """A module that encodes networks by something that it reads of them; None: it was loaded, and decodes only."""

    read: Callable[[Tensor], Tensor] | None

    def remembered(self) -> dict[str, Tensor]:
        """Return what encoding needs beside the state dict."""
        ...

    def recall(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `remembered` gave."""
        ...

    def listen(self, outputs: Callable[[Tensor, Any], Tensor], device: torch.device) -> None:
        """Read networks from now on, by what `outputs` gives of them and of inputs, where that is remembered."""
        ...


@runtime_checkable
class Tokened(Protocol):
    """A module whose latent is (tokens, length of a token's latent)."""

    token_shape: tuple[int, int]


@runtime_checkable
class OfSpan(Protocol):
    """A codec, not its module, that is the first principal components: they need no module where the zoo is there."""

    spans: bool
    latent: int
