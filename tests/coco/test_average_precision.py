"""Average precision: pycocotools' numbers, on random cases and on real images."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pdiff.context import Context
from pdiff_plugins.coco.average_precision import average_precision, faults
from pdiff_plugins.coco.data import CocoDetection
from pdiff_plugins.coco.detection import Detection
from tests.helpers import SHARED

TASK = Detection()


def random_case(seed: int, ties: bool):
    """Return detections [2, 12, 100, 6] and true boxes [12, 9, 7], a fifth of them crowds, with many near misses."""
    g = torch.Generator().manual_seed(seed)
    truth = torch.zeros(12, 9, 7, dtype=torch.float64)
    predictions = torch.zeros(2, 12, 100, 6)
    truth[..., 4], predictions[..., 4:] = -1, -1
    for rows in truth:
        n = int(torch.randint(0, 10, (), generator=g))
        corner, sides = 100 * torch.rand(n, 2, generator=g), 5 + 60 * torch.rand(n, 2, generator=g)
        if ties:
            corner, sides = (corner / 10).round() * 10, (sides / 10).round() * 10 + 10
        rows[:n, :4] = torch.cat([corner, corner + sides], dim=1)
        rows[:n, 4] = torch.randint(1, 5, (n,), generator=g).double()
        rows[:n, 5], rows[:n, 6] = (torch.rand(n, generator=g) < 0.2).double(), sides.prod(dim=1)
    for image, rows in ((image, rows) for network in predictions for image, rows in zip(network, truth, strict=True)):
        n = int(torch.randint(0, 101, (), generator=g))
        near = rows[torch.randint(0, 9, (n,), generator=g)]
        moved, scores = near[:, :4] + 20 * (torch.rand(n, 4, generator=g) - 0.5), torch.rand(n, generator=g)
        if ties:
            moved, scores = (moved / 5).round() * 5, (8 * scores).round() / 8 + 0.01
        image[:n, :2], image[:n, 2:4] = torch.minimum(moved[:, :2], moved[:, 2:] - 1), moved[:, 2:]
        image[:n, 4] = scores.sort(descending=True).values
        image[:n, 5] = near[:, 4].clamp_min(1)
    return predictions, truth


def by_pycocotools(predictions: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    marks = [
        {"image_id": image, "category_id": int(label), "bbox": [x, y, x2 - x, y2 - y], "area": area,
         "iscrowd": int(crowd)}
        for image, rows in enumerate(truth.tolist()) for x, y, x2, y2, label, crowd, area in rows if label >= 0
    ]  # fmt: skip
    coco, scores = COCO(), []
    coco.dataset = {
        "images": [{"id": image} for image in range(len(truth))], "categories": [{"id": n} for n in range(1, 91)],
        "annotations": [mark | {"id": number} for number, mark in enumerate(marks, start=1)],
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        for network in predictions.double().tolist():
            found = [
                {"image_id": image, "category_id": int(label), "bbox": [x, y, x2 - x, y2 - y], "score": score}
                for image, rows in enumerate(network) for x, y, x2, y2, score, label in rows if score >= 0
            ]  # fmt: skip
            measure = COCOeval(coco, coco.loadRes(found), "bbox")
            measure.evaluate(), measure.accumulate()
            precision = measure.eval["precision"][:, :, :, 0, -1]
            scores.append(precision[precision > -1].mean())
    return torch.tensor(np.array(scores))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_that_of_pycocotools(seed: int, ties: bool, monkeypatch) -> None:
    predictions, truth = random_case(seed, ties)
    ours = average_precision(predictions, truth)
    assert ours.dtype == torch.float64 and ours.min() > 0.01 and ours[0] != ours[1]
    torch.testing.assert_close(ours, by_pycocotools(predictions, truth), rtol=0, atol=1e-12)
    monkeypatch.setattr("pdiff_plugins.coco.average_precision.AT_ONCE", 1)
    assert average_precision(predictions, truth).equal(ours)


def rows(*boxes: tuple[float, ...], slots: int = 4) -> torch.Tensor:
    """Return one image's rows, filled up."""
    width = len(boxes[0]) if boxes else 6
    empty = [0.0] * 4 + [-1.0] * 2 if width == 6 else [0.0] * 4 + [-1.0, 0.0, 0.0]
    return torch.tensor([*boxes, *[empty] * (slots - len(boxes))], dtype=torch.float64)


def test_an_image_is_wrong_where_a_box_is_missed_or_false() -> None:
    box, crowd = (0, 0, 10, 10, 1, 0, 100), (20, 0, 60, 40, 1, 1, 1600)
    truth = torch.stack([rows(box, crowd)] * 6 + [rows((0, 0, 0, 0, -1, 0, 0))])
    good, again = (0, 0, 10, 10, 0.9, 1), (0, 0, 10, 9, 0.8, 1)
    in_crowd = (30, 10, 35, 15, 0.7, 1)
    images = [
        rows(good), rows(good, in_crowd), rows(good, again), rows(), rows((0, 0, 10, 10, 0.4, 1)),
        rows((0, 0, 10, 10, 0.9, 2)), rows(),
    ]  # fmt: skip
    wrong = faults(torch.stack(images).float()[None], truth, least=0.5, overlap=0.5)
    assert wrong.tolist() == [[False, False, True, True, True, True, False]]
    assert TASK.wrong(torch.stack(images).float()[None], truth).equal(wrong)


def test_a_set_without_boxes_has_a_score() -> None:
    truth = torch.zeros(3, 0, 7, dtype=torch.float64)
    found = rows((0, 0, 5, 5, 0.9, 1)).float().expand(2, 3, 4, 6)
    assert TASK.score(found, truth).tolist() == pytest.approx([0, 0]) and TASK.wrong(found, truth).all()


# Real images

TINY = SHARED / "coco_tiny"


@pytest.mark.skipif(not TINY.is_dir(), reason="PDIFF_SHARED_DATA holds no coco_tiny")
def test_real_annotations_give_pycocotools_the_same_boxes() -> None:
    data = CocoDetection(root="coco_tiny", validation=0.2).load(Context(seed=0, data_root=SHARED))
    assert data.outputs == 91 and (len(data.train), len(data.validation), len(data.test)) == (40, 10, 50)
    table = json.loads((TINY / "annotations" / "instances_val2017.json").read_text())
    ids = sorted(image["id"] for image in table["images"])
    generator = torch.Generator().manual_seed(0)
    found = torch.zeros(1, 50, 100, 6)
    found[..., 4:] = -1
    for image, rows in enumerate(data.test.targets):
        n = int((rows[:, 4] >= 0).sum())
        found[0, image, :n, :4] = (rows[:n, :4] + 4 * torch.randn(n, 4, generator=generator)).float()
        found[0, image, :n, 2:4] = found[0, image, :n, 2:4].maximum(found[0, image, :n, :2] + 1)
        found[0, image, :n, 4] = torch.rand(n, generator=generator).sort(descending=True).values
        found[0, image, :n, 5] = rows[:n, 4].float()
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(TINY / "annotations" / "instances_val2017.json")
        measure = COCOeval(coco, coco.loadRes([
            {"image_id": ids[image], "category_id": int(row[5]), "score": row[4],
             "bbox": [row[0], row[1], row[2] - row[0], row[3] - row[1]]}
            for image, rows in enumerate(found[0].double().tolist()) for row in rows if row[4] >= 0
        ]), "bbox")  # fmt: skip
        measure.evaluate(), measure.accumulate(), measure.summarize()
    ours = float(TASK.score(found, data.test.targets))
    assert abs(ours - measure.stats[0]) < 1e-9 and 0.2 < ours < 0.9
