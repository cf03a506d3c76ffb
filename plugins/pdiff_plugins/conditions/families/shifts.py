"""The family of shifts: the same classes, of images that are turned, mirrored, cut, blurred, paled or inverted."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from pdiff.errors import UserError
from pdiff_plugins.conditions.families.answers import NamesClasses
from pdiff_plugins.conditions.families.dealing import dealt
from pdiff_plugins.tasks.outputs import check_width

if TYPE_CHECKING:
    import torch

    from pdiff.components import Ahead
    from pdiff.data import About, DatasetSplits

Level = int | float | str
YesNo = Literal["no", "yes"]
Amount = Annotated[float, Field(ge=0)]


class _Levels(dict[str, Level]):
    """Levels by factor, which can be hashed, as components are."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


class Shifts(NamesClasses):
    """Classes of shifted images; a task is one level of each factor of shift.

    Contrast and inversion are about each image's own mean and range, channel by channel, so that they are the same
    however a dataset is normalised. What is turned in from outside the image repeats its border.
    """

    name = "shifts"
    same_inputs = False
    rotation: tuple[int, ...] = Field(
        (0, 45, 90, 135, 180, 225, 270, 315), min_length=1, description="degrees, counter-clockwise"
    )
    mirror: tuple[YesNo, ...] = Field(("no", "yes"), min_length=1, description="left and right exchanged")
    order: tuple[Literal["whole", "left-right", "top-bottom"], ...] = Field(
        ("whole", "left-right", "top-bottom"), min_length=1, description="which halves of the image change places"
    )
    blur: tuple[Amount, ...] = Field((0.0, 0.7, 1.4), min_length=1, description="Gaussian's sigma in pixels")
    contrast: tuple[Amount, ...] = Field((1.0, 0.4), min_length=1, description="factor on what differs from the mean")
    inversion: tuple[YesNo, ...] = Field(("no", "yes"), min_length=1, description="light and dark exchanged")
    unseen: Annotated[dict[str, Level], AfterValidator(_Levels)] = Field(
        {"rotation": 225},
        description="levels, by factor, that no task learnt or held out has; hard tasks have them all",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Shifts:
        for factor in FACTORS:
            levels = getattr(self, factor)
            if len(set(levels)) < len(levels):
                raise PydanticCustomError("levels", "{f} names a level twice", {"f": factor})
        for factor, level in self.unseen.items():
            if factor not in FACTORS:
                raise PydanticCustomError(
                    "unseen", "unseen: {f} is no factor; they are {k}", {"f": factor, "k": ", ".join(FACTORS)}
                )
            if level not in getattr(self, factor):
                known = ", ".join(map(str, getattr(self, factor)))
                raise PydanticCustomError(
                    "unseen",
                    "unseen: {f} has no level {l} ({k}); name one of them, or set unseen = {e}",
                    {"f": factor, "l": str(level), "k": known, "e": "{}"},
                )
        return self

    def check_network(self, model: Any, inputs: Any, outputs: int) -> None:
        check_width(self, model, inputs, outputs, more=True)

    def tasks(
        self, counts: Mapping[str, int], data: DatasetSplits, generator: torch.Generator
    ) -> dict[str, list[dict[str, Any]]]:
        """See `Family.tasks`: the level of each factor that has several, and a sentence, `text`, that says them."""
        from pdiff_plugins.conditions.families.sentences import sentence

        shape = data.input_shape
        if not (isinstance(shape, tuple | list) and len(shape) == 3 and all(isinstance(side, int) for side in shape)):
            raise UserError(f"task 'shifts': takes images [C, H, W], and the dataset's examples are {shape}")
        factors = [factor for factor in FACTORS if len(getattr(self, factor)) > 1]
        levels = [[_plain(level) for level in getattr(self, factor)] for factor in factors]
        every = [dict(zip(factors, chosen, strict=True)) for chosen in itertools.product(*levels)]
        unseen = {factor: level for factor, level in self.unseen.items() if factor in factors}
        hard = [task for task in every if unseen and all(task[factor] == level for factor, level in unseen.items())]
        plain = [task for task in every if not any(task[factor] == level for factor, level in unseen.items())]
        parts = dealt(self.name, plain, hard, counts, generator, "ask for fewer, or let task.unseen name a level")
        return {
            part: [dict[str, Any](task) | {"text": sentence(task, self._ranks, generator)} for task in tasks]
            for part, tasks in parts.items()
        }

    @property
    def _ranks(self) -> dict[str, list[Level]]:
        """All levels by factor."""
        return {factor: [_plain(level) for level in getattr(self, factor)] for factor in FACTORS}

    def again(self, about: About, number: int) -> About:
        """See `Family.again`: the same levels in another sentence."""
        import torch

        from pdiff.context import derive
        from pdiff_plugins.conditions.families.sentences import sentence

        levels = {factor: about[factor] for factor in FACTORS if factor in about}
        if "text" not in about or not levels:
            return about
        generator = torch.Generator().manual_seed(derive(number, str(sorted(levels.items()))))
        ranks = {factor: sorted({*self._ranks[factor], level}, key=str) for factor, level in levels.items()}
        return {**about, "text": sentence(levels, ranks, generator)}

    def check(self, about: About, data: DatasetSplits) -> None:
        """See `Family.check`; levels may be other than the recipe's."""
        levels = {factor: [about[factor]] for factor in FACTORS if factor in about}
        if not levels:
            raise UserError(f'says no level of {", ".join(FACTORS)}; write such as {{"rotation": 90}}')
        for factor, level in levels.items():
            try:
                type(self).model_validate({factor: level, "unseen": {}})
            except ValidationError as error:
                raise UserError(f"{factor} = {level[0]!r}: {error.errors()[0]['msg']}") from None

    def foresee(self, ahead: Ahead) -> None:
        """Hard tasks have a level that none learnt has: what encodes levels by those of the zoo cannot say it."""
        super().foresee(ahead)
        recipe = ahead.recipe
        if recipe.encoder and recipe.encoder.name == "attributes" and getattr(recipe.collect, "hard", 0):
            sized = (*recipe.encoder.numbers, *recipe.encoder.angles)
            unsaid = [factor for factor in self.unseen if factor not in sized]
            if unsaid:
                ahead.lacks(
                    f"{ahead.key}.unseen: encoder attributes cannot say a level of {', '.join(unsaid)} that no learnt "
                    f"task has; write encoder.numbers = {unsaid}, of degrees angles, or, if words, hard = 0"
                )

    def base(self) -> About:
        """See `Family.base`: the first level of each factor."""
        return {factor: _plain(getattr(self, factor)[0]) for factor in FACTORS}

    def asks(self, about: About) -> bool:
        return any(factor in about for factor in FACTORS)

    def inputs(self, inputs: Any, about: About) -> Any:
        from pdiff_plugins.conditions.families import pixels

        level = dict(self.base()) | dict(about)
        x_BCHW = pixels.moved(inputs, int(level["rotation"]), level["mirror"] == "yes", str(level["order"]))
        x_BCHW = pixels.blurred(x_BCHW, float(level["blur"]))
        x_BCHW = pixels.paled(x_BCHW, float(level["contrast"]))
        return pixels.inverted(x_BCHW) if level["inversion"] == "yes" else x_BCHW


FACTORS = ("rotation", "mirror", "order", "blur", "contrast", "inversion")
"""In the order in which they are applied."""


def _plain(level: Level) -> Level:
    """Return a level as it is written: whole numbers without a point."""
    return int(level) if isinstance(level, float) and level.is_integer() else level
