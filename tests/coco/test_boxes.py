"""COCO's boxes: images of all sizes, mirrored and scaled with their boxes, and faults in annotations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pdiff.errors import UserError
from pdiff_plugins.coco.data import CocoDetection
from pdiff_plugins.coco.detection import cut
from tests.coco import small_coco
from tests.coco.helpers import load_boxes

CPU = torch.device("cpu")


def test_images_of_all_sizes_travel_together(root: Path) -> None:
    data = load_boxes(root)
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 6, 10)
    assert data.outputs == 3 and data.input_shape[0] == 3 and max(data.input_shape) <= 64
    batch = data.test.batch(torch.arange(10), CPU)
    assert len({image.shape for image in cut(batch.inputs)}) > 5
    assert batch.targets.equal(data.test.targets) and batch.targets.shape[2] == 7
    for image, boxes in zip(cut(batch.inputs), batch.targets, strict=True):
        assert image.isfinite().all() and image.min() >= 0 and image.max() <= 1
        for x1, y1, x2, y2, label, crowd, area in boxes[boxes[:, 4] >= 0].tolist():
            assert (crowd, area) == (0, (x2 - x1) * (y2 - y1))
            colour = image[:, round(y1) : round(y2), round(x1) : round(x2)].mean(dim=(1, 2))
            assert int(colour.argmax()) in {1: (0, 2), 2: (2, 0)}[int(label)]
    assert (batch.targets[-1, :, 4] == -1).all(), "the last image has no boxes"


def test_mirrored_images_have_mirrored_boxes(root: Path) -> None:
    split = load_boxes(root).train
    plain = split.batch(torch.arange(18), CPU)
    drawn = [split.batch(torch.arange(18), CPU, torch.Generator().manual_seed(1)) for _ in range(2)]
    assert drawn[0].targets.equal(drawn[1].targets)
    flips = 0
    for a, b, x, y in zip(cut(plain.inputs), cut(drawn[0].inputs), plain.targets, drawn[0].targets, strict=True):
        if not a.equal(b):
            assert a.flip(2).equal(b)
            flips, real = flips + 1, x[:, 4] >= 0
            assert y[real, 0].equal(a.shape[2] - x[real, 2]) and y[real, 2].equal(a.shape[2] - x[real, 0])
        assert x[:, [1, 3, 4, 5, 6]].equal(y[:, [1, 3, 4, 5, 6]])
    assert 3 < flips < 15
    same = load_boxes(root, augment="none").train.batch(torch.arange(18), CPU, torch.Generator().manual_seed(1))
    assert same.targets.equal(plain.targets)


def test_large_images_are_scaled_down_with_their_boxes(root: Path) -> None:
    whole, small = load_boxes(root).test, load_boxes(root, longest=32).test
    for i, image in enumerate(cut(small.batch(torch.arange(10), CPU).inputs)):
        before = whole.images[i]
        assert max(image.shape) == 32
        scale = 32 / max(before.height, before.width)
        torch.testing.assert_close(small.targets[i, :, :4], scale * whole.targets[i, :, :4])
        torch.testing.assert_close(small.targets[i, :, 6], scale**2 * whole.targets[i, :, 6])


def test_classes_are_cocos_numbers_unless_they_are_named(root: Path) -> None:
    data = load_boxes(root, classes=())
    assert data.outputs == 14 and set(data.test.targets[..., 4].unique().tolist()) == {-1, 1, 2}
    named = load_boxes(root, classes=("bicycle",))
    assert named.outputs == 2
    ours, all_of_them = (split.targets[..., 4] for split in (named.test, data.test))
    assert (ours == 1).sum() == (all_of_them == 2).sum()
    with pytest.raises(UserError, match=r"dataset.classes: .*train2017.json has no category 'bycicle'.*'bicycle'\?"):
        load_boxes(root, classes=("bycicle",))


def test_the_stages_key_follows_the_annotations(own: Path) -> None:
    dataset = CocoDetection(root=own.name)
    before = dataset.content(own.parent)
    small_coco.change(own, "annotations", 0, bbox=[0, 0, 9, 9])
    assert dataset.content(own.parent) != before
    assert CocoDetection(root="elsewhere", memory_gib=1).identity() == dataset.identity()


@pytest.mark.parametrize(
    ("table", "values", "said"),
    [
        ("images", {"file_name": "gone.png"}, r"train2017.json: images names 'gone.png', which is not in .*train2017"),
        ("annotations", {"image_id": 7}, r"train2017.json: annotation 0: image_id = 7 is none of its images"),
        ("annotations", {"category_id": 5}, r"annotation 0: category_id = 5 is none of its categories"),
        ("annotations", {"bbox": [1, 2, 3]}, r"annotation 0: bbox = \[1, 2, 3\]; four numbers were expected"),
        (
            "annotations", {"segmentation": {"size": [3, 4], "counts": [12]}},
            r"annotation 0: segmentation.size = \[3, 4\], its image 000.png is \[\d+, \d+\] \(height, width\)",
        ),
        ("categories", {"id": None}, r"train2017.json: categories: id = None; a whole number was expected"),
        ("images", {"height": 9}, r"000.png: is \d+ x \d+, its annotations are for \d+ x 9 \(width x height\)"),
    ],
)  # fmt: skip
def test_faults_in_annotations_are_one_line(own: Path, table: str, values: dict, said: str) -> None:
    small_coco.change(own, table, 0, **values)
    with pytest.raises(UserError, match=said) as caught:
        data = load_boxes(own)
        for split in (data.train, data.validation):
            split.batch(torch.arange(len(split)), CPU)
    assert "\n" not in str(caught.value)


def test_absent_and_damaged_annotations(own: Path) -> None:
    file = small_coco.file_of(own)
    for text, said in (("{", "not readable JSON"), ("[]", "not a COCO instances file"), (None, "is missing, and COCO")):
        file.write_text(text) if text else file.unlink()
        with pytest.raises(UserError, match=f"dataset coco_detection: .*instances_train2017.json:? .*{said}"):
            load_boxes(own)
