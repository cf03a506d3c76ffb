"""Populations: no way of running many networks changes a prediction."""

from __future__ import annotations

import warnings
from math import inf

import pytest
import torch
from torch import nn

from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.engine.bench import predictor_of
from pdiff.errors import UserError
from pdiff.plugins.discovery import registry
from pdiff.populations.predictor import check, score_model
from pdiff.running.progress import PlainProgress
from pdiff.zoo import Entry, Layout
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.networks.small import ResNetMini
from pdiff_plugins.populations import chooser
from pdiff_plugins.populations.parting import Parted
from pdiff_plugins.populations.ways import Way
from pdiff_plugins.selectors import Entire, LastNorms, Layers
from tests.populations.helpers import InPlace, networks, plain, predict

CTX = Context(seed=0, batch_size=5)
FIELDS = {"siren": (2,), "relu_pe": (2,), "hyperdiffusion_mlp": (3,)}
FIELDS |= dict.fromkeys(("radiance_mlp", "tiny_nerf", "shap_e"), (7,))
SHAPES = {
    "hyper_cnn": (1, 28, 28),
    "mlp_mini": (1, 16, 16),
    "convnext_mini": (3, 64, 64),
    "cnn_medium": (1, 32, 32),
    "token_net": (12,),
}
SHAPES |= FIELDS
BIG = ("convnext_base", "vit_base", "resnet50", "vit_tiny")  # timm's attention cannot be batched over networks


def architectures() -> list:
    # these have tests of their own
    others = {"timm_model", "minilm", "python", "detection", "segmentation", "generation"}
    names = [name for plugin, name, *_ in registry().offers("architecture") if not others & {plugin, name}]
    slow = {"resnet50", "vit_base", "convnext_base"}  # as resnet18 and the tiny ones, in larger sizes
    return [pytest.param(name, marks=pytest.mark.slow if name in slow else ()) for name in names]


@pytest.mark.parametrize("name", architectures())
@pytest.mark.parametrize("selector", [LastNorms(n=1), Entire()], ids=["last norm", "entire"])
def test_every_way_gives_the_predictions_of_the_plain_loop(name: str, selector) -> None:
    found, values = registry().find("architecture", name)
    shape = SHAPES.get(name, (3, 32, 32))
    torch.manual_seed(0)
    model = found(**values).build(input_shape=shape, outputs=10).eval()
    if name in ("cnn_medium", "hyper_cnn", "mlp", "gpt_cnn", "strided_cnn", "token_net", *FIELDS) and not isinstance(
        selector, Entire
    ):
        selector = Layers(layer="linear", positions=(-1,))  # they have no norm
    keys = selector.select(model)
    layout, theta_MD = networks(model, keys, count=2 if name in BIG else 3)
    x = torch.randn(4 if name in BIG else 9, *shape)
    x = torch.randint(1000, x.shape) if name == "token_net" else x
    expected, logits = plain(model, layout, theta_MD, x)
    tied = logits.topk(2, dim=2).values.diff(dim=2).abs().squeeze(2) < 1e-5 * logits.abs().amax(dim=2)
    assert tied.float().mean() < 0.2
    task = Classification()
    with torch.no_grad():
        batch = x[:5]
        parted = None if isinstance(selector, Entire) else Parted(model, keys, (batch,))
        for at_once in (1,) if name in BIG and parted is None else (1, 2):
            way = Way(model, layout, task, parted, at_once, batch=len(batch))
            for start in range(0, len(x), 5):  # the last batch is short
                ready = way.prepare(x[start : start + 5])
                ours = torch.cat([way.run(part, ready) for part in theta_MD.split(at_once)]).long()
                same = ours == expected[:, start : start + 5]
                assert (same | tied[:, start : start + 5]).all()


def test_a_population_is_predicted_and_the_model_left_as_it_was(monkeypatch) -> None:
    for limit in ("WORTH_S", "QUICK_S"):
        monkeypatch.setattr(chooser, limit, 0.0)
    monkeypatch.setattr(chooser, "TRIAL", 10.0)
    # What a trial finds depends on what else the machine does: here parting always pays.
    monkeypatch.setattr(chooser, "_seconds", lambda way, parts, batch: 0.01 if way.parted else 0.1)
    torch.manual_seed(0)
    model = ResNetMini().build(input_shape=(3, 32, 32), outputs=10)
    layout, theta_MD = networks(model, LastNorms(n=2).select(model), count=6)
    split = TensorSplit(torch.randn(12, 3, 32, 32), torch.zeros(12, dtype=torch.long))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    said: list[str] = []
    progress = PlainProgress(said.append)
    progress.verbose = True
    predictor = predictor_of(model, layout, Classification(), CTX)
    predictions = predictor.predict(theta_MD, split, CTX.replace(progress=progress), "predict")
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert predictions.long().equal(plain(model, layout, theta_MD, split.inputs)[0])
    assert any("what is frozen once per batch" in line and "ms per network and batch" in line for line in said)
    assert predictor.predict(theta_MD[:3], split, CTX, "again").equal(predictions[:3])
    model.load_state_dict(model.state_dict() | layout.tensors(theta_MD[2]))
    alone = score_model(model, Classification(), split, CTX)
    assert alone == Classification().score(predictions, split.targets)[2].item()


@pytest.mark.parametrize(
    ("seconds", "tried", "chosen"),
    [({4: 2.0, 16: 0.5, 64: 0.6, 256: 0.6}, [4, 16, 64, 256], 16), ({4: 2.0, 16: 2.0}, [4, 16], 1), ({4: inf}, [4], 1)],
)
def test_one_slow_trial_does_not_end_the_search(seconds, tried, chosen, monkeypatch) -> None:
    trials: list[int] = []
    monkeypatch.setattr(chooser, "_seconds", lambda *_: 1.0)
    monkeypatch.setattr(chooser, "_try", lambda more, *_: trials.append(more.at_once) or seconds[more.at_once])
    monkeypatch.setattr(chooser, "QUICK_S", 0.0)
    monkeypatch.setattr(chooser, "TRIAL", 10.0)
    model = nn.Linear(3, 2)
    layout, theta_MD = networks(model, ["weight", "bias"], count=300)
    way = chooser.Chooser(model, layout, Classification()).choose(theta_MD, torch.randn(5, 3), 1, CTX, "predict")
    assert (trials, way.at_once) == (tried, chosen)


@pytest.mark.parametrize("name", ["resnet20", "convnext_mini", "convnet_mini"])
@pytest.mark.parametrize("selector", [LastNorms(n=2), Entire()], ids=["last norms", "entire"])
def test_images_are_handed_over_channels_last_where_that_is_quicker(name: str, selector, monkeypatch) -> None:
    monkeypatch.setattr(chooser, "QUICK_S", 0.0)
    monkeypatch.setattr(chooser, "WORTH_S", 0.0)
    monkeypatch.setattr(chooser, "TRIAL", 1.0)
    monkeypatch.setattr(chooser, "_try", lambda *_: inf)
    quick: list[bool] = []

    def seconds(way: Way, parts, batch) -> float:
        quick.append(batch.inputs.is_contiguous(memory_format=torch.channels_last))
        return 1.0 - 0.5 * quick[-1] - 0.25 * (way.parted is not None)

    monkeypatch.setattr(chooser, "_seconds", seconds)
    torch.manual_seed(0)
    found, values = registry().find("architecture", name)
    side = 64 if name == "convnext_mini" else 32
    model = found(**values).build(input_shape=(3, side, side), outputs=10)
    layout, theta_MD = networks(model, selector.select(model))
    split = TensorSplit(torch.randn(12, 3, side, side), torch.zeros(12, dtype=torch.long))
    predictor = predictor_of(model, layout, Classification(), CTX)
    predictions = predictor.predict(theta_MD, split, CTX, "predict")
    (way,) = [way for _, way in predictor.chooser.known.values()]
    assert way.channels_last and (way.parted is None) == isinstance(selector, Entire) and any(quick)
    assert predictions.long().equal(plain(model, layout, theta_MD, split.inputs)[0])


class Twice(Classification):
    """A task that looks at an image and its mirror image."""

    name = "twice"

    def predict(self, model, inputs):
        return (model(inputs) + model(inputs.flip(-1))).argmax(dim=1)


class Branches(nn.Module):
    """Control flow that depends on values: no graph can be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(x) if x.sum() > 0 else self.last(-x)


@pytest.mark.parametrize(("kind", "task"), [(Branches, Classification()), (InPlace, Twice())])
def test_a_network_that_cannot_be_parted_runs_as_it_is(kind, task, monkeypatch) -> None:
    for limit in ("WORTH_S", "QUICK_S"):
        monkeypatch.setattr(chooser, limit, 0.0)
    torch.manual_seed(0)
    model = kind().eval()
    layout, theta_MD = networks(model, ["last.weight"])
    split = TensorSplit(torch.randn(12, 3), torch.zeros(12, dtype=torch.long))
    said: list[str] = []
    predictions = predict(model, layout, theta_MD, task=task, split=split, ctx=CTX.replace(warn=said.append))
    assert f"{kind.__name__} is run whole for every network, because its graph cannot be parted" in said[0]
    for theta_D, row in zip(theta_MD, predictions, strict=True):
        model.last.weight.data = layout.tensors(theta_D)["last.weight"]
        with torch.no_grad():
            assert torch.cat([task.predict(model, part) for part in split.inputs.split(5)]).equal(row)


def test_vectors_that_are_no_networks_are_refused() -> None:
    layout = Layout((Entry("w", (2,), 0), Entry("bn.running_var", (1,), 2, positive=True)))
    check(torch.tensor([[1.0, -2.0, 0.5]]), layout, "pdiff")
    with pytest.raises(UserError, match="pdiff: 1 of 2 sampled networks hold NaN or Inf"):
        check(torch.tensor([[1.0, 2.0, 0.5], [float("nan"), 0.0, 1.0]]), layout, "pdiff")
    with pytest.raises(UserError, match=r"bn\.running_var is negative"):
        check(torch.tensor([[1.0, 2.0, -0.1]]), layout, "pdiff")


@pytest.mark.parametrize(("message", "quick"), [
    ("There is a performance drop because we have not yet implemented the batching rule for aten::foo.", False),
    ("nll_loss2d does not have a deterministic implementation, but you set it", True),
])  # fmt: skip
def test_only_a_warning_of_vmap_speaks_against_several_at_a_time(message: str, quick: bool) -> None:
    class Warns(Way):
        def _joint(self, theta_mD, inputs, frozen):
            warnings.warn(message, stacklevel=1)
            return super()._joint(theta_mD, inputs, frozen)

    model = nn.Sequential(nn.Linear(3, 2))
    layout, theta_MD = networks(model, list(model.state_dict()))
    one = Way(model, layout, Classification())
    more = Warns(model, layout, Classification(), None, 4)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=message)
        seconds = chooser._try(more, one, theta_MD, one.prepare(torch.randn(5, 3)))
    assert (seconds < inf) == quick
