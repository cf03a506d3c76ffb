"""What turns what a network is for into a vector."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components.base import Component

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context


class Encoder(Component):
    """Turns what a network is for into its condition, a vector."""

    kind: ClassVar[str] = "encoder"
    reads: ClassVar[tuple[str, ...]] = ("condition",)
    """The words by which a person can ask (`pdiff sample RUN -o task="cat,dog"`); `*`: any."""

    @abstractmethod
    def encode(
        self, about: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]], bench: Bench, ctx: Context
    ) -> Tensor:
        """Return the conditions `[N, C]`, float32, on the CPU, of what networks are about.

        `known` is what the zoo's checkpoints are about: labels, levels and the like are those that it has. Raises
        UserError that names what is unknown, and what is known.
        """

    @abstractmethod
    def read(self, asked: Mapping[str, str], known: Sequence[Mapping[str, Any]], bench: Bench) -> dict[str, Any]:
        """Return what a network is to be about, from the words of a person, by the keys of `reads`.

        Raises UserError, in one line, for what cannot be asked.
        """

    def content(self, asked: Mapping[str, Any]) -> str:
        """Return what the files hold by which a person asks, for the keys of stages; nothing where there are none."""
        return ""
