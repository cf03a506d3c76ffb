"""Populations: sharing the frozen part changes no prediction."""

from __future__ import annotations

from math import inf

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.errors import UserError
from pdiff.plugins.discovery import registry
from pdiff.populations import ways
from pdiff.populations.parting import Parted, entry_of
from pdiff.populations.predictor import Predictor, check, predict, score_model
from pdiff.populations.ways import Way
from pdiff.running.memory import free_bytes, in_chunks
from pdiff.running.progress import PlainProgress
from pdiff.zoo import Entry, Layout
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.networks.small import MlpMini
from pdiff_plugins.selectors import Entire, LastNorms, Layers

CTX = Context(seed=0, batch_size=5)


def networks(model: nn.Module, keys: list[str], count: int = 4) -> tuple[Layout, torch.Tensor]:
    layout = Layout.of(model, keys)
    base = layout.to_free(layout.vector(model.state_dict()))
    noise = torch.randn(count, layout.dim, generator=torch.Generator().manual_seed(1))
    return layout, layout.from_free(base + 0.1 * noise)


def plain(
    model: nn.Module, layout: Layout, theta_MD: torch.Tensor, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One network after the other, through load_state_dict: classes `[M, E]` and logits."""
    rows = []
    for theta_D in theta_MD:
        state = {key: value.clone() for key, value in model.state_dict().items()}
        model.load_state_dict(state | layout.tensors(theta_D))
        with torch.no_grad():
            rows.append(torch.cat([model.eval()(part) for part in x.split(5)]))
        model.load_state_dict(state)
    logits = torch.stack(rows)
    return logits.argmax(dim=2), logits


FIELDS = {"siren": (2,), "relu_pe": (2,), "hyperdiffusion_mlp": (3,)}
SHAPES = {"hyper_cnn": (1, 28, 28), "mlp_mini": (1, 16, 16), "convnext_mini": (3, 64, 64), "cnn_medium": (1, 32, 32)}
SHAPES |= FIELDS
BIG = ("convnext_base", "vit_base", "resnet50", "vit_tiny")  # timm's attention cannot be batched over networks


def architectures() -> list:
    others = {"timm_model", "detection", "segmentation", "generation"}  # the last three have tests of their own
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
    if name in ("cnn_medium", "hyper_cnn", "mlp", "gpt_cnn", *FIELDS) and not isinstance(selector, Entire):
        selector = Layers(layer="linear", positions=(-1,))  # they have no norm
    keys = selector.select(model)
    layout, theta_MD = networks(model, keys, count=2 if name in BIG else 3)
    x = torch.randn(4 if name in BIG else 9, *shape)
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
        monkeypatch.setattr(ways, limit, 0.0)
    monkeypatch.setattr(ways, "TRIAL", 10.0)
    # What a trial finds depends on what else the machine does: here parting always pays.
    monkeypatch.setattr(ways, "_seconds", lambda way, parts, batch: 0.01 if way.parted else 0.1)
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=10)
    layout, theta_MD = networks(model, LastNorms(n=2).select(model), count=6)
    split = TensorSplit(torch.randn(12, 3, 32, 32), torch.zeros(12, dtype=torch.long))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    said: list[str] = []
    progress = PlainProgress(said.append)
    predictor = Predictor(model, layout, Classification())
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
    monkeypatch.setattr(ways, "_seconds", lambda *_: 1.0)
    monkeypatch.setattr(ways, "_try", lambda more, *_: trials.append(more.at_once) or seconds[more.at_once])
    monkeypatch.setattr(ways, "TRIAL", 10.0)
    model = nn.Linear(3, 2)
    layout, theta_MD = networks(model, ["weight", "bias"], count=300)
    way = ways.Chooser(model, layout, Classification()).choose(theta_MD, torch.randn(5, 3), 1, CTX, "predict")
    assert (trials, way.at_once) == (tried, chosen)


def operations(part: torch.fx.GraphModule) -> list[str]:
    return [str(node.target) for node in part.graph.nodes if node.op == "call_function"]


def flops(function) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "selector", "low", "high"),
    [
        # One 3 x 3 convolution of the last block: 0.116 of 1.82 G multiply-adds.
        ("resnet18", LastNorms(n=2), 0.055, 0.07),
        # The MLP of one block in twelve is 5.5 %, but only the class token is read in the end.
        ("vit_tiny_patch16_224", LastNorms(n=2), 0.0, 0.001),
        # One block's MLP is 5.2 %, the second half of it behind the pooling.
        ("convnext_tiny", LastNorms(n=2), 0.02, 0.03),
        ("resnet18", Layers(layer="norm", positions=(9,), skip=("*downsample*",)), 0.4, 0.6),
    ],
    ids=["resnet18", "vit", "convnext", "resnet18 layer3"],
)
def test_the_share_of_the_work_that_is_left_per_network(name, selector, low: float, high: float) -> None:
    model = timm.create_model(name).eval()
    keys = selector.select(model)
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        parted = Parted(model, keys, (x,))
        kept = parted.prefix(x)
        own = {key: entry_of(model, key) for key in keys}
        share = flops(lambda: parted.suffix(own, kept)) / flops(lambda: model(x))
        assert low <= share <= high
        assert parted.suffix(own, kept).allclose(model(x), atol=1e-5)


def test_nothing_is_shared_behind_the_first_layer() -> None:
    model = timm.create_model("resnet18").eval()
    with torch.no_grad():
        assert not Parted(model, ["conv1.weight"], (torch.randn(1, 3, 32, 32),)).shares_work


class Commuting(nn.Module):
    """All that a slice and a mean can pass, and some that they cannot."""

    def __init__(self, reduce) -> None:
        super().__init__()
        self.reduce, self.first, self.norm = reduce, nn.Linear(6, 6), nn.LayerNorm(6)
        self.second, self.bn, self.gamma = nn.Linear(6, 6), nn.BatchNorm1d(4), nn.Parameter(torch.randn(4, 1))
        nn.init.normal_(self.bn.running_mean)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = nn.functional.gelu(self.second(self.norm(self.first(x))))
        h = self.bn(self.gamma * self.second(h) + x) - 0.5 * h
        return self.reduce(h)


REDUCTIONS = {
    "token": lambda h: h[:, 1], "last token": lambda h: h[:, -1], "tokens": lambda h: h[:, 1:3],
    "mean": lambda h: h.mean(dim=1), "mean over channels": lambda h: h.mean(-1, keepdim=True),
    "transposed": lambda h: h.permute(2, 0, 1).mean(dim=-1), "both": lambda h: h.mean(dim=(1, 2)),
    "channel": lambda h: h[..., 2],
}  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("key", ["first.bias", "norm.weight", "second.weight", "bn.running_var", "gamma"])
def test_moving_a_slice_or_a_mean_changes_no_output(reduction: str, key: str) -> None:
    torch.manual_seed(1)
    model = Commuting(REDUCTIONS[reduction]).double().eval()
    x, other = torch.randn(3, 4, 6, dtype=torch.float64), torch.rand(entry_of(model, key).shape, dtype=torch.float64)
    with torch.no_grad():
        parted = Parted(model, [key], (x,))
        ours = parted.suffix({key: other}, parted.prefix(x))
        batched = torch.vmap(lambda value: parted.suffix({key: value}, parted.prefix(x)))(other[None])[0]
        model.load_state_dict(model.state_dict() | {key: other})
        assert ours.allclose(model(x), atol=1e-12) and batched.allclose(model(x), atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("stride", "padding", "side"), [(1, 1, 1), (1, 1, 2), (2, 1, 2), (1, 0, 3), (1, 1, 3)])
def test_a_convolution_wider_than_its_image_is_a_linear_layer(bias: bool, stride: int, padding: int, side: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 5, 3, stride, padding, bias=bias)).double().eval()
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        parted = Parted(model, ["0.weight"], (x,))
        scale = torch.rand(3, dtype=torch.float64)
        ours = parted.suffix({"0.weight": scale}, parted.prefix(x))
        assert ("aten.conv2d.default" in operations(parted._suffix)) == (side == 3)
        model[0].weight.data = scale
        assert ours.allclose(model(x), atol=1e-12)


class Tied(nn.Module):
    """One tensor under two names, both on the way to the output."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.last.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.middle(self.first(x)).relu_())


def test_a_tied_entry_is_selected_wherever_it_is_read() -> None:
    model, x = Tied().eval(), torch.randn(2, 3)
    with torch.no_grad():
        parted = Parted(model, ["last.weight"], (x,))
        other = torch.randn(3, 3)
        ours = parted.suffix({"last.weight": other}, parted.prefix(x))
        model.first.weight.data = other
        assert ours.allclose(model(x))


class Twice(Classification):
    """A task that looks at an image and its mirror image."""

    name = "twice"

    def predict(self, model, inputs):
        return (model(inputs) + model(inputs.flip(-1))).argmax(dim=1)


def test_out_of_memory_it_goes_on_with_less(monkeypatch) -> None:
    torch.manual_seed(0)
    model = MlpMini().build(input_shape=(1, 16, 16), outputs=10)
    layout, theta_MD = networks(model, Entire().select(model), count=9)
    split = TensorSplit(torch.randn(12, 1, 16, 16), torch.zeros(12, dtype=torch.long))
    expected = plain(model, layout, theta_MD, split.inputs)[0]
    whole, limit = Way._joint, 10

    def tight(self, theta_mD, inputs, kept):
        if len(theta_mD) * len(inputs) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, theta_mD, inputs, kept)

    monkeypatch.setattr(Way, "_joint", tight)
    predictor, said = Predictor(model, layout, Classification()), []
    predictor.chooser.known[(torch.Size((5, 1, 16, 16)),)] = (99, Way(model, layout, Classification(), None, 8))
    assert predictor.predict(theta_MD, split, CTX.replace(warn=said.append), "p").long().equal(expected)
    limit = 3
    assert predictor.predict(theta_MD, split, CTX.replace(warn=said.append), "p").long().equal(expected)
    assert said == ["p: out of memory; going on with 3 examples at a time"]
    limit = 0
    with pytest.raises(UserError, match="p: not even one example fits into the memory of cpu"):
        predictor.predict(theta_MD, split, CTX.replace(warn=said.append), "p")


def test_chunks_are_halved_when_memory_runs_out() -> None:
    def tight(rows: torch.Tensor) -> torch.Tensor:
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 2 * rows

    rows = torch.arange(10.0)
    assert in_chunks(tight, rows, 8).equal(2 * rows)
    assert in_chunks(tight, rows[:0], 8).numel() == 0
    with pytest.raises(RuntimeError, match="something else"):
        in_chunks(lambda rows: (_ for _ in ()).throw(RuntimeError("something else")), rows, 8)
    assert free_bytes(torch.device("cpu")) > 2**20


class InPlace(nn.Module):
    """Overwrites a frozen value with one that depends on the selection."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frozen = self.first(x)
        frozen.add_(self.last(x))
        return frozen


class Branches(nn.Module):
    """Control flow that depends on values: no graph can be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(x) if x.sum() > 0 else self.last(-x)


def test_what_is_overwritten_in_place_is_parted_rightly() -> None:
    torch.manual_seed(0)
    model, x = InPlace().eval(), torch.randn(4, 3)
    with torch.no_grad():
        parted = Parted(model, ["last.weight"], (x,))
        kept = parted.prefix(x)
        for _ in range(2):
            other = torch.randn(3, 3)
            ours = parted.suffix({"last.weight": other}, kept)
            model.last.weight.data = other
            assert ours.allclose(model(x))


@pytest.mark.parametrize(("kind", "task"), [(Branches, Classification()), (InPlace, Twice())])
def test_a_network_that_cannot_be_parted_runs_as_it_is(kind, task, monkeypatch) -> None:
    for limit in ("WORTH_S", "QUICK_S"):
        monkeypatch.setattr(ways, limit, 0.0)
    torch.manual_seed(0)
    model = kind().eval()
    layout, theta_MD = networks(model, ["last.weight"])
    split = TensorSplit(torch.randn(12, 3), torch.zeros(12, dtype=torch.long))
    said: list[str] = []
    predictions = predict(model, layout, theta_MD, task=task, split=split, ctx=CTX.replace(warn=said.append), what="")
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
