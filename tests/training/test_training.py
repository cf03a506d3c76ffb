"""The training loop: resumed runs end in the same bytes, and it optimises what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.running.device import placed
from pdiff.running.snapshot import Snapshot
from pdiff.training.loop import epoch_order, train


class Killed(Exception):
    pass


def regression(seed: int = 0) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 1))
    return model, torch.randn(64, 4)


def fit(model: nn.Module, x: torch.Tensor, ctx: Context, stop: int = 10**9, **options) -> list:
    def loss(step: int, generator: torch.Generator) -> torch.Tensor:
        if step == stop:
            raise Killed
        rows = torch.randint(64, (16,), generator=generator)
        return (model(x[rows])[:, 0] - x[rows].sum(dim=1)).square().mean()

    return train(model, loss, steps=57, ctx=ctx, what="fit", lr=1e-2, **options)


@pytest.mark.usefixtures("saved_at_every_step")
@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"optimizer": "sgd"}, {"optimizer": "adam", "clip": 0.1}])
def test_killed_anywhere_it_ends_in_the_same_bytes(tmp_path: Path, options: dict) -> None:
    model, x = regression()
    log = fit(model, x, Context(seed=5), **options)
    again, x = regression()
    ctx = replace(Context(seed=5), snapshot=Snapshot(tmp_path))
    for stop in (1, 13, 40):
        again, _ = regression()
        with pytest.raises(Killed):
            fit(again, x, ctx, stop, **options)
    again, _ = regression()
    assert fit(again, x, ctx, **options) == log
    for key, value in model.state_dict().items():
        assert again.state_dict()[key].equal(value), key


@pytest.mark.usefixtures("saved_at_every_step")
def test_channels_last_it_ends_in_the_same_bytes_too(tmp_path: Path) -> None:
    def network() -> tuple[nn.Module, torch.Tensor]:
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Unflatten(1, (4, 3, 3)), nn.Conv2d(4, 8, 2), nn.BatchNorm2d(8), nn.Flatten())
        return placed(nn.Sequential(*layers, nn.Linear(32, 1)), torch.device("cpu")), torch.randn(64, 36)

    model, x = network()
    assert model[1].weight.is_contiguous(memory_format=torch.channels_last)
    log = fit(model, x, Context(seed=5))
    ctx = replace(Context(seed=5), snapshot=Snapshot(tmp_path))
    with pytest.raises(Killed):
        fit(network()[0], x, ctx, 20)
    again, _ = network()
    assert fit(again, x, ctx) == log
    for key, value in model.state_dict().items():
        assert again.state_dict()[key].equal(value), key


@pytest.mark.usefixtures("saved_at_every_step")
def test_a_snapshot_of_something_else_is_not_taken(tmp_path: Path) -> None:
    ctx = replace(Context(seed=5), snapshot=Snapshot(tmp_path))
    model, x = regression()
    fit(model, x, ctx)
    other = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1))
    assert fit(other, x, ctx)[0]["step"] == 1, "it began afresh"


def test_the_average_is_the_closed_form() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    # The loss -w has gradient -1: SGD without momentum history moves w by lr * (1 + 0.9 + 0.81 + ...).
    train(
        model, lambda step, generator: -model.weight.sum(), steps=3, ctx=Context(seed=0), what="x", lr=1.0,
        optimizer="sgd", schedule="constant", ema=0.5,
    )  # fmt: skip
    w = [1.0, 2.9, 5.61]
    average = 0.0
    for step, value in enumerate(w):
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * value
    assert model.weight.item() == pytest.approx(average, rel=1e-6)


def test_a_loss_that_is_not_finite_stops_with_one_line() -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(UserError, match=r"diffusion: the loss is not finite at step 1; try a lower lr") as caught:
        train(
            model,
            lambda s, g: model.weight.sum() * float("nan"),
            steps=9,
            ctx=Context(seed=0),
            what="diffusion",
            lr=0.1,
        )
    assert "\n" not in str(caught.value)


def test_an_epoch_visits_every_example_once() -> None:
    epoch = [epoch_order(10, 4, step, seed=1) for step in range(3)]
    assert [len(batch) for batch in epoch] == [4, 4, 2]
    assert torch.cat(epoch).sort().values.tolist() == list(range(10))
    following = torch.cat([epoch_order(10, 4, step, seed=1) for step in range(3, 6)])
    assert not following.equal(torch.cat(epoch))


def test_frozen_parameters_do_not_move() -> None:
    model, x = regression()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    fit(model, x, Context(seed=0), weight_decay=0.1)
    assert model[0].weight.equal(before)
