"""Networks that can be generated, by name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff.components.base import CONTENT, IF_SET, ReadsCheckpoints
from pdiff.files import PRETRAINED

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.components.ahead import Ahead


class Architecture(ReadsCheckpoints):
    """Builds a network."""

    kind: ClassVar[str] = "architecture"
    offers_pretrained: ClassVar[bool] = True
    """Whether `weights = "pretrained"` may be asked of it; what is False is refused before anything is computed."""
    weights: str = Field(
        "", json_schema_extra=CONTENT,
        description="start from: a checkpoint's file, a folder that is one network, 'pretrained' where the component "
        "offers it, or nothing",
    )  # fmt: skip
    head: Literal["same", "new"] = Field(
        "same", json_schema_extra=IF_SET,
        description="new: the last layer stays newly initialised, as for a file that was trained on other classes",
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

    def sizes(self) -> dict[str, Any]:
        """Return the component's own options: without those that every architecture has."""
        return self.model_dump(exclude=set(Architecture.model_fields))

    def weights_path(self) -> Path:
        """Return the file or folder that `weights` names. Raises UserError where it is of another network."""
        return Path(self.weights)

    def converted(self, state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Return a published state dict under the network's own names; it is asked where those do not fit."""
        return state

    def classifier(self, model: nn.Module) -> tuple[str, ...]:
        """Return the modules that `head = "new"` leaves alone: the last that multiplies by a matrix."""
        from torch import nn

        kinds = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)
        layers = [name for name, module in model.named_modules() if isinstance(module, kinds)]
        return tuple(layers[-1:])

    def content_of(self, option: str) -> str:
        """Take a folder for the files of weights in it."""
        from pdiff.checkpoints.opening import weights_in
        from pdiff.files import digest_of

        folder = Path(self.weights)
        files = weights_in(folder) if option == "weights" and self.weights and folder.is_dir() else ()
        return " ".join(digest_of(str(file)) for file in files) or super().content_of(option)
