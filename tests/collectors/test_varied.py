"""The collector `varied`: each run is a plain training with settings of its own, which its row says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from pdiff.context import derive
from pdiff.running.snapshot import Snapshot
from pdiff_plugins.collectors.seeds import training as joint_training
from pdiff_plugins.collectors.varied.collector import Varied
from tests.collectors.helpers import COUNT, CPU, CTX, NETS, builder, built, splits
from tests.collectors.helpers import collect as joint
from tests.collectors.test_seeds_resume import Killed, Killer

OWN = {"lr": (1e-3, 3e-2), "weight_decay": (1e-2, 0.5), "scale": (0.5, 2.0), "share": (0.2, 1.0), "steps": (3, 21)}


def collect(net: str = "mlp", ctx=CTX, **changes):
    return joint(Varied(**{"count": 6, "batch_size": 16} | OWN | changes), net, ctx=ctx, bench=builder(NETS[net][0]))


def plainly(model: nn.Module, run: int, own: dict, optimizer: str, schedule: str, data) -> tuple[dict, float]:
    """Train one network in the ordinary way, and return its state dict and its mean loss."""
    seed, losses = derive(7, "run", run), []
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(own["scale"])
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    more = {"momentum": 0.9} if optimizer == "sgd" else {}
    trained = kind(model.parameters(), lr=own["lr"], weight_decay=own["weight_decay"], **more)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(trained, own["steps"])

    def drawn(count: int, *words: object) -> torch.Tensor:
        return torch.randperm(count, generator=torch.Generator().manual_seed(derive(seed, *words)))

    kept = drawn(COUNT, "share")[: round(own["share"] * COUNT)]
    epochs = 1 + own["steps"] * 16 // len(kept)
    stream = torch.cat([kept[drawn(len(kept), "epoch", epoch)] for epoch in range(epochs)])
    for step in range(own["steps"]):
        batch = data.train.batch(stream[step * 16 : step * 16 + 16], CPU)
        trained.zero_grad()
        loss = F.cross_entropy(model.train()(batch.inputs), batch.targets)
        loss.backward()
        trained.step()
        losses.append(loss.item())
        if schedule == "cosine":
            cosine.step()
    return model.state_dict(), sum(losses) / len(losses)


@pytest.mark.parametrize(
    ("net", "optimizer", "schedule"),
    [("batch_norm", "adamw", "cosine"), ("mlp", "adam", "constant"), ("cnn", "sgd", "cosine")],
)
def test_each_run_is_a_plain_training_with_the_settings_that_its_row_says(
    net: str, optimizer: str, schedule: str
) -> None:
    zoo = collect(net, optimizer=optimizer, schedule=schedule)
    assert [row["run"] for row in zoo.rows] == list(range(6))
    for row, theta in zip(zoo.rows, zoo.theta_ND, strict=True):
        model = built(NETS[net][0], derive(7, "run", row["run"]))
        state, loss = plainly(model, row["run"], row["settings"], optimizer, schedule, splits(NETS[net][1]))
        torch.testing.assert_close(theta, zoo.layout.vector(state), atol=3e-4, rtol=3e-3)
        assert row["metrics"]["train_loss"] == pytest.approx(loss, rel=2e-3)
        assert row["step"] == row["settings"]["steps"]


def test_settings_lie_in_their_ranges_and_differ() -> None:
    rows = collect(count=40, steps=(1, 3)).rows
    for name, (low, high) in (OWN | {"steps": (1, 3)}).items():
        values = [row["settings"][name] for row in rows]
        assert low <= min(values) < max(values) <= high
        assert len(set(values)) == (3 if name == "steps" else 40)
    assert sum(row["settings"]["lr"] < (1e-3 * 3e-2) ** 0.5 for row in rows) in range(10, 31), "uniform in logarithms"


def test_a_run_that_is_over_no_longer_moves() -> None:
    short, longer = collect("batch_norm", steps=(4, 4)), collect("batch_norm", steps=(4, 5))
    over = [row["run"] for row in longer.rows if row["step"] == 4]
    assert 0 < len(over) < 6
    assert longer.theta_ND[over].equal(short.theta_ND[over]), "parameters, and statistics, which are buffers"
    assert [longer.rows[run]["metrics"] for run in over] == [short.rows[run]["metrics"] for run in over]


def test_a_run_does_not_depend_on_how_many_are_trained_with_it(monkeypatch) -> None:
    monkeypatch.setattr(joint_training, "LARGEST_BLOCK", 16)
    few, many = collect(), collect(count=35, ctx=CTX.replace(threads=2))
    assert many.theta_ND[:6].equal(few.theta_ND) and many.rows[:6] == few.rows


@pytest.mark.usefixtures("saved_at_every_step")
def test_killed_anywhere_it_ends_in_the_same_bytes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(joint_training, "LARGEST_BLOCK", 8)
    alone, ctx = collect("batch_norm", count=11), CTX.replace(snapshot=Snapshot(tmp_path), threads=1)
    for units in (60, 120):
        with pytest.raises(Killed):
            collect("batch_norm", count=11, ctx=ctx.replace(progress=Killer(units)))
    last = Killer(10**9)
    again = collect("batch_norm", count=11, ctx=ctx.replace(progress=last))
    assert again.theta_ND.equal(alone.theta_ND) and again.rows == alone.rows
    assert last.begun[0][1] > 0, "it went on where it was killed"
    other = collect("batch_norm", count=11, ctx=ctx, scale=(1.0, 1.0))
    assert not other.theta_ND.equal(alone.theta_ND), "a snapshot of other settings is not taken"


def test_without_ranges_it_is_the_ordinary_training_of_one_length() -> None:
    same = {"lr": (0.01, 0.01), "weight_decay": (0, 0), "scale": (1, 1), "share": (1, 1), "steps": (7, 7)}
    settings = [row["settings"] for row in collect(**same).rows]
    assert settings == [{"lr": 0.01, "weight_decay": 0, "scale": 1, "share": 1, "steps": 7}] * 6


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [("lr", (0.1, 0.01), "lowest, highest"), ("weight_decay", (0, 0.1), "begin above 0"), ("share", (0.5, 1.5), "1")],
)
def test_a_range_that_is_none_is_refused(option, value, line) -> None:
    with pytest.raises(ValidationError, match=line):
        Varied(count=2, **{option: value})
