"""What the module of a codec offers: what all have, and what one may declare beside. B batch, D dim, Z latent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Zoo


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


class Fitted(Protocol):
    """A fitted codec, from latents to networks."""

    def decode(self, z_MZ: Tensor, ctx: Context) -> Tensor:
        """Return theta_MD in the original scale, on the CPU, from latents on the CPU as the codec has them."""
        ...

    def encode(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor | None:
        """Return the latents z_MZ, on the CPU, of networks that it need not have seen; None where it cannot."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return what rebuilds it, beside the zoo."""
        ...


class Learnt(NamedTuple):
    """A codec that is fitted, and what it makes of the checkpoints."""

    fitted: Fitted
    z_NZ: Tensor
    kept: dict[str, Any]
    """What is kept of the checkpoints; see `latent.space.reconstruction`."""
    log: Sequence[dict[str, Any]] = ()
    """Of its training, where it has one."""


@runtime_checkable
class Around(Protocol):
    """A fitted codec around another, whose latents are its own."""

    inner: Fitted


@runtime_checkable
class OfZoo(Protocol):
    """A codec, not its module, that is fitted to checkpoints as they are, where it can be; else its module is."""

    def on(self, zoo: Zoo, faithful: bool, whole: bool, bench: Bench, ctx: Context) -> Learnt | None:
        """Return it fitted; None: by its module.

        `whole`: the zoo is the run's own, on which it may stand: it is there when the codec is loaded. The names of its
        tensors begin with `span.`.
        """
        ...

    def loaded(self, tensors: dict[str, Tensor], zoo: Zoo, faithful: bool) -> Fitted:
        """Rebuild it from its tensors, without `span.`."""
        ...
