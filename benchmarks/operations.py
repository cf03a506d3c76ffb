"""Operations of the book's networks, codecs and denoisers, by the meta device, and what a worker does in a second."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pdiff.components import Architecture, Codec, Denoiser, Selector, Task
from pdiff.zoo import Layout
from pdiff_plugins.backbones.codec_module import codec_module
from pdiff_plugins.backbones.codecs import Conv1dCodec
from pdiff_plugins.backbones.denoisers import Conv1dDenoiser
from pdiff_plugins.generation.task import Generation

DATA = {
    "cifar10": (50_000, 10_000, 10), "cifar100": (50_000, 10_000, 100), "stl10": (5_000, 8_000, 10),
    "mnist": (60_000, 10_000, 10), "svhn": (73_257, 26_032, 10), "food101": (75_750, 25_250, 101),
    "flowers102": (1_020, 6_149, 102), "oxford_pets": (3_680, 3_669, 37), "imagenet": (1_281_167, 50_000, 1_000),
    "digits": (1_437, 360, 10), "coco_detection": (118_287, 5_000, 91), "coco_segmentation": (118_287, 5_000, 21),
    "generation": (50_000, 10_000, 3),
}  # fmt: skip
"""Training and test examples, and outputs."""
DETECTORS = {"fasterrcnn_resnet50_fpn": 2 * 134.38e9, "fcos_resnet50_fpn": 2 * 128.21e9}
"""Operations of an image, as torchvision's documentation has them, in multiplications with addition."""


@dataclass(frozen=True)
class Work:
    """A part of a stage."""

    kind: str
    """network, codec, denoiser or default (the denoiser of pdiff's own method)."""
    operations: float = 0.0
    steps: float = 0.0
    images: float = 0.0


@dataclass(frozen=True)
class Machine:
    """What a worker has; operations a second by kind, seconds of the shortest step, files of images a second."""

    rates: dict[str, float]
    step: dict[str, float]
    images: float
    stage: float
    """Seconds that each stage takes beside its work."""

    def seconds(self, works: Sequence[Work]) -> float:
        return self.stage + sum(self._of(work) for work in works)

    def _of(self, work: Work) -> float:
        least = work.steps * self.step.get(work.kind, self.step["step"])
        return max(work.operations / self.rates[work.kind], least, work.images / self.images)


GPU = Machine(dict.fromkeys(("network", "codec", "denoiser", "default"), 0.3 * 100e12), {"step": 1e-3}, 2_000, 1.0)
"""Assumed: 30 % of 100 TFLOP/s, 1 ms the shortest step, 2,000 images a second from files."""
CODEC_S, DENOISER_S, DEFAULT_FIT_S = 0.67, 0.47, 25.7
"""CPU seconds of a step at 2,048 numbers, latent 128, batch 50, bfloat16, and of the default's fit in 3,000 steps."""


def counted(work: Any) -> float:
    """Return the operations of a call."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return float(counter.get_total_flops())


@functools.cache
def codec_step(codec: Codec, dim: int) -> float:
    """Return the operations of a training step of a codec, of one vector."""
    module = codec_module(codec.build(dim=dim))  # not on the meta device, which its cast to bfloat16 does not know
    return 3 * counted(lambda: module.decode(module.encode(torch.zeros(2, dim)))) / 2


@functools.cache
def denoiser_pass(denoiser: Denoiser, latent: int) -> float:
    """Return the operations of a pass of a denoiser, of one latent."""
    module = denoiser.build(dim=latent)
    return counted(lambda: module(torch.zeros(2, latent), torch.zeros(2), None)) / 2


@dataclass(frozen=True)
class Network:
    """Operations of an image: the whole network, and what comes behind the first selected parameter."""

    whole: float
    suffix: float
    dim: int


@functools.cache
def network_of(architecture: Architecture, selector: Selector, task: Task, data: str, side: int) -> Network:
    """Return the operations of an architecture's network on a data set's images."""
    shape = (1 if data in ("mnist", "digits") else 3, side, side)
    if "weights" in type(architecture).model_fields:
        architecture = architecture.model_copy(update={"weights": ""})
    with torch.device("meta"):
        model = architecture.build(input_shape=shape, outputs=DATA[data][2]).eval()
        inputs, keys = torch.zeros(1, *shape), selector.select(model)
        dim = Layout.of(model, keys).dim
        if whole := DETECTORS.get(architecture.name):
            return Network(whole, whole, dim)  # one network at a time
        if isinstance(task, Generation):  # every step but the first has another prefix
            whole = counted(lambda: model(inputs, torch.zeros(1))) * task.steps
            return Network(whole, whole, dim)
        return Network(*_parted(model, keys, inputs), dim)


def _parted(model: nn.Module, keys: Sequence[str], inputs: torch.Tensor) -> tuple[float, float]:
    before: list[int] = []
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for name in {key.rpartition(".")[0] for key in keys}:
            model.get_submodule(name).register_forward_pre_hook(lambda *_: before.append(counter.get_total_flops()))
        model(inputs)
    whole = float(counter.get_total_flops())
    return whole, whole - min(before, default=0)


def per_core() -> float:
    """Return the operations of a CPU second of ResNet-18's training at 64 pixels, on one thread."""
    from torchvision.models import resnet18

    torch.set_num_threads(1)
    model = resnet18(num_classes=10)
    images = torch.randn(32, 3, 64, 64)
    operations = 3 * counted(lambda: model(images))

    def step() -> float:
        used = time.process_time()
        model(images).sum().backward()
        return time.process_time() - used

    step()
    return operations / min(step() for _ in range(5))


def cpu() -> Machine:
    """Return a core of this CPU."""
    batch = 50
    codec, denoiser = Conv1dCodec(latent=128), Conv1dDenoiser()
    rates = {
        "network": per_core(), "codec": batch * codec_step(codec, 2048) / CODEC_S,
        "denoiser": 3 * batch * denoiser_pass(denoiser, 128) / DENOISER_S, "default": 50e9,
    }  # fmt: skip
    return Machine(rates, {"step": 3e-4, "default": DEFAULT_FIT_S / 3_000}, 150, 1.0)
