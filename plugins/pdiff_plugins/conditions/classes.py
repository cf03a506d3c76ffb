"""Classes as a recipe names them: by their numbers, or by the names that a dataset gives them."""

from __future__ import annotations

from collections.abc import Sequence

from pdiff.errors import UserError, did_you_mean


def numbers(option: str, wanted: Sequence[int | str], classes: int, names: Sequence[str]) -> list[int]:
    """Return the numbers of classes. Raises UserError for one that the dataset has not, or that stands there twice."""
    found: list[int] = []
    for word in wanted:
        number = names.index(word) if isinstance(word, str) and word in names else word
        if not isinstance(number, int) or not 0 <= number < classes:
            known = f"{', '.join(names)}, or their numbers 0 to {classes - 1}" if names else f"0 to {classes - 1}"
            raise UserError(f"{option}: no class {word!r}{did_you_mean(str(word), names)}; the classes are: {known}")
        if number in found:
            raise UserError(f"{option}: names class {word!r} twice; name each once")
        found.append(number)
    return found
