"""The store: whole results or none, one computation for two runs, clear words for damage."""

from __future__ import annotations

import json
import multiprocessing
import resource
from pathlib import Path

import pytest
import torch

from pdiff.errors import UserError
from pdiff.files import load_tensors, save_tensors
from pdiff.running.store import Stage, Store
from tests.engine.helpers import STAGE, awaited_stage


def write(text: str):
    return lambda part: (part / "result.txt").write_text(text) and None


def test_a_key_depends_on_the_config_and_not_on_its_order() -> None:
    assert STAGE.key == Stage("collect", {"lr": 0.05, "seed": 1}).key
    assert STAGE.key != Stage("collect", {"lr": 0.05, "seed": 2}).key
    assert STAGE.key != Stage("fit", {"lr": 0.05, "seed": 1}).key


def test_a_stage_is_computed_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.compute(STAGE, write("first"))
    assert store.compute(STAGE, write("second")) == folder
    assert (folder / "result.txt").read_text() == "first"


def test_what_an_interrupted_stage_left_is_there_the_next_time_and_not_in_the_result(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def dies(part: Path) -> None:
        (part / "snapshot.safetensors").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.compute(STAGE, dies)
    assert not store.has(STAGE)
    seen: list[str] = []

    def goes_on(part: Path) -> None:
        seen.append((part / "snapshot.safetensors").read_text())
        (part / "result.txt").write_text("done")

    folder = store.compute(STAGE, goes_on)
    assert seen == ["half"]
    assert sorted(file.name for file in folder.iterdir()) == ["result.txt", "stage.json"]


def test_what_a_kill_in_the_last_moment_leaves_harms_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    part = tmp_path / f"{STAGE.folder_name}.part"
    part.mkdir()
    (part / "stage.json.123.tmp").write_text("{")
    folder = store.compute(STAGE, write("whole"))
    assert store.has(STAGE) and sorted(file.name for file in folder.iterdir()) == ["result.txt", "stage.json"]


@pytest.mark.parametrize("harm", ["truncate", "no stage.json", "bad json", "other config"])
def test_a_damaged_stage_is_named_and_nothing_else_is_lost(tmp_path: Path, harm: str) -> None:
    store = Store(tmp_path)
    folder = store.compute(STAGE, write("whole"))
    other = store.compute(Stage("fit", {"seed": 1}), write("other"))
    if harm == "truncate":
        (folder / "result.txt").write_text("who")
    elif harm == "no stage.json":
        (folder / "stage.json").unlink()
    elif harm == "bad json":
        (folder / "stage.json").write_text("{")
    else:
        about = json.loads((folder / "stage.json").read_text())
        (folder / "stage.json").write_text(json.dumps(about | {"config": {"seed": 9}}))
    with pytest.raises(UserError, match=f"{folder.name}.*delete the folder") as caught:
        store.compute(STAGE, write("new"))
    assert "\n" not in str(caught.value)
    assert (other / "result.txt").read_text() == "other"


def test_two_runs_at_once_compute_a_stage_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    computed, waiting = spawn.Semaphore(0), spawn.Semaphore(0)
    runs = [spawn.Process(target=awaited_stage, args=(str(tmp_path), computed, waiting)) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert computed.acquire(block=False) and not computed.acquire(block=False), "computed once"


def full_disk(path: str, queue) -> None:
    # A limit on file sizes makes the kernel refuse the write, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
    try:
        save_tensors(Path(path), {"big": torch.ones(10_000)})
        queue.put("written")
    except UserError as error:
        queue.put(str(error))


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "zoo.safetensors"
    save_tensors(path, {"big": torch.zeros(3)})
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    process = spawn.Process(target=full_disk, args=(str(path), queue))
    process.start()
    process.join()
    assert process.exitcode == 0
    said = queue.get()
    assert str(path) in said and "make room" in said and "\n" not in said
    assert load_tensors(path)["big"].tolist() == [0, 0, 0]
    assert [file.name for file in tmp_path.iterdir()] == ["zoo.safetensors"]
