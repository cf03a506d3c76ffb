"""Sentences that say a shift, for encoders of text: each level in one of several wordings, in random order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

STARTS = ("images", "pictures", "images of the usual classes")
TURNED: dict[Any, tuple[str, ...]] = {
    0: ("upright", "not turned", "the right way up"),
    90: ("lying on the left side", "a quarter turn to the left", "turned by 90 degrees"),
    180: ("upside down", "standing on the head", "turned by 180 degrees"),
    270: ("lying on the right side", "a quarter turn to the right", "turned by 270 degrees"),
}
WORDS: dict[str, dict[Any, tuple[str, ...]]] = {
    "rotation": TURNED,
    "mirror": {"no": ("as seen", "not mirrored"), "yes": ("mirrored", "as in a mirror", "flipped left to right")},
    "order": {
        "whole": ("in one piece", "halves in their places"),
        "left-right": ("left and right halves swapped", "the left half on the right"),
        "top-bottom": ("top and bottom halves swapped", "the upper half below"),
    },
    "inversion": {
        "no": ("light and dark as they are", "a positive"),
        "yes": ("inverted", "a negative", "light for dark"),
    },
}
"""By factor and level."""
NONE = {"blur": ("sharp", "in focus"), "contrast": ("full contrast", "with all contrast")}
MORE = {
    "blur": (
        ("a little out of focus", "slightly blurred"), ("out of focus", "blurred"),
        ("badly out of focus", "strongly blurred"),
    ),
    "contrast": (
        ("a little pale", "slightly less contrast"), ("pale", "less contrast"), ("very pale", "faint", "low contrast"),
    ),
}  # fmt: skip
"""From the least to the most."""


def sentence(task: Mapping[str, Any], levels: Mapping[str, Sequence[Any]], generator: torch.Generator) -> str:
    """Return a sentence of a task's levels; `levels`: all of each factor, which say how strong one is."""
    import torch

    def one(words: Sequence[str]) -> str:
        return words[int(torch.randint(len(words), (), generator=generator))]

    parts = [one(_wordings(factor, level, levels[factor])) for factor, level in task.items()]
    order = torch.randperm(len(parts), generator=generator).tolist()
    return f"{one(STARTS)}, {', '.join(parts[at] for at in order)}"


def _wordings(factor: str, level: Any, levels: Sequence[Any]) -> Sequence[str]:
    if factor == "rotation":
        plainly = (f"turned by {level} degrees", f"{level} degrees counter-clockwise", f"rotated {level} degrees")
        return TURNED.get(level % 360, plainly)
    if factor in WORDS:
        return WORDS[factor][level]
    unchanged = {"blur": 0, "contrast": 1}[factor]
    if level == unchanged:
        return NONE[factor]
    shifted = sorted((other for other in levels if other != unchanged), key=lambda other: abs(other - unchanged))
    at, last = shifted.index(level), len(shifted) - 1
    words = MORE[factor][round(2 * at / last) if last else 1]
    return words if last < 3 else tuple(f"{word} ({factor} {level})" for word in words)
