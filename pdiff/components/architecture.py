"""Networks that can be generated, by name."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components.base import CONTENT, Component

if TYPE_CHECKING:
    from torch import Tensor, nn


class Architecture(Component):
    """Builds a network."""

    kind: ClassVar[str] = "architecture"
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

    def state(self) -> dict[str, Tensor]:
        """Return the state dict that `weights` names, where it names a file. Raises UserError."""
        from pdiff.files import load_state

        return load_state(self.weights)
