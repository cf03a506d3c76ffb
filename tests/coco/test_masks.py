"""COCO's outlines as masks: the COCO API's pixels, cut like their images, and faults in outlines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff_plugins.coco.data import CocoSegmentation
from pdiff_plugins.coco.files import Annotated, read
from pdiff_plugins.coco.masks import VOC, VOC_NUMBERS, class_mask, polygon, runs
from tests.coco import small_coco
from tests.coco.helpers import load_masks
from tests.helpers import SHARED

CPU = torch.device("cpu")
quiet = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
PERSON, BICYCLE = VOC.index(1), VOC.index(2)


# Outlines


@quiet
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "fractions"])
def test_a_polygon_has_the_pixels_that_the_coco_api_gives_it(whole: bool) -> None:
    random = np.random.default_rng(0)
    for _ in range(150):
        height, width, corners = (int(n) for n in random.integers((5, 5, 3), (60, 60, 12)))
        points = random.uniform(-3, 70, 2 * corners)
        points = points.round().tolist() if whole else points.tolist()
        theirs = coco_mask.decode(coco_mask.frPyObjects([points], height, width))[..., 0]
        assert np.array_equal(polygon(points, height, width), theirs == 1)


def test_run_lengths() -> None:
    assert runs([1, 3, 2], 2, 3).tolist() == [[False, True, False], [True, True, False]]
    with pytest.raises(ValueError, match="counts has 5 pixels, the image 6"):
        runs([1, 3, 1], 2, 3)
    with pytest.raises(ValueError, match="counts is compressed"):
        runs("abc", 2, 3)


def test_overlaps_are_not_counted_and_other_classes_are_background() -> None:
    def square(category: int, x: int) -> dict:
        return {"id": 0, "category_id": category, "segmentation": [[x, 0, x + 4, 0, x + 4, 2, x, 2]]}

    image = Annotated(Path("x.png"), 2, 8, [square(1, 0), square(2, 2), square(1, 3), square(13, 6)])
    assert class_mask(image, VOC_NUMBERS).tolist() == [[PERSON, PERSON, 255, 255, 255, 255, PERSON, 0]] * 2


# The data


def test_images_and_masks_are_cut_alike(root: Path) -> None:
    data = load_masks(root)
    assert data.input_shape == (3, 48, 48) and data.outputs == 21
    split = data.train
    for augment in (None, torch.Generator().manual_seed(0)):
        batch = split.batch(torch.arange(18), CPU, augment)
        assert batch.inputs.shape == (18, 3, 48, 48) and batch.targets.shape == (18, 48, 48)
        seen = set(batch.targets.unique().tolist())
        assert seen <= {0, PERSON, BICYCLE, 255} and {0, PERSON, BICYCLE} <= seen
        red, blue = (batch.inputs[:, channel] - batch.inputs[:, 1] for channel in (0, 2))
        for category, colour in ((PERSON, red), (BICYCLE, blue)):
            there = batch.targets == category
            assert colour[there].mean() > 1.5 and colour[batch.targets == 0].abs().mean() < 0.7
            assert ((colour > 0.9) == there)[batch.targets != 255].float().mean() > 0.95
    again = split.batch(torch.arange(18), CPU, torch.Generator().manual_seed(0))
    assert again.inputs.equal(batch.inputs) and again.targets.equal(batch.targets)
    plain = split.batch(torch.tensor([3, 1]), CPU)
    assert plain.targets.equal(split.targets[[3, 1]]) and not plain.targets.equal(batch.targets[[3, 1]])
    named = load_masks(root, classes=("stop sign", "bicycle"))
    assert named.outputs == 3
    alone, rest = named.train.targets == 2, split.targets != 255
    assert alone[rest].equal((split.targets == BICYCLE)[rest]) and alone.any()
    with pytest.raises(UserError, match=r"dataset.classes: .*train2017.json has no category 'persn'.*'person'\?"):
        load_masks(root, classes=("persn",))


@pytest.mark.parametrize(
    ("outline", "said"),
    [
        ([[1, 2, 3, 4]], r"000.png: annotation 0: segmentation: a polygon has 4 numbers; at least six"),
        ({"counts": [9]}, r"train2017.json: annotation 0: segmentation.size = \[2, 2\], its image 000.png is"),
        ({"counts": "PYQ"}, "annotation 0: segmentation: counts is compressed"),
        ({"counts": [9], "size": "own"}, r"annotation 0: segmentation: counts has 9 pixels, the image \d+"),
    ],
)
def test_faults_in_outlines_are_one_line(own: Path, outline, said: str) -> None:
    image = read("x", own, "train2017").images[0]
    if isinstance(outline, dict):
        size = [2, 2] if outline == {"counts": [9]} else [image.height, image.width]
        outline = outline | {"size": size}
    small_coco.change(own, "annotations", 0, image_id=100, category_id=1, segmentation=outline)
    with pytest.raises(UserError, match=said) as caught:
        data = load_masks(own)
        assert len(data.train.targets) + len(data.validation.targets)
    assert "\n" not in str(caught.value)


# Real images

TINY = SHARED / "coco_tiny"


@quiet
@pytest.mark.skipif(not TINY.is_dir(), reason="PDIFF_SHARED_DATA holds no coco_tiny")
def test_real_masks_are_those_of_the_coco_api() -> None:
    part = read("x", TINY, "val2017")
    table = json.loads(part.file.read_text())
    ids = sorted(image["id"] for image in table["images"])
    crowds = 0
    for image, number in list(zip(part.images, ids, strict=True))[:25]:
        expected, count = np.zeros((image.height, image.width), int), np.zeros((image.height, image.width), int)
        for mark in (mark for mark in table["annotations"] if mark["image_id"] == number):
            if mark["category_id"] in VOC:
                decoded = coco_mask.decode(coco_mask.frPyObjects(mark["segmentation"], image.height, image.width))
                own = decoded.reshape(image.height, image.width, -1).any(axis=2)
                expected, count, crowds = (
                    np.maximum(expected, own * VOC.index(mark["category_id"])),
                    count + own,
                    (crowds + mark["iscrowd"]),
                )
        assert np.array_equal(class_mask(image, VOC_NUMBERS), np.where(count > 1, 255, expected))
    assert crowds > 0
    data = CocoSegmentation(root="coco_tiny", image_size=96).load(Context(seed=0, data_root=SHARED))
    batch = data.test.batch(torch.arange(4), CPU)
    assert batch.inputs.isfinite().all() and PERSON in data.test.targets
