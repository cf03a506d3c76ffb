"""Network modules in plain torch; this file itself imports no torch, the modules beside it do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdiff.errors import UserError
from pdiff.files import PRETRAINED

if TYPE_CHECKING:
    from pdiff.components import Architecture


def image_shape(name: str, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (channels, height, width). Raises UserError for inputs that are no images."""
    if len(input_shape) != 3 or min(input_shape) < 1:
        shape = " x ".join(map(str, input_shape)) or "scalar"
        raise UserError(f"architecture {name}: takes images (channels x height x width), found {shape} inputs")
    channels, height, width = input_shape
    return channels, height, width


def refuse_pretrained(architecture: Architecture) -> None:
    """Raise UserError where pretrained weights are asked of a network that has none."""
    if architecture.weights == PRETRAINED:
        raise UserError(
            f'architecture.weights: {architecture.name} has no pretrained weights; name a file, or write weights = ""'
        )
