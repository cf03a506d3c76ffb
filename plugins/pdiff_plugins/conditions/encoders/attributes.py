"""Named factors with their levels, such as how far images are turned and how much they are blurred."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff.components import IF_SET, Encoder
from pdiff.errors import UserError, did_you_mean
from pdiff_plugins.conditions.encoders.asking import listed, values
from pdiff_plugins.conditions.encoders.label import level_of, levels, number_of, one_hot

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context

OTHERS = ("classes", "draw", "examples", "hard", "label", "shape", "text", "texts", "wordings")
"""What a row may be about beside its factors."""
Rows = Sequence[Mapping[str, Any]]


class Attributes(Encoder):
    """Named factors, with one number for each level that the zoo has of each.

    It is 1 for the network's own level. A factor among `numbers` is one number instead, standardised over the zoo, and
    one among `angles` a place on a circle: only so can a level be asked for that no checkpoint has. Asked by all
    factors: `rotation=45 blur=1`.
    """

    name = "attributes"
    source: ClassVar[str] = "one-hot coding"
    reads: ClassVar[tuple[str, ...]] = ("*",)
    numbers: tuple[str, ...] = Field((), description="factors that count by their size")
    angles: tuple[str, ...] = Field(
        (), json_schema_extra=IF_SET, description="factors that are degrees: their cosine and sine"
    )

    def encode(self, about: Rows, known: Rows, bench: Bench, ctx: Context) -> Tensor:
        """See `Encoder.encode`: `[N, C]`, factors in the order of their names."""
        import torch

        columns = []
        for factor in self._factors(known):
            given, there = values(about, factor, self.name), values(known, factor, self.name)
            if factor in self.angles:
                columns.append(_direction(given, there, factor))
            elif factor in self.numbers:
                columns.append(_standardised(given, there, factor))
            else:
                columns.append(self._one_hot(given, levels(there), factor))
        return torch.cat(columns, dim=1)

    def read(self, asked: Mapping[str, str], known: Rows, bench: Bench) -> dict[str, Any]:
        """See `Encoder.read`."""
        factors = self._factors(known)
        for key in asked:
            if key not in factors:
                raise UserError(f"{key}: no such factor{did_you_mean(key, factors)}; there are: {listed(factors)}")
        for factor in factors:
            if factor not in asked:
                there = self._there(values(known, factor, self.name), factor)
                raise UserError(f"{factor}: is not said; say all of {listed(factors)}, such as {factor}={there}")
        return {factor: self._level(asked[factor].strip(), factor, known) for factor in factors}

    def _there(self, given: Sequence[Any], factor: str) -> str:
        """Say which levels the zoo has of a factor; of one that counts by its size, from where to where."""
        if factor not in (*self.numbers, *self.angles):
            return f"L of: {listed(levels(given))}"
        return f"{given[0]:.3g}; there are {min(given):.3g} to {max(given):.3g}"

    def _one_hot(self, given: Sequence[Any], known: Sequence[Any], factor: str) -> Tensor:
        try:
            return one_hot(given, known, factor)
        except UserError as error:
            sized = all(isinstance(level, int | float) for level in (*given, *known))
            write = f"where sizes count, write encoder.numbers = ['{factor}'], of degrees angles"
            raise UserError(f"{error}; {write if sized else 'learn a task that has it'}") from None

    def _level(self, text: str, factor: str, known: Rows) -> Any:
        if factor not in (*self.numbers, *self.angles):
            return level_of(text, levels(values(known, factor, self.name)), factor)
        number = number_of(text)
        if number is None or not math.isfinite(number):
            raise UserError(f"{factor} = {text!r}: is not a number; give one, as the encoder counts {factor}")
        return int(number) if number.is_integer() else number

    def _factors(self, known: Rows) -> list[str]:
        """Return the factors that the zoo's rows are about. Raises UserError where an option names another."""
        factors = sorted({key for one in known for key in one} - {*OTHERS})
        for option, factor in [*(("numbers", f) for f in self.numbers), *(("angles", f) for f in self.angles)]:
            if factor not in factors:
                near = did_you_mean(factor, factors)
                raise UserError(f"encoder.{option}: no factor {factor!r}{near}; there are: {listed(factors)}")
        if not factors:
            raise UserError("encoder attributes: the zoo's rows are about no factors; choose another encoder")
        return factors


def _direction(given: Sequence[Any], there: Sequence[Any], factor: str) -> Tensor:
    """Return `[N, 2]`: where on a circle each is."""
    import torch

    _require_numbers((*given, *there), factor, "angles")
    radians_N = torch.tensor(given, dtype=torch.float64).deg2rad()
    return torch.stack([radians_N.cos(), radians_N.sin()], dim=1).float()


def _standardised(given: Sequence[Any], there: Sequence[Any], factor: str) -> Tensor:
    """Return `[N, 1]`: how many deviations of the zoo's values each is above their mean."""
    import torch

    _require_numbers((*given, *there), factor, "numbers")
    known_N = torch.tensor(there, dtype=torch.float64)
    deviation = known_N.std(correction=0)
    scaled_N = (torch.tensor(given, dtype=torch.float64) - known_N.mean()) / (deviation if deviation > 0 else 1)
    return scaled_N.float()[:, None]


def _require_numbers(given: Sequence[Any], factor: str, option: str) -> None:
    for value in given:
        if isinstance(value, str | bool) or not math.isfinite(value):
            raise UserError(
                f"encoder.{option}: {factor} = {value!r} is no number; take {factor} out of encoder.{option}"
            )
