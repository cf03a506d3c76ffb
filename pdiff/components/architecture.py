"""Networks that can be generated, by name."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components.base import CONTENT, Component
from pdiff.files import PRETRAINED

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.components.ahead import Ahead


class Architecture(Component):
    """Builds a network."""

    kind: ClassVar[str] = "architecture"
    offers_pretrained: ClassVar[bool] = True
    """Whether `weights = "pretrained"` may be asked of it; what is False is refused before anything is computed."""
    weights: str = Field(
        "", json_schema_extra=CONTENT,
        description="start from: a .safetensors or .pt file, 'pretrained' where the component offers it, or nothing",
    )  # fmt: skip

    @abstractmethod
    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """Return the network for inputs `[B, *input_shape]` and `outputs` outputs, on the CPU, newly initialised.

        The caller seeds torch's global generator first, and afterwards loads `weights` where it names a file.
        Raises UserError for sizes that the network cannot take.
        """

    def foresee(self, ahead: Ahead) -> None:
        if self.weights == PRETRAINED and not self.offers_pretrained:
            none = f"{ahead.key}.weights: {self.name} has no pretrained weights"
            ahead.lacks(f'{none}; name a file, or write weights = ""')
        if self.weights not in ("", PRETRAINED) and not Path(self.weights).exists():
            ahead.lacks(f"{ahead.key}.weights = {self.weights!r}: no such file; correct the path")
        super().foresee(ahead)

    def state(self) -> dict[str, Tensor]:
        """Return the state dict that `weights` names, where it names a file. Raises UserError."""
        from pdiff.files import load_state

        return load_state(self.weights)
