"""Networks of image generation: the UNet that is generated, and those whose features images are compared by."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt, model_validator

from pdiff.components import Architecture
from pdiff.errors import UserError
from pdiff.files import PRETRAINED
from pdiff_plugins.networks.inputs import image_shape, refuse_pretrained

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.components import Ahead

LACKS = (
    "task.features: inception needs torch-fidelity, which is missing; pip install 'neural-pdiff[generation]', or name "
    "another network"
)


class DdpmUnet(Architecture):
    """UNet that finds the noise in an image, in the layout of google/ddpm-cifar10-32.

    `weights` may also be a folder with config.json and diffusion_pytorch_model.safetensors (or .bin), and "pretrained"
    fetches that of huggingface.co/google/ddpm-cifar10-32. Whether the latter are the averaged weights, with which Ho
    et al. report an FID of 3.17, is disputed on its page: measure the base network before comparing.
    """

    name = "ddpm_unet"
    source: ClassVar[str] = "Ho et al. 2020, Denoising Diffusion Probabilistic Models, arXiv 2006.11239, appendix B"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ddpm_cifar10": {"widths": (128, 256, 256, 256), "layers": 2, "attention": (1,), "groups": 32}
    }
    widths: tuple[PositiveInt, ...] = Field(
        (32, 64), min_length=1, description="channels of each level; all but the last halve the sides"
    )
    layers: PositiveInt = Field(1, description="residual blocks of each level on the way down; one more on the way up")
    attention: tuple[int, ...] = Field((), description="levels with attention, from 0; the middle always has it")
    groups: PositiveInt = Field(8, description="groups of each group normalisation")

    @model_validator(mode="after")
    def _fits(self) -> DdpmUnet:
        bad = [width for width in self.widths if width % self.groups]
        if bad:
            raise ValueError(f"groups = {self.groups} does not divide the width {bad[0]}; choose a divisor of all")
        if self.widths[0] % 4:
            raise ValueError(f"widths: the first is {self.widths[0]}; the time embedding needs a multiple of 4")
        if not all(0 <= level < len(self.widths) for level in self.attention):
            raise ValueError(f"attention = {list(self.attention)}: levels go from 0 to {len(self.widths) - 1}")
        return self

    def foresee(self, ahead: Ahead) -> None:
        from pdiff_plugins.generation.weights import foresee_published

        super().foresee(ahead)
        if self.weights == PRETRAINED:
            foresee_published(ahead)

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.generation.nets.unet import UNet

        channels, *sides = image_shape(self.name, input_shape)
        if outputs != channels:
            raise UserError(
                f"architecture {self.name}: gives images of its inputs' {channels} channels, found {outputs} outputs; "
                "it is for dataset generation"
            )
        factor = 2 ** (len(self.widths) - 1)
        if any(side % factor for side in sides):
            raise UserError(
                f"architecture {self.name}: {len(self.widths)} levels need sides that {factor} divides, "
                f"found {sides[0]}x{sides[1]}; choose another dataset.images.image_size or fewer widths"
            )
        network = UNet(channels, **self.sizes())
        if self.weights == PRETRAINED:
            from pdiff.networks import load_into
            from pdiff_plugins.generation.weights import HUB, published

            load_into(network, published(), f"architecture.weights = 'pretrained' ({HUB})")
        return network

    def weights_path(self) -> Path:
        from pdiff_plugins.generation.weights import file_of

        return file_of(self)

    def converted(self, state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        from pdiff_plugins.generation.nets.unet import renamed

        return renamed(dict(state))


class Inception(Architecture):
    """Inception-v3 with the weights of the original Fréchet inception distance.

    The extra `generation` brings torch-fidelity, whose conversion of them it is. Images are resized as the original
    did; torchvision's own Inception, and torchmetrics with its default of antialiasing, give other distances.
    `weights` may be a local copy of weights-inception-2015-12-05-6726825d.pth.
    """

    name = "inception"
    source: ClassVar[str] = "Heusel et al. 2017, arXiv 1706.08500; Szegedy et al. 2015, arXiv 1512.00567"
    weights: str = Field(PRETRAINED, min_length=1, description="'pretrained' fetches them, or a file of them")

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        if importlib.util.find_spec("torch_fidelity") is None:
            raise UserError(LACKS)
        if self.weights == PRETRAINED:
            from pdiff_plugins.generation.nets.inception import foresee_published

            foresee_published(ahead)

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        shape = image_shape(self.name, input_shape)
        if shape[0] not in (1, 3):
            raise UserError(f"features {self.name}: takes grey or colour images, found {shape[0]} channels")
        try:
            from pdiff_plugins.generation.nets import inception
        except ImportError:
            raise UserError(LACKS) from None
        network = inception.Inception()
        if self.weights == PRETRAINED:
            network.load_state_dict(inception.published())
        return network


class DigitFeatures(Architecture):
    """Hidden layer of a small classifier of scikit-learn's digits.

    It is trained, the same way each time, in a second when it is asked for.
    """

    name = "digit_features"
    offers_pretrained: ClassVar[bool] = False
    width: int = Field(32, gt=1, description="features")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.generation.nets.digit_features import DigitFeatures

        refuse_pretrained(self)
        image_shape(self.name, input_shape)
        return DigitFeatures(self.width)
