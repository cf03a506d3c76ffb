"""Small image networks that can be generated whole; their sizes follow from the dataset's input shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from pdiff import hookimpl
from pdiff.checkpoints.names import in_names
from pdiff.components import IF_SET, Architecture
from pdiff.errors import UserError
from pdiff_plugins.networks.inputs import image_shape, refuse_pretrained

if TYPE_CHECKING:
    from torch import Tensor, nn

FULL_NETS = "Wang et al. 2024, arXiv 2402.13144, full-network experiments; sizes as in the authors' code, dataset/full"


def _image(architecture: Architecture, input_shape: tuple[int, ...], least: int, remedy: str) -> tuple[int, int, int]:
    """Return the image's shape. Raises UserError where a side is shorter than `least`, or weights are not to be had."""
    refuse_pretrained(architecture)
    shape = image_shape(architecture.name, input_shape)
    if min(shape[1:]) < least:
        raise UserError(
            f"architecture {architecture.name}: images of {shape[1]}x{shape[2]} are too small, at least "
            f"{least}x{least} is needed with these options; use larger images, or {remedy}"
        )
    return shape


class ConvNetMini(Architecture):
    """Three-stage ConvNet with LayerNorm, all parameters small enough to generate."""

    name = "convnet_mini"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = FULL_NETS
    channels: tuple[PositiveInt, ...] = Field((8, 8, 4), min_length=1, description="output channels of each stage")
    hidden: int = Field(16, gt=0, description="width of the hidden linear layer")
    pooling: Literal["avg", "max"] = Field(
        "avg", description="what halves a stage; the reference does not say, and avg comes nearer to its log"
    )

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.networks.nets.minis import convnet

        least = 2 ** (len(self.channels) + 1) - 1
        shape = _image(self, input_shape, least, "fewer channels")
        return convnet(shape, self.channels, self.hidden, outputs, self.pooling)


class MlpMini(Architecture):
    """Perceptron with LayerNorm on the pooled grey image."""

    name = "mlp_mini"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = FULL_NETS
    pool: int = Field(2, gt=0, description="side of the average-pooling window")
    hidden: tuple[PositiveInt, ...] = Field((64, 16), min_length=1, description="widths of the hidden layers")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.networks.nets.minis import Perceptron

        shape = _image(self, input_shape, self.pool, "a smaller pool")
        return Perceptron(shape[1:], self.pool, self.hidden, outputs)


class ResNetMini(Architecture):
    """Residual network of bottleneck blocks with LayerNorm."""

    name = "resnet_mini"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = FULL_NETS
    channels: int = Field(8, gt=0, description="channels of the stem and of every block")
    bottleneck: int = Field(4, gt=0, description="channels inside a block")
    blocks: int = Field(2, ge=0, description="residual blocks, each followed by pooling")
    hidden: int = Field(16, gt=0, description="width of the hidden linear layer")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.networks.nets.minis import resnet

        shape = _image(self, input_shape, 2 ** (self.blocks + 2) - 1, "fewer blocks")
        return resnet(shape, self.channels, self.bottleneck, self.blocks, self.hidden, outputs)


class VitMini(Architecture):
    """Vision transformer with fixed positions and mean pooling."""

    name = "vit_mini"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = FULL_NETS + "; SimpleViT: Beyer et al. 2022, arXiv 2205.01580"
    patch: int = Field(8, gt=0, description="side of a patch; divides the image's height and width")
    dim: int = Field(64, ge=8, multiple_of=4, description="width of the embedding")
    depth: int = Field(4, gt=0, description="transformer blocks")
    heads: int = Field(4, gt=0, description="attention heads")
    head_dim: int = Field(8, gt=0, description="width of one head")
    mlp_dim: int = Field(64, gt=0, description="hidden width of a block's MLP")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.networks.nets.vit import SimpleViT

        shape = _image(self, input_shape, self.patch, "a smaller patch")
        if shape[1] % self.patch or shape[2] % self.patch:
            raise UserError(
                f"architecture {self.name}: patch = {self.patch} does not divide images of {shape[1]}x{shape[2]}; "
                "choose a patch that divides both sides"
            )
        sizes = self.sizes()
        return SimpleViT(shape, outputs, **sizes)


class ConvNextMini(Architecture):
    """Four-stage ConvNeXt, narrow enough to generate whole."""

    name = "convnext_mini"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = FULL_NETS + "; ConvNeXt: Liu et al. 2022, arXiv 2201.03545"
    stem: int = Field(4, gt=0, description="side of the patches that the stem takes")
    depths: tuple[PositiveInt, ...] = Field((1, 2, 2, 2), min_length=1, description="blocks of each stage")
    dims: tuple[PositiveInt, ...] = Field((16, 32, 32, 32), min_length=1, description="channels of each stage")

    @model_validator(mode="after")
    def _same_stages(self) -> ConvNextMini:
        if len(self.depths) != len(self.dims):
            raise ValueError(f"depths has {len(self.depths)} stages, dims has {len(self.dims)}; give as many of both")
        return self

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.networks.nets.convnext import ConvNeXt

        least = self.stem * 2 ** (len(self.depths) - 1)
        channels, _, _ = _image(self, input_shape, least, "a smaller stem or fewer stages (depths and dims)")
        return ConvNeXt(channels, outputs, stem=self.stem, depths=self.depths, dims=self.dims)


class CnnMedium(Architecture):
    """Three-stage CNN for 32x32 digits; grey images are repeated to RGB."""

    name = "cnn_medium"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = FULL_NETS
    channels: tuple[PositiveInt, ...] = Field((16, 32, 15), min_length=1, description="output channels of each stage")
    hidden: int = Field(20, gt=0, description="width of the hidden linear layer")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.networks.nets.minis import MediumCnn

        least = 3 * 2 ** len(self.channels) - 2
        return MediumCnn(_image(self, input_shape, least, "fewer channels"), self.channels, self.hidden, outputs)


class ResNet20(Architecture):
    """CIFAR ResNet-20 with BatchNorm and parameter-free shortcuts."""

    name = "resnet20"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = "He et al. 2016, arXiv 1512.03385, section 4.2, option A"

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.networks.nets import resnet20

        return resnet20.ResNet20(_image(self, input_shape, 1, "")[0], outputs)


class HyperCnn(Architecture):
    """Three-stage CNN of the hyper-representations' model zoos, for 28x28 images."""

    name = "hyper_cnn"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = "Schürholt et al. 2022, Model Zoos, arXiv 2209.14764; sizes as in the authors' code"
    channels: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (8, 6, 4), description="output channels of each stage"
    )
    hidden: int = Field(20, gt=0, description="width of the hidden linear layer")
    activation: Literal["tanh", "gelu", "relu", "sigmoid"] = Field(
        "tanh", description="after each layer but the last; the zoos of MNIST and SVHN have tanh, that of CIFAR-10 gelu"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="part of the values dropped after each activation in training")
    init: Literal["default", "uniform", "normal", "kaiming_uniform", "kaiming_normal"] = Field(
        "default",
        description="weights as torch makes them; from U(0, 1), as in the zoos of MNIST and SVHN; from N(0, 1); or "
        "Kaiming's (uniform in the zoo of CIFAR-10). All but default have biases of 0.01",
    )

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.networks.nets.minis import hyper_cnn, initialise

        sizes = {option: value for option, value in self.sizes().items() if option != "init"}
        network = hyper_cnn(_image(self, input_shape, 20, "another architecture"), outputs, **sizes)
        if self.init != "default":
            initialise(network, self.init)
        return network

    def converted(self, state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Take the names of the model zoos' own files: module_list.N, where every layer and activation counts."""
        from pdiff_plugins.networks.nets.minis import HYPER_STAGES

        after, number, places = 1 + (self.dropout > 0), 0, dict[str, str]()
        for stage, (_, window) in enumerate(HYPER_STAGES):
            places[f"module_list.{number}.*"] = f"{stage}.0.*"
            number += 1 + (window > 1) + after
        flat = len(HYPER_STAGES)
        places[f"module_list.{number + 1}.*"] = f"{flat + 1}.0.*"
        return in_names(state, places | {f"module_list.{number + 2 + after}.*": f"{flat + 2}.*"})


class Mlp(Architecture):
    """Perceptron: linear layers, an activation between them, and nothing else."""

    name = "mlp"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = "Peebles et al. 2022 (G.pt), arXiv 2209.12892: hidden = [10] on MNIST, [32, 32] on Cartpole"
    hidden: tuple[PositiveInt, ...] = Field((10,), description="widths of the hidden layers")
    activation: Literal["relu", "selu", "tanh", "gelu"] = Field("relu", description="after each layer but the last")
    initial: float = Field(
        0.0, ge=0, json_schema_extra=IF_SET,
        description="deviation of weights to begin with, times the root of a layer's inputs (1.41: He et al. 2015); "
        "0: as torch has them, which is 0.58",
    )  # fmt: skip

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.networks.nets.minis import mlp

        refuse_pretrained(self)
        return mlp(input_shape, self.hidden, outputs, self.activation, self.initial)

    def converted(self, state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Take the names of G.pt's own files: fc1, fc2, ..."""
        return in_names(state, {f"fc{layer + 1}.*": f"{2 * layer + 1}.*" for layer in range(len(self.hidden) + 1)})


class TwoConvolutions(Architecture):
    """Two 3x3 convolutions without biases, the mean over the image, one linear layer."""

    name = "gpt_cnn"
    offers_pretrained: ClassVar[bool] = False
    source: ClassVar[str] = "Peebles et al. 2022 (G.pt), arXiv 2209.12892, the CIFAR-10 network (5,370 parameters)"
    channels: tuple[PositiveInt, PositiveInt] = Field((16, 32), description="output channels; the first has stride 2")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.networks.nets.minis import two_convolutions

        return two_convolutions(_image(self, input_shape, 1, "")[0], self.channels, outputs)

    def converted(self, state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Take the names of G.pt's own files: conv1, conv2, fc."""
        return in_names(state, {"conv1.*": "0.*", "conv2.*": "2.*", "fc.*": "6.*"})


class StridedCnn(Architecture):
    """3x3 convolutions of stride 2 with ReLU, then linear layers."""

    name = "strided_cnn"
    offers_pretrained: ClassVar[bool] = False
    channels: tuple[PositiveInt, ...] = Field((16, 32), min_length=1, description="output channels of each convolution")
    hidden: tuple[PositiveInt, ...] = Field((16,), description="widths of the hidden linear layers")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from pdiff_plugins.networks.nets.minis import strided

        return strided(_image(self, input_shape, 1, ""), self.channels, self.hidden, outputs)


@hookimpl
def register_architectures(register: Any) -> None:
    minis = (ConvNetMini, MlpMini, ResNetMini, VitMini, ConvNextMini)
    for component in (*minis, CnnMedium, ResNet20, HyperCnn, Mlp, TwoConvolutions, StridedCnn):
        register(component)
