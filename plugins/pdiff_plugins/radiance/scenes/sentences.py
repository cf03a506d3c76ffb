"""Sentences that say a scene: one in plain words, and others that mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pdiff_plugins.radiance.scenes.traits import COLOURS, LEAN, SIZES, heights

if TYPE_CHECKING:
    from pdiff_plugins.radiance.scenes.dataset import Scenes3d
    from pdiff_plugins.radiance.scenes.drawing import Scene
    from pdiff_plugins.radiance.scenes.solids import Thing

NOUNS = {"ball": ("ball", "sphere"), "box": ("box", "cube", "block"), "torus": ("torus", "ring", "doughnut")}
SIZE_WORDS: dict[int, tuple[tuple[str, ...], ...]] = {
    2: (("small", "little"), ("large", "big")),
    3: (("small", "little"), ("medium-sized", "middle-sized"), ("large", "big")),
    4: (("tiny", "minute"), ("small", "little"), ("large", "big"), ("huge", "giant", "enormous")),
}
HEIGHT_WORDS: dict[int, tuple[tuple[str, ...], ...]] = {
    2: (("flat", "shallow"), ("tall", "high")),
    3: (("flat", "shallow"), ("medium-high", "half-high"), ("tall", "high")),
    4: (("flat", "shallow"), ("low", "short"), ("tall", "high"), ("very tall", "very high")),
}
"""By how many there are, from the least to the most, each with what else it is called: width and height have words of
their own, and a thing's are about others of its kind. Without levels four words cut each range into equal parts."""
FINEST = 4
LEAN_WORDS = (
    ("leaning left", "leaning to the left", "tilted to the left"),
    ("", "upright", "standing upright"),
    ("leaning right", "leaning to the right", "tilted to the right"),
)
"""From left to right; without levels for equal parts of the range. In plain words upright is not said."""
PHRASES = (
    "{size}, {height} {colour} {noun}{lean}", "{colour} {noun}{lean}, {size} and {height}",
    "{height}, {size} {noun} in {colour}{lean}", "{noun}{lean} that is {size}, {colour} and {height}",
    "{height} {colour} {noun}{lean} which is {size}", "{size} {colour} {noun}{lean}, and {height}",
    "{colour}, {height}, {size} {noun}{lean}",
)  # fmt: skip
"""Of one thing: what follows an article. The first is in plain words."""
RELATIONS = {
    "left": (
        "{a} to the left of {b}", "{b} to the right of {a}", "{a} left of {b}", "on the left {a}, on the right {b}",
        "{b}, and to its left {a}", "{a}, and to its right {b}", "from left to right: {a}, then {b}",
    ),
    "above": (
        "{a} above {b}", "{b} below {a}", "{a} over {b}", "at the top {a}, at the bottom {b}", "{b}, and above it {a}",
        "{a}, and below it {b}", "{b} underneath {a}",
    ),
}  # fmt: skip
"""Of two things, by the place of the first: in plain words first."""


def sentences(scene: Scene, options: Scenes3d, generator: torch.Generator) -> tuple[str, list[str]]:
    """Return a scene's sentence in plain words, and six others in random order with random words of one meaning."""
    words = [_words(thing, options) for thing in scene.things]
    plain = [_phrase(PHRASES[0], one, None) for one in words]
    if not scene.place:
        others = [_phrase(phrase, words[0], generator) for phrase in PHRASES[1:]]
        return plain[0], [others[at] for at in torch.randperm(len(others), generator=generator).tolist()]
    relations, others = RELATIONS[scene.place], []
    for at in torch.randperm(len(relations) - 1, generator=generator).tolist():
        # The phrases that hold together between commas.
        first, second = (_phrase(_one((PHRASES[0], *PHRASES[2:5]), generator), one, generator) for one in words)
        others.append(relations[at + 1].format(a=first, b=second))
    return relations[0].format(a=plain[0], b=plain[1]), others


def named(colour: Sequence[float]) -> str:
    """Return the name of the nearest colour that has one."""
    return min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], colour, strict=True)))


def rank(value: float, ends: tuple[float, float], count: int, exact: bool) -> int:
    """Return which of so many words is said: of values at equal steps (`exact`), or for equal parts of a range."""
    share = (value - ends[0]) / (ends[1] - ends[0])
    return round(share * (count - 1)) if exact else min(max(int(share * count), 0), count - 1)


def _words(thing: Thing, options: Scenes3d) -> dict[str, Sequence[str]]:
    """Return what a thing's traits are called, by trait; in plain words first."""
    count, exact = options.levels or FINEST, bool(options.levels)
    return {
        "size": SIZE_WORDS[count][rank(thing.size, SIZES[options.objects], count, exact)],
        "height": HEIGHT_WORDS[count][rank(thing.height, heights(thing.kind, options.objects), count, exact)],
        "colour": (named(thing.colour),),
        "noun": NOUNS[thing.kind],
        "lean": LEAN_WORDS[rank(thing.lean, (-LEAN, LEAN), 3, False)] if options.poses else ("",),
    }


def _phrase(phrase: str, words: dict[str, Sequence[str]], generator: torch.Generator | None) -> str:
    """Return a phrase with its article, in words drawn at random, or without a generator in plain ones."""
    chosen = {trait: _one(same, generator) if generator else same[0] for trait, same in words.items()}
    lean = chosen.pop("lean")
    filled = phrase.format(**chosen, lean=f" {lean}" if lean else "")
    return f"{'an' if filled[0] in 'aeiou' else 'a'} {filled}"


def _one(words: Sequence[str], generator: torch.Generator) -> str:
    return words[int(torch.randint(len(words), (), generator=generator))]
