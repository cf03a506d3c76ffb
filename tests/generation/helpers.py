"""A UNet at the size of a test."""

from __future__ import annotations

import torch

from pdiff.components import Dataset
from pdiff_plugins.generation.nets.unet import UNet

SMALL = {"widths": (8, 16), "layers": 1, "attention": (1,), "groups": 4}
CPU = torch.device("cpu")


def unet(seed: int = 0, channels: int = 1, **sizes) -> UNet:
    torch.manual_seed(seed)
    return UNet(channels, **SMALL | sizes).eval()


def refused(*_, **__):
    raise OSError("no route to host\nand more")


def digits_data(**options):
    images = {"name": "digits", "image_size": 8, "mean": [0.5], "std": [0.5]}
    return Dataset.model_validate({"name": "generation", "images": images, "examples": 40} | options)
