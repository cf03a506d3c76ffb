"""The family of subsets: which classes are "yes"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pdiff.components import IF_SET
from pdiff.errors import UserError, did_you_mean
from pdiff_plugins.conditions.families.answers import NamesClasses
from pdiff_plugins.conditions.families.dealing import class_numbers, dealt
from pdiff_plugins.tasks.outputs import check_width

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.data import About, DatasetSplits

EVERY = 16
"""Classes up to which all subsets are listed; of more, so many as are asked for are drawn."""


class Subsets(NamesClasses):
    """Is it one of these classes? A task is the set of classes that are "yes"."""

    name = "subsets"
    source: ClassVar[str] = "Wang et al. 2025 (RPG), arXiv 2501.11587: the 1,022 subsets of CIFAR-10's classes"
    apart: tuple[str | int, str | int] | None = Field(
        None,
        description="two classes, by number or name, that are never both yes in tasks learnt or held out; hard tasks "
        "are those in which they are",
    )
    least: int = Field(1, ge=1, description="classes that are yes, at least")
    most: int = Field(0, ge=0, description="classes that are yes, at most; 0: all but one")

    told: bool = Field(
        False, json_schema_extra=IF_SET,
        description="tasks also have a text, the names of the classes that are yes, as encoder 'text' takes it",
    )  # fmt: skip

    @model_validator(mode="after")
    def _consistent(self) -> Subsets:
        if self.most and self.most < self.least:
            raise PydanticCustomError("sizes", "most = {m} is below least = {n}", {"m": self.most, "n": self.least})
        if self.apart and self.apart[0] == self.apart[1]:
            raise PydanticCustomError("apart", "names class {c} twice; name two", {"c": self.apart[0]})
        return self

    def outputs(self, classes: int) -> int:
        return 2

    def check_network(self, model: Any, inputs: Any, outputs: int) -> None:
        check_width(self, model, inputs, outputs)

    def tasks(
        self, counts: Mapping[str, int], data: DatasetSplits, generator: torch.Generator
    ) -> dict[str, list[dict[str, Any]]]:
        """See `Family.tasks`: `{"classes": [1, 3, 5]}`, sorted. Each is another set; never of none or of all.

        Raises UserError where there are not so many, or a text is to name classes that have no names.
        """
        classes = data.classes or data.outputs
        pair = self._pair(classes, data.names)
        most = min(self.most or classes - 1, classes - 1)
        if most < self.least:
            raise UserError(f"task 'subsets': least = {self.least} leaves none of {classes} classes to be no; lower it")
        if classes <= EVERY:
            sets = [numbers for numbers in _every(classes) if self.least <= len(numbers) <= most]
        else:
            sets = _drawn(classes, range(self.least, most + 1), pair, counts, generator)
        together = [numbers for numbers in sets if pair and pair <= set(numbers)]
        others = [numbers for numbers in sets if not (pair and pair <= set(numbers))]
        remedy = "let task.apart name two classes" if not pair else "ask for fewer"
        parts = dealt(self.name, others, together, counts, generator, remedy)
        return {part: [self._about(numbers, data.names) for numbers in sets] for part, sets in parts.items()}

    def _about(self, numbers: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
        """Raise UserError where a text is to name classes that have no names."""
        about: dict[str, Any] = {"classes": list(numbers)}
        if not self.told:
            return about
        if not names:
            raise UserError("task.told = true: the dataset's classes have no names; use encoder 'bits'")
        words = [names[number] for number in numbers]
        return about | {"text": " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))}

    def check(self, about: About, data: DatasetSplits) -> None:
        """See `Family.check`."""
        class_numbers(about, data.classes or data.outputs)

    def _pair(self, classes: int, names: Sequence[str]) -> set[int]:
        """Return the numbers of the classes that are kept apart. Raises UserError where there is no such class."""
        numbers = set[int]()
        for word in self.apart or ():
            number = names.index(word) if word in names else int(word) if str(word).isdigit() else classes
            if number >= classes:
                known = f"{did_you_mean(str(word), names)}; they are {', '.join(names)}" if names else ""
                raise UserError(
                    f"task.apart = {list(self.apart or ())}: the dataset has no class {word!r} (0 to {classes - 1})"
                    + known
                )
            numbers.add(number)
        return numbers

    def asks(self, about: About) -> bool:
        return "classes" in about

    def targets(self, targets: Tensor, about: About) -> Tensor:
        import torch

        classes = torch.tensor(about["classes"], device=targets.device, dtype=targets.dtype)
        return (targets[:, None] == classes).any(dim=1).to(torch.int64)

    def of_classes(self, log_probabilities_EK: Tensor, about: About) -> Tensor:
        """See `Family.of_classes`: yes where the classes that are yes have more than half of the probability."""
        import torch

        return (log_probabilities_EK[:, about["classes"]].exp().sum(dim=1) > 0.5).to(torch.int16)


def _every(classes: int) -> Iterator[tuple[int, ...]]:
    for bits in range(1, 2**classes - 1):
        yield tuple(number for number in range(classes) if bits >> number & 1)


def _drawn(
    classes: int, sizes: range, pair: set[int], counts: Mapping[str, int], generator: torch.Generator
) -> list[tuple[int, ...]]:
    """Return distinct sets of classes, enough of both kinds; their sizes are drawn evenly."""
    import torch

    if not counts.get("learnt"):
        raise UserError(f"collect.learnt = 0: {classes} classes have too many subsets to learn all; say how many")
    missing = {True: counts.get("hard", 0), False: counts["learnt"] + counts.get("held out", 0)}
    found = dict[tuple[int, ...], None]()
    for _ in range(1000 * sum(missing.values())):
        if not any(missing.values()):
            break
        both = bool(missing[True]) and bool(pair)
        size = sizes[int(torch.randint(len(sizes), (), generator=generator))]
        order = torch.randperm(classes, generator=generator).tolist()
        order = [*sorted(pair), *(number for number in order if number not in pair)] if both else order
        numbers = tuple(sorted(order[:size]))
        kind = bool(pair) and pair <= set(numbers)
        if numbers not in found and missing[kind]:
            found[numbers] = None
            missing[kind] -= 1
    return list(found)
