"""The network that is a field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff.checkpoints.names import in_names
from pdiff.components import Architecture
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn


class Siren(Architecture):
    """Perceptron with sines, a field over the plane or space.

    `relu_pe` has rectified layers after a positional encoding; `hyperdiffusion_mlp` is HyperDiffusion's, of 36,737
    weights in space (the encoding's frequencies have a factor pi that theirs have not).
    """

    name = "siren"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = (
        "Sitzmann et al. 2020, arXiv 2006.09661; Mildenhall et al. 2020, arXiv 2003.08934; hyperdiffusion_mlp: "
        "Erkoç et al. 2023, HyperDiffusion, arXiv 2303.17015, and the authors' code"
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "relu_pe": {"activation": "relu", "frequencies": 4},
        "hyperdiffusion_mlp": {"activation": "relu", "frequencies": 4, "hidden": 3, "width": 128},
    }
    hidden: int = Field(2, gt=0, description="hidden layers")
    width: int = Field(16, gt=0, description="width of the hidden layers")
    activation: Literal["sine", "relu"] = Field("sine", description="of the hidden layers")
    w0: float = Field(6.0, gt=0, description="frequency of the sines; read by sine only")
    frequencies: int = Field(0, ge=0, description="frequencies of the positional encoding; 0: none")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """See `Architecture.build`. Raises UserError where inputs are not coordinates."""
        from pdiff_plugins.fields.siren import FieldNet

        if len(input_shape) != 1:
            raise UserError(
                f"architecture {self.name}: takes coordinates, not inputs of shape {list(input_shape)}; "
                "use a data set of fields, such as digit_fields"
            )
        w0 = self.w0 if self.activation == "sine" else 0.0
        return FieldNet(input_shape[0], outputs, self.hidden, self.width, w0, self.frequencies)

    def converted(self, state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Take the names of HyperDiffusion's own files: layers.0 to layers.N, the last of which is the output."""
        return in_names(state, {"layers.*": "hidden.*", f"layers.{self.hidden}.*": "out.*"})
