"""The width of a network as its condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components import Encoder
from pdiff.errors import UserError
from pdiff_plugins.conditions.encoders.asking import only, values

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context


class Width(Encoder):
    """The width of a network, as it is: how many units its widest layer has.

    Asked by `width=18`, which need be none that the zoo has.
    """

    name = "width"
    source: ClassVar[str] = "a number"
    reads: ClassVar[tuple[str, ...]] = ("width",)

    def encode(
        self, about: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]], bench: Bench, ctx: Context
    ) -> Tensor:
        """See `Encoder.encode`: `[N, 1]`."""
        import torch

        return torch.tensor([[float(width)] for width in values(about, "width", self.name)]).reshape(-1, 1)

    def read(self, asked: Mapping[str, str], known: Sequence[Mapping[str, Any]], bench: Bench) -> dict[str, Any]:
        """See `Encoder.read`."""
        key, text = only(asked, self.reads, self.name)
        if not text.isdecimal() or not int(text):
            raise UserError(f"{key} = {text!r}: a width is a whole number of units, 1 or more, such as width=18")
        return {"width": int(text)}
