"""Detection: COCO's boxes, its average precision, detectors with norms that learn, and a whole run."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from torchvision.models import detection as published
from torchvision.models._api import WeightsEnum

import pdiff
from pdiff.context import Context
from pdiff.data import Batch
from pdiff.engine.work import build_network
from pdiff.errors import UserError
from pdiff.populations import ways
from pdiff.populations.predictor import predict
from pdiff.testing import check_component
from pdiff.training.loop import train
from pdiff.zoo import Layout
from pdiff_plugins.coco.average_precision import average_precision, faults
from pdiff_plugins.coco.data import CocoDetection
from pdiff_plugins.coco.detection import Detection, FasterRcnnResNet50, FasterRcnnTiny, FcosResNet50, FcosTiny, cut
from pdiff_plugins.collectors.trajectory import Trajectory
from pdiff_plugins.selectors import LastNorms, Names
from tests.coco import small_coco
from tests.helpers import SHARED

CPU = torch.device("cpu")
TASK = Detection()
RCNN = FasterRcnnTiny(widths=(8, 16), hidden=32, image_size=64)
FCOS = FcosTiny(widths=(16, 32), image_size=64)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_coco.write(tmp_path_factory.mktemp("data") / "coco")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A set that may be changed."""
    return small_coco.write(tmp_path / "coco", train=4, val=2)


def load(root: Path, **options):
    options = {"validation": 0.25, "classes": ("person", "bicycle")} | options
    return CocoDetection(root=root.name, **options).load(Context(seed=0, data_root=root.parent))


# The measure


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
    assert TASK.score(found, truth).tolist() == [0.0, 0.0] and TASK.wrong(found, truth).all()


# The data


def test_images_of_all_sizes_travel_together(root: Path) -> None:
    data = load(root)
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
    split = load(root).train
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
    same = load(root, augment="none").train.batch(torch.arange(18), CPU, torch.Generator().manual_seed(1))
    assert same.targets.equal(plain.targets)


def test_large_images_are_scaled_down_with_their_boxes(root: Path) -> None:
    whole, small = load(root).test, load(root, longest=32).test
    for i, image in enumerate(cut(small.batch(torch.arange(10), CPU).inputs)):
        before = whole.images[i]
        assert max(image.shape) == 32
        scale = 32 / max(before.height, before.width)
        torch.testing.assert_close(small.targets[i, :, :4], scale * whole.targets[i, :, :4])
        torch.testing.assert_close(small.targets[i, :, 6], scale**2 * whole.targets[i, :, 6])


def test_classes_are_cocos_numbers_unless_they_are_named(root: Path) -> None:
    data = load(root, classes=())
    assert data.outputs == 14 and set(data.test.targets[..., 4].unique().tolist()) == {-1, 1, 2}
    named = load(root, classes=("bicycle",))
    assert named.outputs == 2
    ours, all_of_them = (split.targets[..., 4] for split in (named.test, data.test))
    assert (ours == 1).sum() == (all_of_them == 2).sum()
    with pytest.raises(UserError, match=r"dataset.classes: .*train2017.json has no category 'bycicle'.*'bicycle'\?"):
        load(root, classes=("bycicle",))


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
        ("categories", {"id": None}, r"train2017.json: not a COCO instances file \(TypeError"),
        ("images", {"height": 9}, r"000.png: is \d+ x \d+, its annotations are for \d+ x 9 \(width x height\)"),
    ],
)  # fmt: skip
def test_faults_in_annotations_are_one_line(own: Path, table: str, values: dict, said: str) -> None:
    small_coco.change(own, table, 0, **values)
    with pytest.raises(UserError, match=said) as caught:
        data = load(own)
        for split in (data.train, data.validation):
            split.batch(torch.arange(len(split)), CPU)
    assert "\n" not in str(caught.value)


def test_absent_and_damaged_annotations(own: Path) -> None:
    file = small_coco.file_of(own)
    for text, said in (("{", "not readable JSON"), ("[]", "not a COCO instances file"), (None, "is missing, and COCO")):
        file.write_text(text) if text else file.unlink()
        with pytest.raises(UserError, match=f"dataset coco_detection: .*instances_train2017.json:? .*{said}"):
            load(own)


# The networks


@pytest.fixture
def no_download(monkeypatch) -> list[str]:
    """torchvision's weights are those of a new network, with statistics of their own."""
    asked = []

    def state(weights, **options) -> dict:
        asked.append(weights.url)
        builder = published.fcos_resnet50_fpn if "fcos" in weights.url else published.fasterrcnn_resnet50_fpn
        torch.manual_seed(5)
        made = builder(weights=None, weights_backbone=None).state_dict()
        for key, value in made.items():
            if "running" in key:
                value.uniform_(0.5, 1.5)
        return {key: value for key, value in made.items() if "num_batches" not in key}

    monkeypatch.setattr(WeightsEnum, "get_state_dict", state)
    return asked


@pytest.mark.parametrize(
    ("architecture", "builder", "weights"),
    [
        (FasterRcnnResNet50, published.fasterrcnn_resnet50_fpn, published.FasterRCNN_ResNet50_FPN_Weights),
        (FcosResNet50, published.fcos_resnet50_fpn, published.FCOS_ResNet50_FPN_Weights),
    ],
)
def test_a_published_detector_is_torchvisions_bit_for_bit(architecture, builder, weights, no_download) -> None:
    ours = architecture(weights="pretrained", min_size=64, max_size=64).build(input_shape=(3, 64, 64), outputs=91)
    theirs = builder(weights=weights.COCO_V1, min_size=64, max_size=64)
    assert list(ours.state_dict()) == list(theirs.state_dict()) and len(no_download) == 2
    again = architecture(min_size=64, max_size=64).build(input_shape=(3, 64, 64), outputs=91)
    again.load_state_dict(theirs.state_dict(), strict=True)
    image = torch.rand(3, 64, 64)
    with torch.no_grad():
        expected = theirs.eval().backbone(image[None])
        for model in (ours, again):
            assert all(map(torch.equal, model.eval().backbone(image[None]).values(), expected.values()))
            for a, b in zip(model([image])[0].values(), theirs([image])[0].values(), strict=True):
                assert a.equal(b)
    last = Names(include=("backbone.body.layer4.2.bn2.*", "backbone.body.layer4.2.bn3.*"), exclude=("*running*",))
    layout = Layout.of(ours, last.select(ours))
    assert layout.dim == 5120 and set(layout.keys) <= {key for key, _ in ours.named_parameters()}
    if architecture is FasterRcnnResNet50:
        assert LastNorms(n=2).select(ours) == layout.keys


def test_what_pretrained_needs_is_said(monkeypatch, no_download) -> None:
    ask = FasterRcnnResNet50(weights="pretrained")
    with pytest.raises(UserError, match="the pretrained network has 91 outputs, the data set asks for 3"):
        ask.build(input_shape=(3, 64, 64), outputs=3)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(UserError, match=r"fasterrcnn_resnet50_fpn_coco-258fb6c6.pth could not be fetched \(no route\)"):
        ask.build(input_shape=(3, 64, 64), outputs=91)
    with pytest.raises(UserError, match="fcos_tiny has no pretrained weights"):
        FcosTiny(weights="pretrained").build(input_shape=(3, 64, 64), outputs=3)
    with pytest.raises(UserError, match="fcos_tiny: takes images of 3 channels, found 1"):
        FcosTiny().build(input_shape=(1, 64, 64), outputs=3)
    with pytest.raises(ValueError, match="widths ends in 48; FCOS normalises in 32 groups"):
        FcosTiny(widths=(16, 48))


@pytest.mark.parametrize("architecture", [RCNN, FCOS], ids=lambda a: a.name)
def test_a_small_detector_learns_and_gives_the_same_bytes_again(architecture, root: Path) -> None:
    data = load(root)

    def trained() -> tuple[list[dict], nn.Module]:
        torch.manual_seed(0)
        model = build_network(architecture, data, seed=0).train()

        def draw(step: int, generator: torch.Generator) -> Batch:
            index = torch.randint(len(data.train), (4,), generator=generator)
            return data.train.batch(index, CPU, generator)

        loss = train(
            model, lambda *batch: TASK.loss(model, Batch(*batch)), steps=20, ctx=Context(seed=0), what="train",
            lr=1e-2, draw=draw,
        )  # fmt: skip
        return loss, model

    log, model = trained()
    first, last = (sum(row["loss"] for row in part) for part in (log[:4], log[-4:]))
    assert last < 0.9 * first
    again, twin = trained()
    assert again == log and all(map(torch.equal, model.state_dict().values(), twin.state_dict().values()))
    found = TASK.predict(model.eval(), data.test.batch(torch.arange(10), CPU).inputs)
    assert found.shape == (10, 100, 6) and found.dtype == torch.float32
    assert (found[..., 4].diff(dim=1) <= 0).all() and ((found[..., 4] > 0) == (found[..., 5] > 0)).all()


def test_the_loss_leaves_norms_and_modes_as_they_were(root: Path) -> None:
    data = load(root)
    model = build_network(RCNN, data, seed=0).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    loss = TASK.loss(model, data.train.batch(torch.arange(4), CPU))
    assert loss.shape == () and loss.requires_grad and not any(module.training for module in model.modules())
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    model.train()
    TASK.loss(model, data.train.batch(torch.arange(4), CPU))
    assert all(module.training for module in model.modules())
    assert not model.state_dict()["backbone.0.1.running_mean"].equal(before["backbone.0.1.running_mean"])
    with pytest.raises(UserError, match=r"not trained many at once; use collect\.name = 'trajectory'"):
        TASK.loss(lambda *inputs: model(*inputs), data.train.batch(torch.arange(4), CPU))


def test_checkpoints_of_a_detector(root: Path) -> None:
    check_component(
        Trajectory, lr=0.01, count=3, batch_size=4, architecture=RCNN, data=load(root), task=TASK
    )  # fmt: skip


def test_detectors_run_one_at_a_time_and_that_is_said(root: Path, monkeypatch) -> None:
    for limit in ("WORTH_S", "QUICK_S"):
        monkeypatch.setattr(ways, limit, 0.0)
    monkeypatch.setattr(ways, "TRIAL", 10.0)
    data = load(root)
    model = build_network(FCOS, data, seed=0)
    model.score_thresh = 0.02
    layout = Layout.of(model, LastNorms(n=2).select(model))
    theta_MD = layout.vector(model.state_dict()) + 0.3 * torch.randn(5, layout.dim)
    warned: list[str] = []
    ctx = Context(seed=0, batch_size=4, warn=warned.append)
    found = predict(model, layout, theta_MD, task=TASK, split=data.test, ctx=ctx, what="predict")
    assert warned == [
        "FCOS is run whole for every network, because its graph cannot be parted "
        "(the task does not hand it plain tensors)"
    ]
    for theta_D, ours in zip(theta_MD, found, strict=True):
        model.load_state_dict(model.state_dict() | layout.tensors(theta_D))
        with torch.no_grad():
            plain = [TASK.predict(model, data.test.batch(i, CPU).inputs) for i in torch.arange(10).split(4)]
        assert ours.equal(torch.cat(plain)) and (ours[..., 4] > 0).any()


# A whole run

RECIPE = """
seed = 1
dataset = { name = "coco_detection", validation = 0.25, classes = ["person", "bicycle"] }
task = { name = "detection" }
architecture = { name = "fasterrcnn_tiny", widths = [8, 16], hidden = 32, image_size = 64 }
selector = { name = "last_norms" }
train = { epochs = 4, lr = 5e-3, batch_size = 6 }
collect = { name = "trajectory", count = 6, lr = 1e-3, batch_size = 6 }
method = { name = "pdiff", steps = 20, timesteps = 10, batch_size = 6 }
baseline = [{ name = "base" }, { name = "soup" }, { name = "constant" }]
sample = { count = 4, baseline_count = 3 }
evaluate = [{ name = "accuracy" }, { name = "similarity" }, { name = "distance" }]
report = [{ name = "markdown" }]
"""


def test_a_whole_run(root: Path, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(RECIPE)
    places = {"run.out": str(tmp_path / "runs"), "run.data": str(root.parent)}
    run = pdiff.run(tmp_path / "small.toml", set=places, quiet=True)
    scores = run.scores["networks"]
    assert run.scores["main"] == "AP"
    for source, own in scores.items():
        assert 0 <= own["accuracy"]["mean"] <= 1, source
    assert run.pipeline.zoo.layout.keys == ["backbone.0.1.weight", "backbone.0.1.bias", "backbone.1.1.weight",
                                            "backbone.1.1.bias"]  # fmt: skip
    data, theta = load(root), run.theta()
    model = run.pipeline.base_network().eval()
    model.load_state_dict(run.pipeline.zoo.state_dict(theta[0]))
    with torch.no_grad():
        found = TASK.predict(model, data.test.batch(torch.arange(10), CPU).inputs)
    assert TASK.score(found[None], data.test.targets).tolist() == [scores["pdiff"]["accuracy"]["values"][0]]


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
