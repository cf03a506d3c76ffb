"""Networks that are trained in few bits, or with few of their weights."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from pdiff.context import Context, derive
from pdiff.errors import UserError
from pdiff.running.progress import Progress, Step
from pdiff.running.snapshot import Snapshot
from pdiff.training.loop import epoch_order
from pdiff.zoo import Layout
from pdiff_plugins.bits import grid, masks
from pdiff_plugins.collectors.seeds import training as joint_training
from pdiff_plugins.collectors.trajectory import Trajectory
from pdiff_plugins.images.classification import Classification
from tests.collectors.helpers import BATCH, COUNT, CPU, CTX, NETS, built, collect, options, splits

OWN = {"keep": 0.3, "masks": "own", "rounds": 2}


def follow(net: str = "mlp", keys: list[str] | None = None, ctx: Context = CTX, **changes):
    """Return the zoo of a trajectory from the base network."""
    make, shape = NETS[net]
    model = built(make, 0)
    layout = Layout.of(model, keys or list(model.state_dict()))
    options = Trajectory(**{"count": 6, "lr": 0.01, "batch_size": BATCH} | changes)
    return options.collect(
        model, data=splits(shape), task=Classification(), layout=layout, bench=None, ctx=ctx
    )  # fmt: skip


def on_grid(zoo, bits: int) -> None:
    """Check that every row has its steps, and no more values than bits allow."""
    assert grid.rounded(zoo.theta_ND, zoo.layout, bits).equal(zoo.theta_ND)
    for entry in grid.matrices(zoo.layout):
        rows = grid.rows(zoo.theta_ND, entry).flatten(0, 1)
        assert all(len(set(row.tolist()) - {0}) <= 2**bits for row in rows)


def plain(theta_D, zoo, make, batch) -> float:
    """Return a network's loss on a batch, in the mode of training, its weights being what they are."""
    model = built(make, 0).train()
    return float(F.cross_entropy(functional_call(model, zoo.state_dict(theta_D), batch.inputs), batch.targets))


@pytest.mark.parametrize(("net", "bits"), [("mlp", 4), ("cnn", 2), ("batch_norm", 3)])
def test_what_is_saved_lies_on_the_grid(net: str, bits: int) -> None:
    on_grid(collect(options(bits=bits), net), bits)
    on_grid(follow(net, bits=bits), bits)


@pytest.mark.parametrize(
    ("net", "change"), [("cnn", {"bits": 2}), ("batch_norm", OWN), ("mlp", {"bits": 2, "keep": 0.5})]
)
def test_the_loss_as_trained_is_that_of_what_is_saved(net: str, change: dict) -> None:
    zoo = collect(options(steps=4, every=1, **change), net)
    make, shape = NETS[net]
    for run in range(3):
        own = [(row, theta) for row, theta in zip(zoo.rows, zoo.theta_ND, strict=True) if row["run"] == run]
        for step, ((_, theta_D), (row, _)) in enumerate(itertools.pairwise(own)):
            batch = splits(shape).train.batch(epoch_order(COUNT, BATCH, step, derive(7, "run", run)), CPU)
            assert row["metrics"]["train_loss"] == pytest.approx(plain(theta_D, zoo, make, batch), rel=1e-4)


def test_the_trajectory_is_plain_straight_through_training() -> None:
    """Written plainly: the gradient at the rounded weights moves those that are not rounded."""
    zoo, keys = follow(bits=2, keep=0.6), list(built(NETS["mlp"][0], 0).state_dict())
    model, layout = built(NETS["mlp"][0], 0).eval(), zoo.layout
    mask_1D = masks.largest(layout.vector(model.state_dict())[None].abs(), layout, 0.6)
    hidden = {key: value.detach().clone().requires_grad_() for key, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(hidden.values(), lr=0.01, weight_decay=0)

    def rounded() -> dict[str, torch.Tensor]:
        theta_1D = masks.cut(layout.vector(hidden)[None], mask_1D)
        for entry in grid.matrices(layout):
            rows_1RL = grid.rows(theta_1D, entry)
            rows_1RL.copy_(grid.nearest(rows_1RL, grid.gaussian(rows_1RL, 2), 2))
        return {key: value[0] for key, value in layout.tensors(theta_1D).items()}

    for step in range(6):
        seen = {key: value.detach().clone().requires_grad_() for key, value in rounded().items()}
        drawn = torch.Generator().manual_seed(derive(7, "step", step))
        batch = splits((4,)).train.batch(epoch_order(COUNT, BATCH, step, 7), CPU, drawn)
        F.cross_entropy(functional_call(model, seen, batch.inputs), batch.targets).backward()
        kept = layout.tensors(mask_1D[0])
        for key in keys:
            hidden[key].grad = seen[key].grad * kept[key]
        optimizer.step()
        expected = torch.cat([value.flatten() for value in rounded().values()])
        torch.testing.assert_close(zoo.theta_ND[step], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "start"),
    [({"keep": 0.3, "bits": 3}, "shared"), (OWN, "independent"), (OWN | {"rewind": False}, "base")],
)
def test_exactly_a_share_is_kept_all_the_way(change: dict, start: str) -> None:
    zoo = collect(options(start=start, **change))
    count = len(masks.columns(zoo.layout))
    mask_ND = masks.kept(zoo.theta_ND, zoo.layout)
    assert masks.share(zoo.theta_ND, zoo.layout).tolist() == pytest.approx([masks.number(count, 0.3) / count] * 12)
    assert mask_ND.view(3, 4, -1).all(dim=1).equal(mask_ND[::4]), "at every step the same"
    assert bool((mask_ND == mask_ND[:1]).all()) == (change.get("masks") != "own")


def test_a_trajectory_begins_with_the_largest_weights_of_the_base_network() -> None:
    zoo = follow("cnn", keep=0.25, weight_decay=0.1)
    expected = masks.largest(zoo.base[None].abs(), zoo.layout, 0.25)
    assert masks.kept(zoo.theta_ND, zoo.layout).equal(expected.expand(6, -1))


def test_the_first_round_cuts_what_a_plain_training_leaves_smallest() -> None:
    plainly = collect(options(every=0, include_start=False), "mlp")
    zoo = collect(options(keep=0.4, masks="own"), "mlp")
    expected = masks.largest(plainly.theta_ND.abs(), plainly.layout, 0.4)
    assert masks.kept(zoo.theta_ND[::4], zoo.layout).equal(expected)
    begun = collect(options(), "mlp").theta_ND[::4]
    assert zoo.theta_ND[::4].equal(masks.cut(begun, expected)), "rewound"
    going = collect(options(keep=0.4, masks="own", rewind=False), "mlp")
    assert going.theta_ND[::4].equal(masks.cut(plainly.theta_ND, expected)), "not rewound"
    one = collect(options(keep=0.4), "mlp")
    assert masks.kept(one.theta_ND, one.layout).equal(expected[:1].expand(12, -1)), "shared: the first run's"


def test_what_is_under_the_mask_where_training_begins_has_no_effect() -> None:
    make = NETS["mlp"][0]
    model, own = built(make, 0), options(optimizer="sgd", weight_decay=0.1)
    layout = Layout.of(model, list(model.state_dict()))
    mask_1D = masks.largest(layout.vector(model.state_dict())[None].abs(), layout, 0.5)

    def trained(under: float) -> torch.Tensor:
        def start(run: int) -> nn.Module:
            network = built(make, run)
            theta_1D = layout.vector(network.state_dict())[None]
            network.load_state_dict(layout.tensors(torch.where(mask_1D, theta_1D, under * theta_1D)[0]))
            return network

        examples = joint_training.Examples(splits((4,)).train, own, model, CTX)
        training = joint_training.JointTraining(own, 3, [0, 21], start, model, examples, Classification(), layout, CTX)
        training.mask_RD = mask_1D
        return training.run()[0]

    theta_RSD = trained(1.0)
    assert theta_RSD.equal(trained(5.0)) and masks.kept(theta_RSD.flatten(0, 1), layout).equal(mask_1D.expand(6, -1))


class Killed(Exception):
    pass


class Killer(Progress):
    """Raises when so many units are done."""

    def __init__(self, units: float):
        self.units = units

    def step(self, what, total, done=0):
        outer = self

        class Counted(Step):
            def advance(self, count=1, **values):
                outer.units -= count
                if outer.units < 0:
                    raise Killed

        return contextlib.nullcontext(Counted())


@pytest.mark.usefixtures("saved_at_every_step")
@pytest.mark.parametrize("change", [OWN | {"rewind": False}, {"keep": 0.3, "bits": 2}], ids=["own", "shared"])
def test_killed_anywhere_it_ends_in_the_same_bytes(tmp_path: Path, change: dict, monkeypatch) -> None:
    monkeypatch.setattr(joint_training, "LARGEST_BLOCK", 8)
    own = options(count=9, steps=8, every=3, batch_size=20, **change)
    alone = collect(own, "batch_norm")
    ctx = CTX.replace(snapshot=Snapshot(tmp_path), threads=1)
    for units in (5, 40, 12):
        with pytest.raises(Killed):
            collect(own, "batch_norm", ctx=ctx.replace(progress=Killer(units)))
    again = collect(own, "batch_norm", ctx=ctx.replace(progress=Killer(10**9)))
    assert again.theta_ND.equal(alone.theta_ND) and again.rows == alone.rows


@pytest.mark.parametrize("change", [{"bits": 2}, OWN], ids=["bits", "own"])
def test_a_run_does_not_depend_on_how_many_are_trained_with_it(change: dict) -> None:
    own = {"steps": 4, "every": 2, "batch_size": 20} | change
    few = collect(options(**own), "mlp")
    assert collect(options(count=20, **own), "mlp").theta_ND[: len(few)].equal(few.theta_ND)


def test_keys_of_before_and_examples_read() -> None:
    assert "bits" not in options().identity() and "keep" not in Trajectory(lr=0.1).identity()
    assert options(bits=2).identity() != options().identity() != options(keep=0.5).identity()
    once = options().examples(COUNT)
    assert options(**OWN).examples(COUNT) == 3 * once
    assert options(keep=0.5, rounds=2).examples(COUNT) == once * 5 / 3


def test_mistakes() -> None:
    with pytest.raises(ValidationError, match="keep = 1 cuts none"):
        options(masks="own")
    with pytest.raises(ValidationError, match="2 to 8"):
        options(bits=1)
    with pytest.raises(UserError, match=r"collect.bits = 2: no selected entry is a matrix"):
        collect(options(bits=2, start="base"), "batch_norm", ["1.weight", "1.bias"])
    with pytest.raises(UserError, match=r"collect.keep = 0.5: no selected entry is a matrix"):
        follow("batch_norm", ["1.weight", "1.bias"], keep=0.5)
