"""The networks that are scenes in colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff.components import IF_SET, Architecture
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import nn


class RadianceMlp(Architecture):
    """Perceptron from a point, and where it is seen from, to colour and density.

    As it is it has 2,084 weights. `tiny_nerf` is that of the NeRF authors' small notebook, 481,796 weights; `shap_e`
    has the sizes of Shap-E's networks, 369,164 weights, of which Shap-E generates the 220,416 of `hidden.0` to
    `hidden.3`'s matrices (selector names, include = ["hidden.[0-3].weight"]); of its 12 outputs the first four are
    read.
    """

    name = "radiance_mlp"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = (
        "Mildenhall et al. 2020, NeRF, arXiv 2003.08934; tiny_nerf: the authors' notebook tiny_nerf.ipynb; shap_e: Jun "
        "and Nichol 2023, arXiv 2305.02463, and the authors' code"
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny_nerf": {"hidden": 8, "width": 256, "frequencies": 6, "again_at": 5},
        "shap_e": {
            "hidden": 6, "width": 256, "frequencies": 15, "activation": "silu", "direction_at": 4,
            "direction_frequencies": 8, "numbers": 12,
        },
    }  # fmt: skip
    hidden: int = Field(2, gt=0, description="hidden layers")
    width: int = Field(32, gt=0, description="width of the hidden layers")
    frequencies: int = Field(4, ge=0, description="frequencies of the positional encoding; 0: none")
    activation: Literal["relu", "silu"] = Field("relu", description="of the hidden layers")
    again_at: int = Field(
        0, ge=0, json_schema_extra=IF_SET, description="hidden layer that is given the point again; 0: none"
    )
    direction_at: int = Field(
        0, ge=0, json_schema_extra=IF_SET, description="hidden layer that is given the direction; 0: none"
    )
    direction_frequencies: int = Field(
        2, ge=0, json_schema_extra=IF_SET, description="frequencies of the direction's encoding"
    )
    numbers: int = Field(
        0, ge=0, json_schema_extra=IF_SET, description="outputs; 0: as many as the task reads"
    )  # fmt: skip

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """See `Architecture.build`. Raises UserError where inputs are no rays, or a layer is not there."""
        from pdiff_plugins.radiance.net import RadianceNet

        if len(input_shape) not in (1, 2) or input_shape[-1] < 6:  # two: a ray of each scene
            raise UserError(
                f"architecture {self.name}: sees points along rays, not inputs of shape {list(input_shape)}; use a "
                "data set of scenes, such as scenes3d"
            )
        for option in ("again_at", "direction_at"):
            if getattr(self, option) >= self.hidden:
                raise UserError(
                    f"architecture.{option} = {getattr(self, option)}: hidden layers are numbered 1 to "
                    f"{self.hidden - 1} behind the first; lower it"
                )
        if 0 < self.numbers < outputs:
            raise UserError(f"architecture.numbers = {self.numbers}: the task reads {outputs} outputs; raise it")
        return RadianceNet(
            self.hidden, self.width, self.numbers or outputs, self.frequencies, self.activation, self.again_at,
            self.direction_at, self.direction_frequencies,
        )  # fmt: skip
