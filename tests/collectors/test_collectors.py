"""Collectors: what a checkpoint is, step by step, and a user's own files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pdiff.context import Context
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.errors import UserError
from pdiff.files import save_tensors
from pdiff.running.snapshot import Snapshot
from pdiff.services import Absent
from pdiff.training.loop import epoch_order
from pdiff.zoo import Layout
from pdiff_plugins.collectors.folder.collector import Folder
from pdiff_plugins.collectors.trajectory import Trajectory
from pdiff_plugins.images.classification import Classification

ALONE = Absent("a trajectory or files")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def data() -> DatasetSplits:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(40, 4, generator=generator)
    split = TensorSplit(x, x[:, :3].argmax(dim=1))
    return DatasetSplits(split, split, split, (4,), 3)


def collect(collector, model: nn.Module, keys: list[str], ctx: Context | None = None):
    layout = Layout.of(model, keys)
    return collector.collect(
        model, data=data(), task=Classification(), layout=layout, bench=ALONE, ctx=ctx or Context(seed=7)
    )


SUBSET = ["1.weight", "1.bias"]


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_trajectory_is_plain_fine_tuning_of_the_subset(mode: str) -> None:
    zoo = collect(Trajectory(count=6, lr=0.01, batch_size=16, batch_norm=mode, weight_decay=0.1), network(), SUBSET)
    model, splits = network(), data()
    model.train(mode == "train")
    subset = [model[1].weight, model[1].bias]
    optimizer = torch.optim.AdamW(subset, lr=0.01, weight_decay=0.1)
    for step in range(6):
        index = epoch_order(40, 16, step, seed=7)
        optimizer.zero_grad()
        batch = splits.train.batch(index, torch.device("cpu"))
        nn.functional.cross_entropy(model(batch.inputs), batch.targets).backward()
        optimizer.step()
        assert zoo.theta_ND[step].allclose(torch.cat(subset).detach(), atol=1e-6)
    start = network().state_dict()
    assert all(value.equal(start[key]) for key, value in zoo.anchor.items())
    assert [row["step"] for row in zoo.rows] == [1, 2, 3, 4, 5, 6]


def test_buffers_alone_have_no_trajectory() -> None:
    with pytest.raises(UserError, match="names no trainable parameter"):
        collect(Trajectory(count=2, lr=0.1), network(), ["1.running_mean"])


@pytest.mark.usefixtures("saved_at_every_step")
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_killed_after_the_zoo_is_written_it_is_collected_again(tmp_path: Path, links: bool, monkeypatch) -> None:
    """As while its digest is taken: the store then drops what is no snapshot, and collects from the snapshot."""
    if not links:
        monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError))
    own, ctx = Trajectory(count=4, lr=0.01), Context(seed=7, snapshot=Snapshot(tmp_path))
    zoo = collect(own, network(), SUBSET, ctx)
    expected = zoo.theta_ND.clone()
    zoo.save(tmp_path)
    for path in [path for path in tmp_path.iterdir() if not path.name.startswith("snapshot")]:
        path.unlink()
    assert collect(own, network(), SUBSET, ctx).theta_ND.equal(expected) and expected.any()


def test_which_steps_are_saved() -> None:
    assert Trajectory(count=4, lr=1.0, every=33).saved_steps(100) == [33, 66, 99, 132]
    assert Trajectory(count=5, lr=1.0, skip_first_batch=True).saved_steps(3) == [2, 3, 5, 6, 8]
    assert Trajectory(count=2, lr=1.0, skip_steps=10, every=2).saved_steps(50) == [12, 14]
    assert Trajectory(count=3, lr=1.0, skip_first_batch=True).saved_steps(1) == [1, 2, 3]


def test_the_rate_falls_to_lr_end_over_the_first_epoch() -> None:
    factor = Trajectory(count=2, lr=0.01, lr_end=0.007)._factor(10)
    assert factor(0) == pytest.approx(1.0) and factor(5) == pytest.approx(0.85)
    assert factor(10) == factor(25) == pytest.approx(0.7)


def files(folder: Path, count: int = 4, **change) -> list[Path]:
    """Write checkpoints of the whole network that differ in the subset."""
    folder.mkdir()
    paths = []
    for number in range(count):
        state = network().state_dict() | {"1.bias": torch.full((6,), float(number))}
        path = folder / f"{number}.safetensors"
        save_tensors(path, state | change.get(f"file{number}", {}))
        paths.append(path)
    return paths


def test_a_folder_of_files_becomes_a_zoo(tmp_path: Path) -> None:
    files(tmp_path / "a")
    torch.save({"state_dict": network().state_dict()}, tmp_path / "a" / "9.pt")
    zoo = collect(Folder(path=str(tmp_path / "a")), network(), SUBSET)
    assert zoo.theta_ND[:, 6:].mean(dim=1).tolist() == [0, 1, 2, 3, 0]
    assert [row["file"] for row in zoo.rows][-1] == "9.pt"
    moved = (tmp_path / "a").rename(tmp_path / "b")
    assert Folder(path=str(moved)).identity() != Folder(path=str(moved), pattern="[01].*").identity()


def test_a_folder_of_folders_is_runs_whose_steps_are_in_the_names(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    for run, count in (("first", 3), ("second", 2)):
        for path in files(tmp_path / "all" / run, count):
            path.rename(path.with_name(f"step_{5 * int(path.stem)}-loss0.25.safetensors"))
    (tmp_path / "all" / "notes").mkdir()
    collector = Folder(path=str(tmp_path / "all"))
    zoo = collect(collector, network(), SUBSET)
    assert [(row["run"], row["step"]) for row in zoo.rows] == [(0, 0), (0, 5), (0, 10), (1, 0), (1, 5)]
    assert zoo.theta_ND[:, 6:].mean(dim=1).tolist() == [0, 1, 2, 0, 1]
    assert zoo.rows[2]["file"] == "first/step_10-loss0.25.safetensors"
    before = collector.identity()
    (tmp_path / "all" / "first" / "step_10-loss0.25.safetensors").rename(
        tmp_path / "all" / "first" / "step_11.safetensors"
    )
    assert collector.identity() != before
    (tmp_path / "all" / "first" / "step_0-loss0.25.safetensors").rename(tmp_path / "all" / "stray.safetensors")
    with pytest.raises(UserError, match=r"holds the file stray.safetensors beside folders of checkpoints"):
        collector.files()


def test_moving_files_changes_no_key_and_editing_one_does(tmp_path: Path) -> None:
    files(tmp_path / "a")
    before = Folder(path=str(tmp_path / "a")).identity()
    moved = (tmp_path / "a").rename(tmp_path / "b")
    assert Folder(path=str(moved)).identity() == before
    save_tensors(moved / "0.safetensors", network().state_dict())
    assert Folder(path=str(moved)).identity() == before  # the same content as it had: bias 0
    save_tensors(moved / "1.safetensors", network().state_dict())
    assert Folder(path=str(moved)).identity() != before


def test_files_of_the_subset_alone_take_the_base_networks_anchor(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for number in range(3):
        save_tensors(tmp_path / "s" / f"{number}.safetensors", {"1.weight": torch.ones(6), "1.bias": torch.ones(6)})
    zoo = collect(Folder(path=str(tmp_path / "s")), network(), SUBSET)
    assert zoo.anchor["0.weight"].equal(network().state_dict()["0.weight"])


def test_the_base_network_is_not_the_first_file(tmp_path: Path) -> None:
    files(tmp_path / "a", file0={"1.weight": torch.full((6,), 9.0)})
    zoo = collect(Folder(path=str(tmp_path / "a")), network(), SUBSET)
    assert zoo.base[:6].eq(1).all() and zoo.theta_ND[0, :6].eq(9).all()


def test_a_file_that_is_neither_whole_nor_the_subset_is_refused(tmp_path: Path) -> None:
    paths = files(tmp_path / "a")
    state = network().state_dict()
    del state["3.bias"]
    save_tensors(paths[0], state)
    for anchor in ("same", "first"):
        with pytest.raises(UserError, match=r"0\.safetensors: holds entries outside the selection but lacks '3.bias'"):
            collect(Folder(path=str(tmp_path / "a"), anchor=anchor), network(), SUBSET)


def test_a_schedule_that_would_never_save_is_refused() -> None:
    with pytest.raises(UserError, match="falls on first batches only"):
        Trajectory(count=3, lr=1.0, every=5, skip_steps=1, skip_first_batch=True).saved_steps(5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"file2": {"1.bias": torch.ones(7)}}, "2.safetensors: 1.bias has shape [7], expected [6]"),
        ({"file2": {"1.bias": torch.full((6,), float("nan"))}}, "2.safetensors: 1.bias holds NaN or Inf"),
        ({"file2": {"0.bias": torch.full((6,), float("inf"))}}, "2.safetensors: 0.bias holds NaN or Inf"),
        ({"file3": {"head": torch.ones(1)}}, "3.safetensors: holds 'head', which the architecture has not"),
        ({"file3": {"0.weight": torch.ones(6, 4)}}, "0.weight is outside the selection and differs"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path: Path, change: dict, words: str) -> None:
    files(tmp_path / "a", **change)
    with pytest.raises(UserError) as caught:
        collect(Folder(path=str(tmp_path / "a")), network(), SUBSET)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_without_the_subset_and_too_few_files_are_one_line(tmp_path: Path) -> None:
    paths = files(tmp_path / "a")
    save_tensors(paths[1], {"1.weight": torch.ones(6)})
    with pytest.raises(UserError, match=r"1\.safetensors: lacks '1.bias'"):
        collect(Folder(path=str(tmp_path / "a")), network(), SUBSET)
    with pytest.raises(UserError, match="at least 2 are needed"):
        Folder(path=str(tmp_path / "a"), pattern="0*").files()
    with pytest.raises(UserError, match="no such folder"):
        Folder(path=str(tmp_path / "nowhere")).files()


def test_the_anchor_can_be_the_first_files_or_the_bases(tmp_path: Path) -> None:
    files(tmp_path / "a", file0={"0.bias": torch.full((6,), 5.0)})
    zoo = collect(Folder(path=str(tmp_path / "a"), anchor="first"), network(), SUBSET)
    assert zoo.anchor["0.bias"].eq(5).all()
    zoo = collect(Folder(path=str(tmp_path / "a"), anchor="base"), network(), SUBSET)
    assert zoo.anchor["0.bias"].equal(network().state_dict()["0.bias"])
