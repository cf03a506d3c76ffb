"""Sentences that describe a solid: the same sizes in several wordings."""

from __future__ import annotations

from collections.abc import Mapping

LEVELS = 5
"""Words from one end of a size to the other; that in the middle is not said."""
PAIRS = {
    "table": {"width": ("narrow", "wide"), "depth": ("shallow", "deep"), "height": ("low", "tall")},
    "ring": {"width": ("small", "large"), "thickness": ("thin", "thick")},
    "mug": {"width": ("narrow", "wide"), "height": ("low", "tall")},
}
"""Of each family the sizes that are said before its name, in their order: words for less and for more."""
PARTS = {"table": ("legs", "legs", ("thin", "thick")), "mug": ("handle", "a {} handle", ("small", "big"))}
"""Of some families a size that is said behind the name: which, of what part, and the words."""
OTHERS = {
    "narrow": "slim", "wide": "broad", "low": "short", "tall": "high", "small": "little", "large": "big",
    "big": "large", "thin": "slender", "thick": "stout", "table": "desk", "ring": "torus", "mug": "cup",
    "very": "really",
}  # fmt: skip
"""Other words for the same."""


def described(kind: str, shares: Mapping[str, float]) -> tuple[str, list[str]]:
    """Return a sentence for a solid, and six others that say the same.

    Args:
        kind: table, ring or mug.
        shares: where each size lies between its least, 0, and its largest, 1.
    """
    words = [word for name, pair in PAIRS[kind].items() if (word := _word(shares[name], pair))]
    part = _part(kind, shares)
    others = [_other(word) for word in words]
    other_part, other_kind = _other(part), OTHERS[kind]
    text = _named(words, ", ", kind) + _behind(part, " with ")
    return text, [
        _named(words[::-1], " ", kind) + _behind(part, " with "),
        f"a {kind}" + _behind(" and ".join(words), " that is ") + _behind(part, ", with "),
        _named(others, ", ", other_kind) + _behind(other_part, " with "),
        ", ".join([kind, *words, *([part] if part else [])]),
        f"make me {_named(words, ' and ', kind)}" + _behind(part, " that has "),
        f"a {other_kind}" + _behind(" and ".join(others[::-1]), ", ") + _behind(other_part, ", with "),
    ]


def _word(share: float, pair: tuple[str, str]) -> str:
    """Return the word for a size; none in the middle."""
    step = min(LEVELS - 1, max(0, int(share * LEVELS + 1e-6))) - LEVELS // 2
    if not step:
        return ""
    return "very " * (abs(step) > 1) + pair[step > 0]


def _part(kind: str, shares: Mapping[str, float]) -> str:
    """Return `very thick legs` or `a big handle`; nothing where it is as usual."""
    if kind not in PARTS:
        return ""
    size, name, pair = PARTS[kind]
    word = _word(shares[size], pair)
    return (name.format(word) if "{}" in name else f"{word} {name}") if word else ""


def _other(words: str) -> str:
    return " ".join(OTHERS.get(word, word) for word in words.split())


def _named(words: list[str], between: str, kind: str) -> str:
    named = " ".join([between.join(words), kind]) if words else kind
    return f"{'an' if named[0] in 'aeiou' else 'a'} {named}"


def _behind(words: str, link: str) -> str:
    return link + words if words else ""
