"""Small networks whose every parameter can be generated: a perceptron and convolutional ones.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import prod

from torch import Tensor, nn


class Perceptron(nn.Module):
    """Averages the channels, pools, then Linear + LayerNorm + LeakyReLU per hidden width."""

    def __init__(self, size: tuple[int, int], pool: int, hidden: tuple[int, ...], outputs: int):
        super().__init__()
        self.pool = nn.AvgPool2d(pool)
        widths = ((size[0] // pool) * (size[1] // pool), *hidden)
        layers = [nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b), nn.LeakyReLU()) for a, b in pairwise(widths)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.layers(self.pool(x_BCHW.mean(dim=1, keepdim=True)).flatten(1)))


def mlp(
    shape: tuple[int, ...], hidden: tuple[int, ...], outputs: int, activation: str, initial: float = 0.0
) -> nn.Sequential:
    """Return linear layers of these widths, with an activation after each but the last; `initial`: see `Mlp`."""
    between = {"relu": nn.ReLU, "selu": nn.SELU, "tanh": nn.Tanh, "gelu": nn.GELU}[activation]
    widths = (prod(shape), *hidden, outputs)
    layers = [module for a, b in pairwise(widths) for module in (nn.Linear(a, b), between())]
    for layer in layers if initial else ():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=initial / layer.in_features**0.5)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def two_convolutions(inputs: int, channels: tuple[int, int], outputs: int) -> nn.Sequential:
    """Return two 3x3 convolutions (the first of stride 2), each with ReLU, global average pooling, a linear layer."""
    first, second = channels
    stem = [nn.Conv2d(inputs, first, 3, stride=2, padding=1, bias=False), nn.ReLU()]
    body = [nn.Conv2d(first, second, 3, padding=1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*stem, *body, nn.Flatten(), nn.Linear(second, outputs))


def strided(
    shape: tuple[int, int, int], channels: tuple[int, ...], hidden: tuple[int, ...], outputs: int
) -> nn.Sequential:
    """Return 3x3 convolutions of stride 2, then linear layers, with ReLU between all."""
    inputs, height, width = shape
    layers: list[nn.Module] = []
    for a, b in pairwise((inputs, *channels)):
        layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU()]
        height, width = (height + 1) // 2, (width + 1) // 2
    return nn.Sequential(*layers, *mlp((channels[-1], height, width), hidden, outputs, "relu"))


def convnet(
    shape: tuple[int, int, int], channels: tuple[int, ...], hidden: int, outputs: int, pooling: str
) -> nn.Sequential:
    """Return conv + LayerNorm over [C, H, W] + LeakyReLU + pooling per stage, then two linear layers."""
    halve = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}[pooling]
    first, height, width = shape
    height, width = (height + 1) // 2, (width + 1) // 2
    stages: list[nn.Module] = []
    for index, (a, b) in enumerate(pairwise((first, *channels))):
        conv = nn.Conv2d(a, b, 3, padding=1) if index else nn.Conv2d(a, b, 7, stride=2, padding=3)
        stages.append(nn.Sequential(conv, nn.LayerNorm([b, height, width]), nn.LeakyReLU(), halve(2)))
        height, width = height // 2, width // 2
    return nn.Sequential(*stages, *_head(channels[-1] * height * width, hidden, outputs))


def resnet(
    shape: tuple[int, int, int], channels: int, bottleneck: int, blocks: int, hidden: int, outputs: int
) -> nn.Sequential:
    """Return a strided conv stem, then residual blocks, each followed by LayerNorm over [C, H, W] and max-pool."""
    first, height, width = shape
    height, width = (height + 1) // 2, (width + 1) // 2
    parts: list[nn.Module] = [nn.Conv2d(first, channels, 3, stride=2, padding=1), nn.LeakyReLU()]
    for index in range(blocks + 1):
        if index:
            parts.append(Bottleneck(channels, bottleneck))
        parts += [nn.LayerNorm([channels, height, width]), nn.MaxPool2d(2)]
        height, width = height // 2, width // 2
    return nn.Sequential(*parts, *_head(channels * height * width, hidden, outputs))


class Bottleneck(nn.Module):
    """x + conv(LeakyReLU(conv(x))) through fewer channels."""

    def __init__(self, channels: int, bottleneck: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, bottleneck, 3, padding=1)
        self.conv2 = nn.Conv2d(bottleneck, channels, 3, padding=1)
        self.activation = nn.LeakyReLU()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.conv2(self.activation(self.conv1(x_BCHW)))


class MediumCnn(nn.Module):
    """Unpadded 3x3 conv + max-pool + LeakyReLU per stage, then two linear layers; a grey image is repeated to RGB."""

    def __init__(self, shape: tuple[int, int, int], channels: tuple[int, ...], hidden: int, outputs: int):
        super().__init__()
        first, height, width = shape
        self.repeat = 3 if first == 1 else 1
        stages: list[nn.Module] = []
        for a, b in pairwise((first * self.repeat, *channels)):
            stages.append(nn.Sequential(nn.Conv2d(a, b, 3), nn.MaxPool2d(2), nn.LeakyReLU()))
            height, width = (height - 2) // 2, (width - 2) // 2
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(*_head(channels[-1] * height * width, hidden, outputs))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.stages(x_BCHW.repeat(1, self.repeat, 1, 1)))


HYPER_STAGES = ((5, 2), (5, 2), (2, 1))
"""Sides of the kernel and of the pooling window in each stage of `hyper_cnn`."""
BIAS = 0.01
"""Of every layer that `initialise` fills."""


def hyper_cnn(
    shape: tuple[int, int, int], outputs: int, channels: tuple[int, ...], hidden: int, activation: str, dropout: float
) -> nn.Sequential:
    """Return unpadded conv + max-pool + activation + dropout per stage, then two linear layers."""
    act = {"tanh": nn.Tanh, "gelu": nn.GELU, "relu": nn.ReLU, "sigmoid": nn.Sigmoid}[activation]

    def after() -> list[nn.Module]:
        return [act(), nn.Dropout(dropout)] if dropout else [act()]

    first, height, width = shape
    stages: list[nn.Module] = []
    for (a, b), (kernel, window) in zip(pairwise((first, *channels)), HYPER_STAGES, strict=True):
        pool = [nn.MaxPool2d(window)] if window > 1 else []
        stages.append(nn.Sequential(nn.Conv2d(a, b, kernel), *pool, *after()))
        height, width = (height - kernel + 1) // window, (width - kernel + 1) // window
    first_linear = nn.Sequential(nn.Linear(channels[-1] * height * width, hidden), *after())
    return nn.Sequential(*stages, nn.Flatten(), first_linear, nn.Linear(hidden, outputs))


def initialise(network: nn.Module, way: str) -> None:
    """Fill the weights of convolutions and linear layers by torch's function of that name, with its defaults."""
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "uniform": nn.init.uniform_, "normal": nn.init.normal_,
        "kaiming_uniform": nn.init.kaiming_uniform_, "kaiming_normal": nn.init.kaiming_normal_,
    }  # fmt: skip
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            functions[way](module.weight)
            if module.bias is not None:
                nn.init.constant_(module.bias, BIAS)


def _head(features: int, hidden: int, outputs: int) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(features, hidden), nn.LeakyReLU(), nn.Linear(hidden, outputs)]
