"""Detectors: torchvision's to the bit, norms that learn, one network at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import detection as published
from torchvision.models._api import WeightsEnum

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.networks import build_network
from pdiff.testing import check_component
from pdiff.zoo import Layout
from pdiff_plugins.coco.detection import Detection, FasterRcnnResNet50, FasterRcnnTiny, FcosResNet50, FcosTiny
from pdiff_plugins.collectors.trajectory import Trajectory
from pdiff_plugins.populations import chooser
from pdiff_plugins.selectors import LastNorms, Names
from tests.coco.helpers import load_boxes, trained
from tests.populations.helpers import predict

CPU = torch.device("cpu")
TASK = Detection()
RCNN = FasterRcnnTiny(widths=(8, 16), hidden=32, image_size=64)
FCOS = FcosTiny(widths=(16, 32), image_size=64)


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
    data = load_boxes(root)
    log, model = trained(architecture, TASK, data, 4, lr=1e-2)
    first, last = (sum(row["loss"] for row in part) for part in (log[:4], log[-4:]))
    assert last < 0.9 * first
    again, twin = trained(architecture, TASK, data, 4, lr=1e-2)
    assert again == log and all(map(torch.equal, model.state_dict().values(), twin.state_dict().values()))
    found = TASK.predict(model.eval(), data.test.batch(torch.arange(10), CPU).inputs)
    assert found.shape == (10, 100, 6) and found.dtype == torch.float32
    assert (found[..., 4].diff(dim=1) <= 0).all() and ((found[..., 4] > 0) == (found[..., 5] > 0)).all()


def test_the_loss_leaves_norms_and_modes_as_they_were(root: Path) -> None:
    data = load_boxes(root)
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
        Trajectory, lr=0.01, count=3, batch_size=4, architecture=RCNN, data=load_boxes(root), task=TASK
    )  # fmt: skip


def test_detectors_run_one_at_a_time_and_that_is_said(root: Path, monkeypatch) -> None:
    for limit in ("WORTH_S", "QUICK_S"):
        monkeypatch.setattr(chooser, limit, 0.0)
    monkeypatch.setattr(chooser, "TRIAL", 10.0)
    data = load_boxes(root)
    model = build_network(FCOS, data, seed=0)
    model.score_thresh = 0.02
    layout = Layout.of(model, LastNorms(n=2).select(model))
    theta_MD = layout.vector(model.state_dict()) + 0.3 * torch.randn(5, layout.dim)
    warned: list[str] = []
    ctx = Context(seed=0, batch_size=4, warn=warned.append)
    found = predict(model, layout, theta_MD, task=TASK, split=data.test, ctx=ctx)
    assert warned == [
        "FCOS is run whole for every network, because its graph cannot be parted "
        "(the task does not hand it plain tensors)"
    ]
    for theta_D, ours in zip(theta_MD, found, strict=True):
        model.load_state_dict(model.state_dict() | layout.tensors(theta_D))
        with torch.no_grad():
            plain = [TASK.predict(model, data.test.batch(i, CPU).inputs) for i in torch.arange(10).split(4)]
        assert ours.equal(torch.cat(plain)) and (ours[..., 4] > 0).any()
