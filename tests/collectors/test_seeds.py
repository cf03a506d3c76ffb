"""The collector of seeds: each run is a plain training, whatever is trained beside it."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import pdiff
from pdiff.context import Context, derive
from pdiff.data import Batch, DatasetSplits, TensorSplit
from pdiff.errors import UserError
from pdiff.running.progress import Progress, Step
from pdiff.running.snapshot import Snapshot
from pdiff.testing import check_component
from pdiff.training.loop import epoch_order
from pdiff.zoo import Layout
from pdiff_plugins.collectors.joint import functions as joint_functions
from pdiff_plugins.collectors.joint import training as joint_training
from pdiff_plugins.collectors.joint.layers import JointLayers
from pdiff_plugins.collectors.joint.network import Network
from pdiff_plugins.collectors.seeds import Seeds
from pdiff_plugins.images.classification import Classification

COUNT, BATCH, CPU = 40, 16, torch.device("cpu")


class Shifted(TensorSplit):
    """Its training transform adds one random number to the batch."""

    def batch(self, index, device, augment=None):
        inputs, targets = super().batch(index, device)
        return Batch(inputs + torch.randn(1, generator=augment) if augment else inputs, targets)


def splits(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> DatasetSplits:
    x = torch.randn(COUNT, *shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    split = Shifted(x, x.flatten(1)[:, :3].argmax(dim=1))
    return DatasetSplits(split, split, split, shape, 3)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3))


def cnn() -> nn.Module:
    first = [nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.LayerNorm([4, 5, 5]), nn.LeakyReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *first, nn.Conv2d(4, 5, 3, padding=1), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(5, 3)
    )


def batch_norm() -> nn.Module:
    # No biases before the norms: their gradients are zero but for rounding, of which Adam makes whole steps.
    first = [nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(36, 6, bias=False), nn.BatchNorm1d(6), nn.Linear(6, 3))


NETS = {"mlp": (mlp, (4,)), "cnn": (cnn, (2, 9, 9)), "batch_norm": (batch_norm, (2, 9, 9))}


def built(make, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return make()


def context(make, **changes) -> Context:
    return replace(Context(seed=7, build=lambda seed: built(make, seed)), **changes)


def collect(options: Seeds, net: str = "mlp", keys: list[str] | None = None, ctx: Context | None = None):
    make, shape = NETS[net]
    model = built(make, 0)
    layout = Layout.of(model, keys or list(model.state_dict()))
    return options.collect(
        model, data=splits(shape), task=Classification(), layout=layout, ctx=ctx or context(make)
    )  # fmt: skip


def plainly(options: Seeds, model: nn.Module, run: int, data: DatasetSplits, keys: list[str]) -> dict[int, tuple]:
    """Train one network in the ordinary way; return the selected parameters and the mean loss by saved step."""
    seed, parameters = derive(7, "run", run), [p for k, p in model.named_parameters() if k in keys]
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[options.optimizer]
    more = {"momentum": 0.9} if options.optimizer == "sgd" else {}
    optimizer = kind(parameters, lr=options.lr, weight_decay=options.weight_decay, **more)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    layout, found, losses = Layout.of(model, keys), {}, []
    model.train()
    for step in range(options.steps + 1):
        if step in options.saved_steps():
            found[step] = (layout.vector(model.state_dict()).clone(), sum(losses) / len(losses) if losses else None)
            losses = []
        if step == options.steps:
            return found
        drawn = torch.Generator().manual_seed(derive(seed, "step", step)) if options.augment else None
        batch = data.train.batch(epoch_order(COUNT, options.batch_size, step, seed), CPU, drawn)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch.inputs), batch.targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if options.schedule == "cosine":
            cosine.step()


def options(**changes) -> Seeds:
    own = {"count": 3, "steps": 21, "lr": 0.01, "batch_size": BATCH, "every": 8, "include_start": True}
    return Seeds(**own | changes)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(
    "change",
    [
        {"weight_decay": 0.1},
        {"optimizer": "sgd", "weight_decay": 0.01, "schedule": "constant"},
        {"optimizer": "adam", "weight_decay": 0.01, "augment": True},
    ],
    ids=lambda change: change.get("optimizer", "adamw"),
)
def test_each_run_is_a_plain_training(net: str, change: dict) -> None:
    zoo = collect(options(**change), net)
    make, shape = NETS[net]
    assert [(row["run"], row["step"]) for row in zoo.rows] == [(r, s) for r in range(3) for s in (0, 8, 16, 21)]
    for run in range(3):
        model = built(make, derive(7, "run", run))
        expected = plainly(options(**change), model, run, splits(shape), list(model.state_dict()))
        for row, theta in zip(zoo.rows, zoo.theta_ND, strict=True):
            if row["run"] == run:
                vector, loss = expected[row["step"]]
                torch.testing.assert_close(theta, vector, atol=2e-4, rtol=2e-3)
                assert row["metrics"] == ({"train_loss": pytest.approx(loss, rel=1e-3)} if row["step"] else {})


class Odd(nn.Module):
    """Convolutions and poolings of all sorts, some of which are left to torch."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 4, (3, 2), stride=(2, 3), padding=(1, 0))
        self.b = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
        self.c = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.d = nn.Conv2d(6, 4, 3, padding="same", dilation=2)
        self.e = nn.Conv2d(4, 4, 1, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.LayerNorm([4, 4, 4], bias=False), nn.LayerNorm(4)])
        self.head = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        x = self.norms[0](self.a(x)).relu()
        x = F.max_pool2d(x, 2, stride=1) + F.avg_pool2d(x, 3, 1, padding=1)[:, :, 1:, 1:]
        x = self.e(self.d(self.c(self.b(x).relu())))
        x = self.norms[1](F.interpolate(x, size=4)).relu()
        x = F.max_pool2d(F.avg_pool2d(x, 1), (2, 1))
        x = self.norms[2](x.mean(dim=(2, 3)))
        return self.head(x)


@pytest.mark.parametrize("patches", [joint_functions.PATCH_BYTES, 0])
@pytest.mark.parametrize(("make", "shape"), [*NETS.values(), (Odd, (2, 11, 14))])
def test_gradients_are_those_of_one_network_alone(make, shape, patches, monkeypatch) -> None:
    monkeypatch.setattr(joint_functions, "PATCH_BYTES", patches)
    models = [built(make, seed).double().train() for seed in range(3)]
    template, ctx = built(make, 9).double().train(), Context(seed=0)
    network = Network(template, Layout.of(template, list(template.state_dict())), Classification(), ctx)
    theta_GT, buffers = network.stacked(models)
    x = torch.randn(3, 8, *shape, dtype=torch.float64).round(decimals=1)  # equal values in one window, too
    y = torch.randint(3, (3, 8))
    gradient_GT, losses_G, *after = network.trace(Batch(x, y), theta_GT, buffers)(theta_GT, x, y, *buffers)
    for index, model in enumerate(models):
        loss = F.cross_entropy(model(x[index]), y[index])
        loss.backward()
        assert losses_G[index].item() == pytest.approx(loss.item(), rel=1e-12)
        expected = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        torch.testing.assert_close(gradient_GT[index], expected, atol=1e-11, rtol=1e-9)
        for own, buffer in zip(after, model.buffers(), strict=True):
            torch.testing.assert_close(own[index], buffer, atol=1e-12, rtol=1e-12)


def test_of_equal_values_in_a_window_the_first_has_the_gradient() -> None:
    x = torch.zeros(2, 8, 1, 4, 4).permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3)

    def loss(x):
        with JointLayers():
            return F.max_pool2d(x, 2).sum()

    own = torch.func.grad(lambda x: torch.func.vmap(loss)(x).sum())(x)
    single = x[0].clone().requires_grad_()
    F.max_pool2d(single, 2).sum().backward()
    assert own[0].equal(single.grad)


@pytest.mark.parametrize("net", NETS)
def test_a_run_does_not_depend_on_how_many_are_trained_with_it(net: str, monkeypatch) -> None:
    monkeypatch.setattr(joint_training, "LARGEST_BLOCK", 16)
    few_steps = functools.partial(options, steps=4, every=2, batch_size=20)
    few = collect(few_steps(), net)
    for count, change, threads in ((20, {}, 1), (20, {"group": 3}, 2), (33, {"group": 64}, 2)):
        make = NETS[net][0]
        many = collect(few_steps(count=count, **change), net, ctx=context(make, threads=threads))
        assert many.theta_ND[: len(few)].equal(few.theta_ND) and many.rows[: len(few)] == few.rows
        assert len({tuple(theta.tolist()) for theta in many.theta_ND}) == len(many)


def test_the_group_is_no_part_of_the_identity() -> None:
    assert options(group=3).identity() == options(group=64).identity()
    assert options(count=4).identity() != options().identity()


class Killed(Exception):
    pass


class Killer(Progress):
    """Raises when so many units are done; `begun` holds (total, done) of each step."""

    def __init__(self, units: float):
        self.units, self.begun = units, []

    def step(self, what, total, done=0):
        outer = self
        self.begun.append((total, done))

        class Counted(Step):
            def advance(self, count=1, **values):
                outer.units -= count
                assert values["loss"] > 0
                if outer.units < 0:
                    raise Killed

        return contextlib.nullcontext(Counted())


@pytest.mark.parametrize("change", [{}, {"optimizer": "sgd", "augment": True}], ids=["adamw", "sgd"])
def test_killed_anywhere_it_ends_in_the_same_bytes(tmp_path: Path, change: dict, monkeypatch) -> None:
    monkeypatch.setattr(joint_training, "LARGEST_BLOCK", 8)
    monkeypatch.setattr(Snapshot, "due", lambda self: True)
    own, make = options(count=11, steps=33, every=7, batch_size=20, **change), batch_norm
    alone = collect(own, "batch_norm")
    ctx = context(make, snapshot=Snapshot(tmp_path), threads=1)
    begun = []
    for units in (100, 150, 20):
        killer = Killer(units)
        with pytest.raises(Killed):
            collect(own, "batch_norm", ctx=ctx.replace(progress=killer))
        begun += killer.begun
    last = Killer(10**9)
    again = collect(own, "batch_norm", ctx=ctx.replace(progress=last))
    assert again.theta_ND.equal(alone.theta_ND) and again.rows == alone.rows
    assert [total for total, _ in begun] == [11 * 33] * 3
    done = [done for _, done in [*begun, *last.begun]]
    assert done[0] == 0 and sorted(set(done)) == done, "it went on where it was killed"


def test_a_snapshot_of_other_options_is_not_taken(tmp_path: Path) -> None:
    ctx = context(mlp, snapshot=Snapshot(tmp_path))
    collect(options(lr=0.5), ctx=ctx)
    assert collect(options(), ctx=ctx).theta_ND.equal(collect(options()).theta_ND)


def test_shared_runs_leave_one_network_which_is_the_anchor() -> None:
    zoo = collect(options(start="shared"), "batch_norm", ["0.weight", "5.weight"])
    first = zoo.theta_ND[[0, 4, 8]]
    assert first.equal(zoo.base.expand(3, -1)) and not zoo.theta_ND[3].equal(zoo.theta_ND[7])
    assert not zoo.anchor["7.bias"].equal(built(batch_norm, 0).state_dict()["7.bias"]), "not the base network"


def test_from_the_base_network_all_but_the_selection_is_frozen() -> None:
    keys = ["4.weight", "4.bias"]
    zoo = collect(options(start="base"), "cnn", keys, ctx=Context(seed=7))
    base = built(cnn, 0)
    assert all(value.equal(base.state_dict()[key]) for key, value in zoo.anchor.items())
    expected = plainly(options(), base, 1, splits((2, 9, 9)), keys)
    torch.testing.assert_close(zoo.theta_ND[7], expected[21][0], atol=1e-4, rtol=1e-3)


def test_which_steps_are_saved() -> None:
    own = {"count": 2, "lr": 1.0}
    assert Seeds(**own, steps=10).saved_steps() == [10]
    assert Seeds(**own, steps=10, every=4, include_start=True).saved_steps() == [0, 4, 8, 10]
    assert Seeds(**own, steps=8, every=4).saved_steps() == [4, 8]


def test_independent_runs_need_everything_selected() -> None:
    with pytest.raises(UserError, match=r"'1.running_mean' is not selected.*'entire'"):
        collect(options(), "batch_norm", [key for key, _ in batch_norm().named_parameters()])
    with pytest.raises(UserError, match="names no trainable parameter"):
        collect(options(start="base"), "batch_norm", ["1.running_mean"])


def test_networks_that_draw_random_numbers_are_refused() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.2), nn.Linear(6, 3))

    for rate, match in ((0.2, "dropout or the like"), (0.0, None)):
        model = make()
        model[1].p = rate
        layout = Layout.of(model, list(model.state_dict()))
        ctx = context(make)
        arguments = {"data": splits((4,)), "task": Classification(), "layout": layout, "ctx": ctx}
        if match is None:
            assert len(options().collect(model, **arguments)) == 12
        else:
            with pytest.raises(UserError, match=match) as caught:
                options().collect(model, **arguments)
            assert "\n" not in str(caught.value)


class Deciding(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x) if x.sum() > 0 else self.head(-x)


def test_networks_that_cannot_be_batched_are_one_line() -> None:
    model = Deciding()
    layout = Layout.of(model, list(model.state_dict()))
    with pytest.raises(UserError, match="cannot be trained together") as caught:
        options().collect(
            model, data=splits((4,)), task=Classification(), layout=layout, ctx=context(Deciding)
        )  # fmt: skip
    assert "\n" not in str(caught.value)


def test_runs_that_diverge_are_left_out_and_told() -> None:
    lost, warned = derive(7, "run", 1), []

    def build(seed: int) -> nn.Module:
        model = built(mlp, seed)
        if seed == lost:
            nn.init.constant_(model[3].weight, float("nan"))
        return model

    whole = collect(options())
    zoo = collect(options(), ctx=Context(seed=7, build=build, warn=warned.append))
    assert [row["run"] for row in zoo.rows] == [0] * 4 + [2] * 4
    assert zoo.theta_ND.equal(whole.theta_ND[[0, 1, 2, 3, 8, 9, 10, 11]])
    assert len(warned) == 1 and warned[0].startswith("collect: 1 of 3 runs diverged")
    with pytest.raises(UserError, match=r"3 of 3 runs diverged .* lower collect.lr \(it is 1e\+30\)"):
        collect(options(lr=1e30, optimizer="sgd"))


def test_examples_that_are_too_many_are_read_batch_by_batch(monkeypatch) -> None:
    whole = collect(options())
    monkeypatch.setattr(joint_training, "READY_BYTES", 0)
    assert collect(options()).theta_ND.equal(whole.theta_ND)


def test_bfloat16_changes_little() -> None:
    zoo = collect(options(steps=4), "cnn", ctx=context(cnn, precision="bfloat16"))
    exact = collect(options(steps=4), "cnn")
    assert not zoo.theta_ND.equal(exact.theta_ND)
    torch.testing.assert_close(zoo.theta_ND, exact.theta_ND, atol=0.1, rtol=0)


def test_it_keeps_the_contract_of_collectors() -> None:
    check_component(Seeds, strict=True, count=3, steps=4, lr=0.01, batch_size=20, start="base")


def test_a_recipe_with_seeds_runs_to_the_end(tiny: Path, here: Path) -> None:
    collector = {"name": "seeds", "count": 20, "steps": 30, "every": 10, "lr": 3e-3, "batch_size": 64}
    recipe = tiny.read_text().split("[collect]")
    table = "\n".join(f"{key} = {value!r}" for key, value in collector.items())
    tiny.write_text(recipe[0] + f"[collect]\n{table}\n\n[method]" + recipe[1].split("[method]")[1])
    run = pdiff.run(tiny, quiet=True)
    assert run.theta("original").shape == (60, run.theta().shape[1])
    assert run.scores["networks"]["original"]["accuracy"]["mean"] > 0.2
