"""Segmentation: mean IoU from counts, networks that are parted, and a whole run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.classification import MulticlassJaccardIndex
from torchvision.models import segmentation as published
from torchvision.models._api import WeightsEnum

import pdiff
from pdiff.context import Context
from pdiff.data import Batch
from pdiff.errors import UserError
from pdiff.networks import build_network
from pdiff.results import summary
from pdiff.running.progress import PlainProgress
from pdiff.zoo import Layout
from pdiff_plugins.coco.segmentation import FcnResNet50, FcnTiny, Segmentation
from pdiff_plugins.populations import chooser
from pdiff_plugins.populations.parting import Parted
from pdiff_plugins.selectors import LastNorms, Names
from tests.coco.helpers import load_masks, trained
from tests.populations.helpers import predict

CPU = torch.device("cpu")
TASK = Segmentation()


# The measure


def test_mean_iou_is_that_of_the_confusion_matrix_and_of_torchmetrics() -> None:
    g = torch.Generator().manual_seed(0)
    targets = torch.randint(15, (6, 20, 20), generator=g).to(torch.uint8)  # six classes never occur
    targets[targets == 3] = 255
    noise = torch.randint(15, (3, 6, 20, 20), generator=g).to(torch.uint8)
    noise[noise == 3] = 4
    right = torch.rand(noise.shape, generator=g) < torch.tensor([0.2, 0.5, 0.9])[:, None, None, None]
    predictions = torch.where(right & (targets != 255), targets, noise)
    counts = torch.cat([TASK.reduce(predictions[:, part], targets[part]) for part in (slice(4), slice(4, 6))], dim=1)
    assert counts.shape == (3, 6, 21, 21) and counts.dtype == torch.int32
    scores = TASK.score(counts, targets)
    for network, score in zip(predictions, scores, strict=True):
        metric = MulticlassJaccardIndex(num_classes=21, ignore_index=255, average="macro", validate_args=False)
        torch.testing.assert_close(float(metric(network.long(), targets.long())), float(score), rtol=1e-6, atol=0)
        matrix = np.zeros((21, 21))
        for truth, guess in zip(targets.flatten().tolist(), network.flatten().tolist(), strict=True):
            if truth != 255:
                matrix[truth, guess] += 1
        union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
        expected = (matrix.diagonal()[union > 0] / union[union > 0]).mean()
        assert abs(expected - float(score)) < 1e-12
    assert scores.dtype == torch.float64 and scores.diff().min() > 0.1


def test_an_image_is_wrong_below_a_mean_iou_of_one_half() -> None:
    targets = torch.zeros(4, 2, 4, dtype=torch.uint8)
    targets[1:3, :, 2:], targets[3] = 1, 255
    predictions = targets.clone()
    predictions[2] = 0  # IoU 0.5 of the background and 0 of the class: 0.25
    predictions[3] = 7
    counts = TASK.reduce(predictions[None], targets)
    assert TASK.wrong(counts, targets).tolist() == [[False, False, True, False]]
    assert TASK.score(counts[:, 3:], targets[3:]).tolist() == pytest.approx([1])


def test_the_loss_is_cross_entropy_of_what_is_counted() -> None:
    logits, targets = torch.randn(2, 21, 4, 4), torch.randint(21, (2, 4, 4))
    targets[0] = 255
    batch = Batch(torch.zeros(2, 3, 4, 4), targets.to(torch.uint8))
    expected = nn.functional.cross_entropy(logits[1:], targets[1:])
    torch.testing.assert_close(TASK.loss(lambda _: {"out": logits}, batch), expected)
    assert TASK.loss(lambda _: {"out": logits}, Batch(batch.inputs, torch.full((2, 4, 4), 255))) == 0


def test_a_network_that_does_not_fit_is_told() -> None:
    batch = Batch(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4))
    with pytest.raises(UserError, match=r"task\.classes = 21: the network has 3 outputs; write 3"):
        TASK.loss(lambda x: {"out": torch.zeros(2, 3, 4, 4)}, batch)
    with pytest.raises(UserError, match="gives no 'out' with logits for all pixels"):
        TASK.predict(lambda x: torch.zeros(2, 3), batch.inputs)
    with pytest.raises(UserError, match="fcn_tiny: takes images of 3 channels, found 1"):
        FcnTiny().build(input_shape=(1, 8, 8), outputs=3)


# The networks


def test_the_published_network_is_torchvisions(monkeypatch) -> None:
    torch.manual_seed(0)
    state = published.fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True).state_dict()
    for key, value in state.items():
        if "running" in key:
            value.uniform_(0.5, 1.5)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: state)
    ours = FcnResNet50(weights="pretrained").build(input_shape=(3, 48, 48), outputs=21).eval()
    theirs = published.fcn_resnet50(weights=published.FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    with torch.no_grad():
        x = torch.rand(1, 3, 48, 48)
        assert ours(x)["out"].equal(theirs(x)["out"]) and ours(x)["aux"].equal(theirs(x)["aux"])
        backbone = Names(include=("backbone.layer4.2.bn2.*", "backbone.layer4.2.bn3.*"), exclude=("*running*", "*num*"))
        keys = backbone.select(ours)
        assert Layout.of(ours, keys).dim == 5120
        parted = Parted(ours, keys, (x,))
        assert parted.shares_work
        own = {key: ours.state_dict()[key] for key in keys}
        torch.testing.assert_close(parted.suffix(own, parted.prefix(x))["out"], ours(x)["out"], rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="the pretrained network has 21 outputs, the data set asks for 3"):
        FcnResNet50(weights="pretrained").build(input_shape=(3, 48, 48), outputs=3)


def test_the_loss_falls_and_comes_again_to_the_byte(root: Path) -> None:
    data = load_masks(root)
    log, model = trained(FcnTiny(widths=(16, 32)), TASK, data, 6, lr=3e-2)
    first, last = (sum(row["loss"] for row in part) for part in (log[:4], log[-4:]))
    assert last < 0.6 * first
    again, twin = trained(FcnTiny(widths=(16, 32)), TASK, data, 6, lr=3e-2)
    assert again == log and all(map(torch.equal, model.state_dict().values(), twin.state_dict().values()))


@pytest.mark.parametrize("selector", [LastNorms(n=1), Names(include=("backbone.1.1.weight", "backbone.1.1.bias"))])
def test_networks_share_what_is_frozen_and_give_what_the_plain_loop_gives(selector, root: Path, monkeypatch) -> None:
    for limit in ("WORTH_S", "QUICK_S"):
        monkeypatch.setattr(chooser, limit, 0.0)
    monkeypatch.setattr(
        chooser, "_seconds", lambda way, *_: 0.5 if way.parted else 1.0
    )  # a trial depends on the machine
    data, said = load_masks(root), []
    torch.manual_seed(0)
    model = build_network(FcnTiny(widths=(16, 32)), data, seed=0).eval()
    layout = Layout.of(model, selector.select(model))
    theta_MD = layout.vector(model.state_dict()) + 0.5 * torch.randn(6, layout.dim)
    progress = PlainProgress(said.append)
    progress.verbose = True
    ctx = Context(seed=0, batch_size=4, progress=progress, warn=said.append)
    ours = predict(model, layout, theta_MD, task=TASK, split=data.test, ctx=ctx)
    assert any("what is frozen once per batch" in line for line in said), said
    rows = []
    for theta_D in theta_MD:
        model.load_state_dict(model.state_dict() | layout.tensors(theta_D))
        with torch.no_grad():
            batches = [data.test.batch(index, CPU) for index in torch.arange(10).split(4)]
            rows.append(torch.cat([TASK.reduce(TASK.predict(model, b.inputs)[None], b.targets)[0] for b in batches]))
    plain = torch.stack(rows)
    assert ours.shape == plain.shape and ours.sum(dim=(2, 3)).equal(plain.sum(dim=(2, 3)))
    moved = (ours - plain).abs().sum(dim=(2, 3)) / 2  # pixels whose classes are nearly tied
    assert moved.max() <= 3 and not ours[0].equal(ours[1])


# A whole run

RECIPE = """
seed = 1
dataset = { name = "coco_segmentation", validation = 0.25, image_size = 48 }
task = { name = "segmentation" }
architecture = { name = "fcn_tiny", widths = [8, 16] }
selector = { name = "last_norms" }
train = { epochs = 6, lr = 1e-2, batch_size = 6 }
collect = { name = "trajectory", count = 8, lr = 3e-3, batch_size = 6 }
method = { name = "pdiff", steps = 20, timesteps = 10, batch_size = 8 }
baseline = [{ name = "base" }, { name = "soup" }, { name = "constant" }]
sample = { count = 4, baseline_count = 3 }
evaluate = [{ name = "accuracy" }, { name = "similarity" }, { name = "distance" }]
report = [{ name = "markdown" }]
expect = [{ name = "none", source = "nowhere: a test", original = { mean = 50.0 } }]
"""


def test_a_whole_run(root: Path, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(RECIPE)
    places = {"run.out": str(tmp_path / "runs"), "run.data": str(root.parent)}
    run = pdiff.run(tmp_path / "small.toml", set=places, quiet=True)
    scores = run.scores["networks"]
    mean = scores["original"]["accuracy"]["mean"]
    assert mean > 0.3 and summary.expected(run.scores)[1] == [["original", "mean", "50", f"{100 * mean:.4g}"]]
    data, theta = load_masks(root), run.theta()
    model = run.pipeline.base_network().eval()
    model.load_state_dict(run.pipeline.zoo.state_dict(theta[0]))
    with torch.no_grad():
        batch = data.test.batch(torch.arange(10), CPU)
        counts = TASK.reduce(TASK.predict(model, batch.inputs)[None], batch.targets)
    # Other batches may move a logit by a last bit, and with it a pixel of which two classes are nearly tied.
    assert float(TASK.score(counts, batch.targets)) == pytest.approx(scores["pdiff"]["accuracy"]["values"][0], abs=2e-3)
