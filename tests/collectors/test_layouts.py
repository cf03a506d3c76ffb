"""Folders as trainers leave them: which files are checkpoints, of which run and step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from pdiff.components import Architecture
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.running.progress import Progress
from pdiff.testing import TinyTask, bench_of, tiny_splits
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.collectors.folder.collector import Folder
from pdiff_plugins.collectors.folder.finding import step_of
from pdiff_plugins.fields.network import Siren
from tests.checkpoints.helpers import net, state
from tests.collectors.test_collectors import ALONE, data


def made(folder: Path, *names: str) -> Path:
    """Write a network's state dict to each name; those of trainers' other files hold what these do."""
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.startswith(("optimizer", "training_args", "rng_state", "scheduler")):
            torch.save({"state": {}}, path)
        elif path.suffix == ".safetensors":
            save_file(state(seed), path)
        else:
            torch.save({"state_dict": state(seed)} if path.suffix == ".ckpt" else state(seed), path)
    return folder


def rows(folder: Path, **options) -> list[tuple[int, int, str]]:
    found = Folder(path=str(folder), **options)
    zoo = collected(found)
    return [(row["run"], row["step"], row["file"]) for row in zoo.rows]


def collected(collector: Folder, model: nn.Module | None = None, bench=ALONE, ctx: Context | None = None) -> Zoo:
    model = model or net()
    layout = Layout.of(model, list(model.state_dict()))
    return collector.collect(
        model, data=data(), task=TinyTask(), layout=layout, bench=bench, ctx=ctx or Context(seed=0)
    )


class Told(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_a_trainers_folder_is_one_run_by_step(tmp_path: Path) -> None:
    beside = [f"checkpoint-{step}/{name}" for step in (100, 1000) for name in ("optimizer.pt", "rng_state.pth")]
    names = [f"checkpoint-{step}/model.safetensors" for step in (1000, 100, 1100, 900)]
    made(tmp_path, *names, *beside, "training_args.bin", "model.safetensors")
    assert rows(tmp_path) == [(0, step, f"checkpoint-{step}") for step in (100, 900, 1000, 1100)]


def test_trainers_folders_side_by_side_are_runs(tmp_path: Path) -> None:
    names = [f"seed{run}/checkpoint-{step}/pytorch_model.bin" for run in (10, 2) for step in (20, 3)]
    made(tmp_path, *names)
    expected = [
        (number, step, f"seed{run}/checkpoint-{step}") for number, run in enumerate((2, 10)) for step in (3, 20)
    ]
    assert rows(tmp_path) == expected


def test_lightnings_files_have_their_step_and_last_is_left_out(tmp_path: Path) -> None:
    files = ["epoch=9-step=400.ckpt", "epoch=10-step=440.ckpt", "last.ckpt"]
    made(tmp_path / "a", *files)
    assert rows(tmp_path / "a") == [(0, 400, files[0]), (0, 440, files[1])]
    inner = [f"lightning_logs/version_{run}/checkpoints/{file}" for run in (0, 1) for file in files]
    made(tmp_path / "b", *inner)
    assert rows(tmp_path / "b") == [(0, 400, inner[0]), (0, 440, inner[1]), (1, 400, inner[3]), (1, 440, inner[4])]


@pytest.mark.parametrize("pattern", ["*", "*/checkpoint_*/checkpoints"])
def test_rays_folders_need_no_ending(tmp_path: Path, pattern: str) -> None:
    names = [f"NN_tune_{run:05d}/checkpoint_{step:06d}/checkpoints" for run in (0, 1) for step in (25, 50)]
    made(tmp_path, *names)
    for run in (0, 1):
        (tmp_path / f"NN_tune_{run:05d}" / "result.json").write_text("{}")
    found = rows(tmp_path, pattern=pattern)
    assert [row[:2] for row in found] == [(0, 25), (0, 50), (1, 25), (1, 50)]
    assert all(name.startswith(row[2]) for name, row in zip(names, found, strict=True))


def test_files_side_by_side_are_in_natural_order_and_one_run_where_names_say_steps(tmp_path: Path) -> None:
    made(tmp_path / "steps", *(f"step_{step}.pt" for step in (0, 1, 10, 11, 2)))
    assert [row[:2] for row in rows(tmp_path / "steps")] == [(0, step) for step in (0, 1, 2, 10, 11)]
    made(tmp_path / "nets", *(f"net{number}.pt" for number in (1, 10, 2)))
    assert rows(tmp_path / "nets") == [(0, 0, "net1.pt"), (1, 0, "net2.pt"), (2, 0, "net10.pt")]
    made(tmp_path / "both", *(f"seed{seed}-epoch_{step}.pth.tar" for seed in (1, 2) for step in (9, 10)))
    assert [row[:2] for row in rows(tmp_path / "both")] == [(0, 9), (0, 10), (1, 9), (1, 10)]


def test_copies_and_the_state_of_optimisers_are_no_further_checkpoints(tmp_path: Path) -> None:
    made(tmp_path / "mm", "epoch_9.pth", "epoch_10.pth", "best_mAP_epoch_9.pth", "best_mAP_epoch_12.pth", "latest.pth")
    assert [row[2] for row in rows(tmp_path / "mm")] == ["best_mAP_epoch_12.pth", "epoch_9.pth", "epoch_10.pth"]
    made(tmp_path / "best", "best_epoch_9.pt", "best_epoch_10.pt")
    assert [row[:2] for row in rows(tmp_path / "best")] == [(0, 9), (0, 10)]
    made(tmp_path / "short", "ep9_acc0.61.pt", "ep10_acc0.7.pt", "optim.pt", "step2.pt")
    assert [row[:2] for row in rows(tmp_path / "short")] == [(0, 9), (0, 10), (1, 2)]
    for step in (9, 10):
        (tmp_path / f"ds/global_step{step}").mkdir(parents=True)
        made(
            tmp_path / f"ds/global_step{step}",
            "mp_rank_00_model_states.pt",
            "zero_pp_rank_0_mp_rank_00_optim_states.pt",
        )
    assert rows(tmp_path / "ds") == [(0, 9, "global_step9"), (0, 10, "global_step10")]


def test_renaming_steps_changes_the_key_and_plain_names_do_not_count(tmp_path: Path) -> None:
    made(tmp_path, "a.pt", "b.pt")
    before = Folder(path=str(tmp_path)).identity()
    (tmp_path / "b.pt").rename(tmp_path / "c.pt")
    assert Folder(path=str(tmp_path)).identity() == before
    (tmp_path / "a.pt").rename(tmp_path / "step_1.pt")
    (tmp_path / "c.pt").rename(tmp_path / "step_2.pt")
    assert Folder(path=str(tmp_path)).identity() != before


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("epoch=3-step=400", 400), ("step=400-epoch=3", 400), ("checkpoint-100", 100), ("model_12_2024-01-05", 12),
        ("step_10-loss0.25", 10), ("filter_3_iter_7", 7), ("weights", 0), ("run3_ckpt_8", 8), ("net7", 7),
    ],
)  # fmt: skip
def test_the_step_that_a_name_says(name: str, step: int) -> None:
    assert step_of(name) == step


@settings(max_examples=30)
@given(step=st.integers(0, 10**9), text=st.sampled_from(["epoch=3-", "seed1_", "2024-01-05_", ""]))
def test_a_step_is_read_whatever_stands_before_it(step: int, text: str) -> None:
    assert step_of(f"{text}step_{step}") == step


def test_what_was_done_is_said_once(tmp_path: Path) -> None:
    for seed in range(3):
        torch.save({"net": state(seed, "module."), "epoch": seed}, tmp_path / f"{seed}.pt")
    told = Told()
    collected(Folder(path=str(tmp_path)), ctx=Context(seed=0, progress=told))
    assert told.lines == ["collect: 3 files: taken from 'net'; prefix 'module.' dropped"]


@pytest.mark.parametrize("value", [torch.tensor([True, False]), torch.tensor([1, 2], dtype=torch.int8)])
def test_whole_numbers_travel_where_files_agree_and_are_refused_where_they_differ(tmp_path: Path, value) -> None:
    def masked(alive: torch.Tensor) -> nn.Module:
        model = net()
        model.register_buffer("alive", alive)
        return model

    for number in range(2):
        torch.save(masked(value).state_dict(), tmp_path / f"{number}.pt")
    zoo = collected(Folder(path=str(tmp_path)), masked(torch.zeros_like(value)))
    assert zoo.anchor["alive"].equal(value) and zoo.state_dict(zoo.theta_ND[1])["alive"].equal(value)
    torch.save(masked(torch.zeros_like(value)).state_dict(), tmp_path / "1.pt")
    with pytest.raises(UserError, match=r"1\.pt: alive is of \w+, which cannot be generated, and differs .* 0\.pt"):
        collected(Folder(path=str(tmp_path)), masked(value))
    first = collected(Folder(path=str(tmp_path), anchor="first"), masked(torch.zeros_like(value)))
    assert first.anchor["alive"].equal(value)


def test_a_collector_reads_the_names_that_the_architecture_knows(tmp_path: Path) -> None:
    field: Architecture = Siren(hidden=2, width=5, activation="relu", frequencies=1)
    torch.manual_seed(0)
    model = field.build(input_shape=(2,), outputs=1)
    theirs = {name.replace("hidden", "layers").replace("out", "layers.2"): v for name, v in model.state_dict().items()}
    for number in range(2):
        torch.save(theirs, tmp_path / f"{number}.pth")
    layout = Layout.of(model, list(model.state_dict()))
    bench = bench_of(Zoo.of_one(dict(model.state_dict()), layout), field, TinyTask(), tiny_splits())
    zoo = collected(Folder(path=str(tmp_path)), model, bench)
    assert zoo.theta_ND[0].equal(layout.vector(model.state_dict()))
