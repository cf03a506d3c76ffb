"""Inputs of several tensors, and of whole numbers, through everything that calls a network."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pdiff.components import Architecture
from pdiff.context import Context
from pdiff.data import DatasetSplits, TensorSplit, evaluation_size
from pdiff.engine.scores import scores_of
from pdiff.errors import UserError
from pdiff.networks import build_network
from pdiff.populations.predictor import Predictor
from pdiff.testing import tiny_run
from pdiff.training.loop import epoch_order
from pdiff.zoo import Layout
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.populations import chooser
from pdiff_plugins.populations.parting import Parted
from pdiff_plugins.populations.ways import Way
from tests.populations.helpers import networks

G = torch.Generator().manual_seed(2)
IDS, MASK = torch.randint(20, (50, 6), generator=G), torch.rand(50, 6, generator=G) > 0.3
Y = ((IDS < 10) & MASK).sum(dim=1).gt(2).long()
CPU = torch.device("cpu")


class ByName(nn.Module):
    """Ids and a mask, each an argument, as networks of language have them."""

    def __init__(self):
        super().__init__()
        self.embedding, self.hidden, self.head = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, ids, mask):
        mask_BL1 = mask[..., None].float()
        mean = (self.embedding(ids) * mask_BL1).sum(dim=1) / mask_BL1.sum(dim=1).clamp_min(1)
        return self.head(self.hidden(mean).relu())


class AsOne(ByName):
    """The same, as one argument."""

    def forward(self, inputs):
        return super().forward(*(inputs.values() if isinstance(inputs, dict) else inputs))


class Other(nn.Module):
    """Takes something else."""

    def forward(self, left, right, middle):
        return left


class Of(Architecture):
    """A network of these tests."""

    name = "of"

    def build(self, *, input_shape, outputs):
        return NETS[self.weights or "ByName"]()


NETS = {net.__name__: net for net in (ByName, AsOne, Other)}
FORMS = {"dict": {"ids": IDS, "mask": MASK}, "tuple": (IDS, MASK)}


def data(form: str) -> DatasetSplits:
    split = TensorSplit(FORMS[form], Y)
    shape = {"ids": (6,), "mask": (6,)} if form == "dict" else ((6,), (6,))
    return DatasetSplits(split, split, split, shape, 2)


def built(net: str, form: str) -> nn.Module:
    class One(Of):
        name = "one"

        def build(self, *, input_shape, outputs):
            return NETS[net]()

    return build_network(One(), data(form), seed=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("net", ["ByName", "AsOne"])
def test_a_network_takes_several_inputs_one_by_one_or_as_one(form: str, net: str) -> None:
    model, plain = built(net, form).eval(), ByName().eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(FORMS[form]), plain(IDS, MASK))
    if net == "ByName":  # those who hand them over one by one still can
        assert torch.equal(model(IDS, MASK), plain(IDS, MASK))
        assert torch.equal(model(ids=IDS, mask=MASK), plain(IDS, MASK))


def test_a_network_that_takes_neither_is_refused_with_the_names() -> None:
    with pytest.raises(
        UserError, match=r"forward\(left, right, middle\) does not take .* \(several inputs: ids, mask\)"
    ):
        built("Other", "dict")
    with pytest.raises(UserError, match=r"network Other: .* \(2 inputs in their order\)"):
        built("Other", "tuple")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("net", ["ByName", "AsOne"])
def test_all_ways_predict_as_one_whole_network_after_the_other(form: str, net: str) -> None:
    model, task = built(net, form).eval(), Classification()
    layout, theta_MD = networks(model, ["head.weight", "head.bias"], count=5)
    expected = []
    for theta_D in theta_MD:
        single = ByName().eval()
        single.load_state_dict(model.state_dict() | layout.tensors(theta_D))
        expected.append(single(IDS, MASK).argmax(dim=1).to(torch.int16))
    split, ctx = data(form).test, Context(seed=0, batch_size=16)  # the last batch is short
    parted = Parted(model, layout.keys, (data(form).test.batch(torch.arange(16), CPU).inputs,))
    assert parted.shares_work
    ways = [Way(model, layout, task), Way(model, layout, task, at_once=4), Way(model, layout, task, parted, 4, 16)]
    for way in ways:

        class Chosen:
            def choose(self, *given, way=way):
                return way

        given = Predictor(model, layout, task, Chosen()).predict(theta_MD, split, ctx, "predict")
        assert torch.equal(given, torch.stack(expected)), str(way)


def test_the_chooser_parts_a_network_of_several_inputs(monkeypatch) -> None:
    monkeypatch.setattr(chooser, "QUICK_S", 0.0)
    monkeypatch.setattr(chooser, "WORTH_S", -1.0)
    model = built("ByName", "dict").eval()
    layout, theta_MD = networks(model, ["head.weight", "head.bias"], count=5)
    found = chooser.Chooser(model, layout, Classification())
    warned = []
    batch = data("dict").test.batch(torch.arange(16), CPU)
    with torch.no_grad():
        found.choose(theta_MD, batch.inputs, 4, Context(seed=0, warn=warned.append), "predict")
    assert not warned and all(isinstance(parted, Parted) for parted in found.parted.values())


def test_sizes_count_all_inputs(monkeypatch) -> None:
    one, two = TensorSplit(torch.zeros(200, 2**17), torch.zeros(200)), torch.zeros(200, 2**16)
    assert evaluation_size(one, 0, CPU) == evaluation_size(TensorSplit({"a": two, "b": two}, one.targets), 0, CPU) == 64


@pytest.mark.parametrize("collect", ["trajectory", "seeds"])
def test_a_whole_run_of_two_inputs_trains_as_written_plainly(tmp_path, collect: str) -> None:
    own = {"name": collect, "count": 8, "lr": 0.01, "batch_size": 16, "optimizer": "sgd"}
    run = tiny_run(
        tmp_path, architecture=Of(), task=Classification(), train={"epochs": 1, "batch_size": 20},
        collect=own | ({"steps": 4, "schedule": "constant"} if collect == "seeds" else {}),
        baseline=[{"name": "soup"}], evaluate=[{"name": name} for name in ("accuracy", "similarity", "audit")],
    )  # fmt: skip
    run.data = data("dict")
    zoo, model = run.zoo, ByName()
    if collect == "trajectory":
        model.load_state_dict(run.base_network().state_dict())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        for step in range(3):
            index = epoch_order(50, 16, step, run.context("collect").seed)
            optimizer.zero_grad()
            F.cross_entropy(model(IDS[index], MASK[index]), Y[index]).backward()
            optimizer.step()
        assert torch.allclose(zoo.theta_ND[2], zoo.layout.vector(model.state_dict()), atol=1e-6)
    assert zoo.theta_ND.std(dim=0).max() > 0
    scores = scores_of(run)
    model.load_state_dict(zoo.anchor | zoo.layout.tensors(zoo.theta_ND[3]))
    right = (model.eval()(IDS, MASK).argmax(dim=1) == Y).double().mean()
    assert scores["networks"]["original"]["accuracy"]["values"][3] == pytest.approx(float(right))


def test_lazy_layers_behind_an_embedding_see_whole_numbers() -> None:
    class Lazy(Architecture):
        """An embedding, then a layer that finds out its size."""

        name = "lazy"

        def build(self, *, input_shape, outputs):
            return nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.LazyLinear(outputs))

    split = TensorSplit(IDS, Y)
    model = build_network(Lazy(), DatasetSplits(split, split, split, (6,), 2), seed=0)
    assert model[2].weight.shape == (2, 24)
    assert Layout.of(model, list(model.state_dict())).dim == 20 * 4 + 2 * 24 + 2
