"""What a recipe may name as foreign examples, and whether a run can have them. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import ValidationError, ValidationInfo, WrapValidator

from pdiff.components import Dataset
from pdiff.errors import UserError, did_you_mean
from pdiff_plugins.images.dataset import ImageDataset
from pdiff_plugins.part import Part

if TYPE_CHECKING:
    from pdiff.components import Ahead

Change = Literal["rotated", "upside_down", "inverted", "shuffled", "noise", "left_out"]
"""Of the test split: turned by 90 or 180 degrees; black for white; every example's pixels in an order of its own; noise
in the place of examples; and test images of the classes that training left out."""
CHANGES: tuple[str, ...] = get_args(Change)
Kind = Literal["noise", "shot", "blur", "contrast", "brightness", "pixelate", "occlusion"]
"""Of corruptions, each in five strengths."""
KINDS: tuple[str, ...] = get_args(Kind)
STRENGTHS = (1, 2, 3, 4, 5)


def _entry(value: Any, _: Any, info: ValidationInfo) -> Any:
    """Return the dataset that a name or a table asks for; the name of a change stays."""
    if isinstance(value, str) and value in CHANGES:
        return value
    try:
        return Dataset.model_validate({"name": value} if isinstance(value, str) else value, context=info.context)
    except ValidationError as error:
        if isinstance(value, str) and error.errors()[0]["type"] == "no_component":
            changes = f"nor a change of examples: {', '.join(CHANGES)}{did_you_mean(value, CHANGES)}"
            raise ValueError(f"{error.errors()[0]['msg']}; {changes}") from None
        raise


Entry = Annotated[Dataset | Change, WrapValidator(_entry)]
"""Of an option: a change, the name of a dataset, or a table of one with its options."""


def image_set(dataset: Dataset) -> ImageDataset | None:
    """Return the image set that a dataset is, or is a part of; None where it is none."""
    if isinstance(dataset, Part):
        return image_set(dataset.of)
    return dataset if isinstance(dataset, ImageDataset) else None


def named(entries: Sequence[Dataset | str]) -> Iterator[tuple[str, Dataset | str]]:
    """Yield each entry with its name in scores: a dataset's own, and where it stands before, with its place."""
    seen = set[str]()
    for number, entry in enumerate(entries):
        name = entry if isinstance(entry, str) else (image_set(entry) or entry).name
        name = f"{name} {number + 1}" if name in seen else name
        seen.add(name)
        yield name, entry


def no_pixels(dataset: Dataset) -> str:
    """Return why a dataset's pixels cannot be changed; nothing where they can."""
    return "" if image_set(dataset) else f"dataset {dataset.name} is no image set, whose pixels could be changed"


def unfit(dataset: Dataset, entry: Dataset | str) -> str:
    """Return why a run on a dataset cannot have an entry; nothing where it can."""
    own = image_set(dataset)
    if entry == "left_out":
        if own is None or not own.leave_out:
            return f"dataset {dataset.name} leaves no classes out; name them in dataset.leave_out, or take this away"
    elif isinstance(entry, str):
        if entry != "noise" and (why := no_pixels(dataset)):
            return f"{why}; take this away"
    elif (own is None) != (image_set(entry) is None):
        images, other = (entry.name, dataset.name) if own is None else (dataset.name, entry.name)
        return f"{images} is an image set, and {other} is none; name a dataset like the run's"
    return ""


def foreseen(entries: Sequence[Dataset | str], ahead: Ahead, kinds: Sequence[str] = ()) -> None:
    """Say what keeps a run from having foreign examples (of option `foreign`) or kinds of `corruptions`.

    What datasets lack or fetch is said too, as by `Component.foresee`.
    """
    for number, entry in enumerate(entries):
        here = ahead.of(f"foreign[{number}]")
        if why := unfit(ahead.recipe.dataset, entry):
            ahead.lacks(f"{here.key} = {entry if isinstance(entry, str) else entry.name!r}: {why}")
        elif isinstance(entry, Dataset):
            try:
                entry.foresee(here)
            except UserError as error:
                ahead.lacks(error)
    if kinds and (why := no_pixels(ahead.recipe.dataset)):
        ahead.lacks(f"{ahead.key}.corruptions = {list(kinds)}: {why}; write []")
