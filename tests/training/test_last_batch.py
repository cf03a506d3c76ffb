"""A last batch of one example, of which BatchNorm cannot learn, joins the one before; nothing else changes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pdiff.errors import UserError
from pdiff.testing import TinyNet, TinyTask, tiny_run, tiny_splits
from pdiff.training.loop import epoch_length, epoch_order

NORM = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
SEEDS = {"name": "seeds", "count": 3, "steps": 8, "batch_size": 20, "lr": 0.01}
TRAJECTORY = {"name": "trajectory", "count": 8, "batch_size": 20, "lr": 0.01, "batch_norm": "train"}


@pytest.mark.parametrize("count", range(1, 14))
@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
def test_an_epoch_holds_each_example_once_and_one_is_never_alone(count: int, size: int) -> None:
    length = epoch_length(count, size, NORM.train())
    batches = [epoch_order(count, size, step, 5, length) for step in range(length)]
    assert torch.equal(torch.cat(batches).sort().values, torch.arange(count))
    assert all(len(batch) > 1 for batch in batches) or size == 1 or count == 1
    if count % size != 1:
        assert length == math.ceil(count / size)
        assert all(torch.equal(batch, epoch_order(count, size, step, 5)) for step, batch in enumerate(batches))


def test_it_stays_alone_where_no_batch_norm_learns() -> None:
    assert epoch_length(41, 20, NORM.train()) == 2
    assert epoch_length(41, 20, NORM.eval()) == epoch_length(41, 20, nn.Linear(2, 3).train()) == 3


@pytest.mark.parametrize("collect", [SEEDS, TRAJECTORY], ids=["seeds", "trajectory"])
def test_networks_with_batch_norm_train_on_one_more_than_whole_batches(tmp_path, collect) -> None:
    def run(count: int, folder: str):
        made = tiny_run(tmp_path / folder, task=TinyTask(), architecture=TinyNet(), collect=collect, train={})
        made.data = tiny_splits(count=count)
        return made.zoo

    assert run(41, "joined").theta_ND.isfinite().all()
    with pytest.raises(UserError, match=r"^collect: a step of one example, of which BatchNorm learns nothing"):
        run(1, "alone")
