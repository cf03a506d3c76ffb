"""Coloured rectangles in COCO's layout: what the tests of detection and segmentation are run on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = {1: "person", 2: "bicycle", 13: "stop sign"}
"""Id -> name, as in COCO; the last is none of Pascal VOC's classes."""
COLOURS = {1: (230, 40, 40), 2: (40, 60, 230), 13: (60, 200, 60)}


def write(root: Path, train: int = 24, val: int = 10, side: int = 64, kind: str = "png") -> Path:
    """Write COCO's layout below `root`: one or two rectangles an image, the last image without any."""
    for seed, (part, count) in enumerate((("train2017", train), ("val2017", val))):
        random = np.random.default_rng(seed)
        (root / part).mkdir(parents=True)
        (root / "annotations").mkdir(exist_ok=True)
        images, marks = [], []
        for number in range(count):
            image, own = _drawn(random, side, 0 if number == count - 1 else 1 + number % 2)
            Image.fromarray(image).save(root / part / f"{number:03}.{kind}")
            height, width = image.shape[:2]
            images.append({"id": 100 + number, "file_name": f"{number:03}.{kind}", "height": height, "width": width})
            marks += [mark | {"image_id": 100 + number} for mark in own]
        table = {
            "images": images, "annotations": [{"id": i, "iscrowd": 0} | mark for i, mark in enumerate(marks)],
            "categories": [{"id": i, "name": name} for i, name in CATEGORIES.items()],
        }  # fmt: skip
        file_of(root, part).write_text(json.dumps(table))
    return root


def file_of(root: Path, part: str = "train2017") -> Path:
    return root / "annotations" / f"instances_{part}.json"


def change(root: Path, table: str, row: int, **values: Any) -> None:
    """Change one entry of the training annotations."""
    file = file_of(root)
    content = json.loads(file.read_text())
    content[table][row] |= values
    file.write_text(json.dumps(content))


def _drawn(random: np.random.Generator, side: int, count: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    height, width = side - int(random.integers(0, 17)), side - int(random.integers(0, 9))
    image = random.integers(90, 130, (height, width, 3)).astype(np.uint8)
    marks = []
    for _ in range(count):
        w, h = (int(n) for n in random.integers(16, 31, 2))
        x, y = int(random.integers(0, width - w)), int(random.integers(0, height - h))
        category = int(random.choice([1, 2]))
        image[y : y + h, x : x + w] = COLOURS[category]
        outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        marks.append({"category_id": category, "bbox": [x, y, w, h], "area": w * h, "segmentation": outline})
    return image, marks
