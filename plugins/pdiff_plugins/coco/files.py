"""COCO's annotation files, checked: every fault is told with its file and key."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from PIL import Image

    from pdiff_plugins.images.splits import Decoder

LONGEST, LARGEST = 65_535, 1e18
"""Side of an image in pixels, and any other number, at most."""


@dataclass
class Annotated:
    """An image and what is marked in it."""

    path: Path
    height: int
    width: int
    marks: list[Mapping[str, Any]] = field(default_factory=list)
    """Entries of `annotations`, in the file's order."""


@dataclass(frozen=True)
class Instances:
    """One annotation file: its images in the order of their ids, and its categories by id."""

    file: Path
    images: list[Annotated]
    categories: dict[int, str]

    def numbers(self, classes: tuple[str, ...]) -> dict[int, int]:
        """Return the class of each category that is named, counted from 1. Raises UserError for an unknown one."""
        ids = {name: category for category, name in self.categories.items()}
        for name in classes:
            if name not in ids:
                raise UserError(f"dataset.classes: {self.file} has no category {name!r}{did_you_mean(name, ids)}")
        return {ids[name]: number for number, name in enumerate(classes, start=1)}


def read(who: str, root: Path, subset: str) -> Instances:
    """Read `annotations/instances_<part>.json` below `root`. Raises UserError for the first fault."""
    file, folder = annotation_file(root, subset), root / subset
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise missing(who, root, subset) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"dataset {who}: {file}: not readable JSON ({error}); put the whole file there") from None
    try:
        return _instances(f"dataset {who}: {file}", file, folder, table)
    except (KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__} {' '.join(str(error).split())}"
        raise UserError(
            f"dataset {who}: {file}: not a COCO instances file ({why}); it needs images, annotations and categories"
        ) from None


def annotation_file(root: Path, subset: str) -> Path:
    """Return where the annotations of a part lie."""
    return root / "annotations" / f"instances_{subset}.json"


def missing(who: str, root: Path, subset: str) -> UserError:
    """Return the error that says that a file of annotations is not there."""
    return UserError(
        f"dataset {who}: {annotation_file(root, subset)} is missing, and COCO is not downloaded here; get it from "
        f"cocodataset.org, put train2017/, val2017/ and annotations/ into {root}, or name the folder that holds them "
        "in dataset.root"
    )


def _instances(where: str, file: Path, folder: Path, table: Mapping[str, Any]) -> Instances:
    categories = {_integer(f"{where}: categories", row, "id"): str(row["name"]) for row in table["categories"]}
    there = set(os.listdir(folder)) if folder.is_dir() else set()
    images: dict[int, Annotated] = {}
    for row in sorted(table["images"], key=lambda row: row["id"]):
        name = row["file_name"]
        if name not in there:
            raise UserError(f"{where}: images names {name!r}, which is not in {folder}; put it there")
        height, width = (_integer(f"{where}: image {name}", row, side, 1, LONGEST) for side in ("height", "width"))
        images[row["id"]] = Annotated(folder / name, height, width)
    for mark in table["annotations"]:
        _check(where, mark, images, categories)
        images[mark["image_id"]].marks.append(mark)
    return Instances(file, list(images.values()), categories)


def _integer(where: str, row: Mapping[str, Any], key: str, least: int = -(2**63), most: int = 2**63 - 1) -> int:
    """Return a whole number of an entry. Raises UserError where it is none, or out of bounds."""
    value = row[key]
    if not isinstance(value, int | float) or not least <= value <= most or value != int(value):
        bounds = f" from {least} to {most}" if least > 0 else ""
        raise UserError(f"{where}: {key} = {value!r}; a whole number{bounds} was expected")
    return int(value)


def _check(where: str, mark: Mapping[str, Any], images: Mapping[int, Annotated], categories: Mapping[int, str]) -> None:
    """Raise UserError where an annotation does not fit the rest of its file."""
    entry = f"{where}: annotation {mark['id']}"
    if mark["image_id"] not in images:
        raise UserError(f"{entry}: image_id = {mark['image_id']!r} is none of its images; add the image or remove it")
    if mark["category_id"] not in categories:
        raise UserError(f"{entry}: category_id = {mark['category_id']!r} is none of its categories; add the category")
    box = mark["bbox"]
    if len(box) != 4 or not all(map(_is_number, box)):
        raise UserError(f"{entry}: bbox = {box!r}; four numbers were expected: x, y, width, height")
    for key in ("area", "iscrowd"):
        if not _is_number(mark.get(key, 0)):
            raise UserError(f"{entry}: {key} = {mark[key]!r}; a number was expected")
    image, outline = images[mark["image_id"]], mark.get("segmentation")
    if isinstance(outline, Mapping) and list(outline["size"]) != [image.height, image.width]:
        raise UserError(
            f"{entry}: segmentation.size = {list(outline['size'])!r}, its image {image.path.name} is "
            f"{[image.height, image.width]!r} (height, width); make them agree"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and bool(-LARGEST <= value <= LARGEST)


def pixels(image: Annotated, decoder: Decoder) -> Image.Image:
    """Return the decoded image. Raises UserError where it is not of the size that the annotations say."""
    decoded = decoder.image(image.path)
    if (decoded.height, decoded.width) != (image.height, image.width):
        raise UserError(
            f"{image.path}: is {decoded.width} x {decoded.height}, its annotations are for "
            f"{image.width} x {image.height} (width x height); replace the image, or mend its entry in images"
        )
    return decoded
