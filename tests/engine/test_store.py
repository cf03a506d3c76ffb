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


@pytest.mark.parametrize("stray", ["stage.json.1.tmp", ".tmpaB3xY9", "snapshot.safetensors.1.tmp", "old/x.json"])
def test_what_a_kill_leaves_half_written_is_no_result(tmp_path: Path, stray: str) -> None:
    path = tmp_path / f"{STAGE.folder_name}.part" / stray
    path.parent.mkdir(parents=True)
    path.write_text("{")
    folder = Store(tmp_path).compute(STAGE, write("whole"))
    assert sorted(file.name for file in folder.iterdir()) == ["result.txt", "stage.json"]


def test_a_stage_that_is_killed_before_its_last_renaming_is_renamed_and_not_computed_again(tmp_path: Path) -> None:
    folder = Store(tmp_path).compute(STAGE, write("whole"))
    part = folder.with_name(f"{folder.name}.part")
    folder.rename(part)
    (part / "snapshot.safetensors").write_text("left")
    assert (Store(tmp_path).compute(STAGE, write("again")) / "result.txt").read_text() == "whole"
    assert sorted(file.name for file in folder.iterdir()) == ["result.txt", "stage.json"] and not part.exists()


def about(folder: Path, **changes: object) -> None:
    """Change what stage.json says."""
    path = folder / "stage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


HARM = {
    "truncated": lambda folder: (folder / "result.txt").write_text("who"),
    "a flipped bit": lambda folder: (folder / "result.txt").write_text("whome"[:3] + "me"),
    "a file is gone": lambda folder: (folder / "result.txt").unlink(),
    "no stage.json": lambda folder: (folder / "stage.json").unlink(),
    "empty after a loss of power": lambda folder: (folder / "stage.json").write_bytes(b""),
    "bad json": lambda folder: (folder / "stage.json").write_text("{"),
    "deep json": lambda folder: (folder / "stage.json").write_text("[" * 100_000),
    "a list": lambda folder: (folder / "stage.json").write_text("[]"),
    "no config": lambda folder: (folder / "stage.json").write_text('{"files": {}}'),
    "other config": lambda folder: about(folder, config={"seed": 9}),
    "a path that is none": lambda folder: about(folder, files={"a\0b": 1}),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_stage_is_named_kept_and_computed_again(tmp_path: Path, harm: str) -> None:
    store, said = Store(tmp_path), list[str]()
    folder = store.compute(STAGE, write("whole"))
    other = store.compute(Stage("fit", {"seed": 1}), write("other"))
    HARM[harm](folder)
    harmed = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert Store(tmp_path).compute(STAGE, write("again"), said.append) == folder
    assert (folder / "result.txt").read_text() == "again" and (other / "result.txt").read_text() == "other"
    (line,) = said
    assert str(folder) in line and "damaged" in line and "\n" not in line
    aside = folder.with_name(f"{folder.name}.damaged")
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == harmed
    assert Store(tmp_path).compute(STAGE, write("third"), said.append) == folder and len(said) == 1


@pytest.mark.parametrize("text", ["", "{}", "[]"])
def test_a_finished_run_whose_stage_says_nothing_asks_for_its_recipe(tmp_path: Path, text: str) -> None:
    folder = Store(tmp_path).compute(STAGE, write("whole"))
    (folder / "stage.json").write_text(text)
    with pytest.raises(UserError, match=rf"{folder.name}/stage.json: .*run the recipe again"):
        Store(tmp_path).stage(folder.name)


def test_a_stage_of_an_older_version_without_digests_is_good_by_its_sizes(tmp_path: Path) -> None:
    folder = Store(tmp_path).compute(STAGE, write("whole"))
    about(folder, sha256={})
    assert (Store(tmp_path).compute(STAGE, write("again")) / "result.txt").read_text() == "whole"


def test_a_run_lists_the_stages_that_it_asks_for_before_they_are_computed(tmp_path: Path) -> None:
    run, listed = tmp_path / "run", []
    store = Store(tmp_path / "store", "run")
    store.compute(STAGE, lambda part: listed.append(json.loads((run / "stages.json").read_text())))
    other = Stage("fit", {"seed": 1})
    store.compute(other, write("other"))
    assert listed == [[STAGE.folder_name]]
    assert json.loads((run / "stages.json").read_text()) == sorted([STAGE.folder_name, other.folder_name])


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
