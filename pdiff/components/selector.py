"""What is generated."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components.base import Component
from pdiff.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from pdiff.zoo import Layout


class Selector(Component):
    """Names the state-dict entries that are generated; all others are the anchor."""

    kind: ClassVar[str] = "selector"
    extends: ClassVar[bool] = False
    """Whether `extend` adds to a network what is generated, as adapters are."""
    formats: ClassVar[tuple[str, ...]] = ()
    """Further formats in which `write` writes networks."""

    @abstractmethod
    def select(self, model: nn.Module) -> list[str]:
        """Return state-dict keys in state-dict order. Raises UserError when nothing matches."""

    def extend(self, model: nn.Module) -> None:
        """Add to a network, in place, what is generated and its architecture does not have; before `select`.

        The network's outputs stay what they were, and its own entries keep their names. The caller seeds torch's global
        generator. Raises UserError when nothing matches.
        """

    def check(self, model: nn.Module, run: Callable[[], object]) -> None:
        """Raise UserError where an extended network, run on examples in eval mode, does not use what was added."""

    def plain(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a whole state dict as the architecture has it: what `extend` added is worked into its own entries."""
        return dict(state)

    def coordinates(self, theta_MD: Tensor, layout: Layout) -> Tensor:
        """Return `[M, Z]` in which networks of one function are equal, and in which distances are taken."""
        return theta_MD

    def write(
        self, format: str, state: Mapping[str, Tensor], model: nn.Module, folder: Path, **options: Any
    ) -> Mapping[str, float]:
        """Write a network, given its whole state dict and as a module, into an empty folder, in one of `formats`.

        Returns shares that are to be told, such as of what was lost. Raises UserError for options that it has not.
        """
        raise UserError(f"--format {format}: selector {self.name} writes no such files")
