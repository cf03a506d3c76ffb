"""What runs there are, and that cleaning removes what none of them uses, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from pdiff.running.locks import locked
from pdiff_plugins.upkeep.commands import age, size
from tests.helpers import call, mistake


@pytest.fixture
def folder(finished, here: Path) -> Path:
    """The current folder holds the finished run."""
    shutil.copytree(finished.folder.parent, here / "runs")
    shutil.copyfile(finished.folder.parent.parent / "tiny.toml", here / "tiny.toml")
    return here / "runs" / finished.folder.name


def stages(folder: Path) -> set[str]:
    """Return what the store of a run holds."""
    return {path.name for path in (folder.parent / "store").iterdir() if path.name != "locks"}


def left_by_a_kill(folder: Path, name: str) -> Path:
    """Return a part of a stage with something to go on from."""
    part = folder.parent / "store" / f"{name}.part"
    part.mkdir()
    (part / "snapshot.safetensors").write_text("half")
    return part


def test_a_run_lists_all_that_is_in_its_store(folder: Path) -> None:
    assert set(json.loads((folder / "stages.json").read_text())) == stages(folder)


def test_runs_are_listed_newest_first_with_size_and_age(folder: Path) -> None:
    os.utime(folder / "scores.json", (1e9, 1e9))
    newer = folder.with_name("newer-00000000")
    newer.mkdir()
    (newer / "stages.json").write_text(json.dumps([next(iter(sorted(stages(folder))))]))
    first, second = json.loads(call("runs", "--json"))
    assert (first["run"], first["finished"]) == (newer.name, False)
    assert (second["run"], second["finished"], second["changed"]) == (folder.name, True, 1e9)
    files = [file for stage in stages(folder) for file in (folder.parent / "store" / stage).rglob("*")]
    assert second["bytes"] == sum(file.stat().st_size for file in [*files, *folder.rglob("*")] if file.is_file())
    assert second["bytes"] - second["alone_bytes"] == first["bytes"] - first["alone_bytes"] > 0
    said = call("runs")
    assert "not finished" in said and folder.name in said and "of which 0.0 MB no run uses" in said


def test_ages_and_sizes_are_told_in_their_greatest_unit() -> None:
    assert [age(seconds) for seconds in (0.2, 5, 61, 7300, 200_000)] == ["now", "5 s", "1 min", "2 h", "2 d"]
    assert [size(count) for count in (0, 1_500_000, 20_000_000_000)] == ["0.0 MB", "1.5 MB", "20.0 GB"]


def test_nothing_that_a_run_uses_is_removed(folder: Path) -> None:
    before = stages(folder)
    assert "removed 0 folders" in call("clean")
    assert stages(folder) == before and not list((folder.parent / "store" / "locks").glob("*-*.lease"))
    assert "diffusion" not in call("run", "tiny.toml"), "all is there"


def test_what_no_run_uses_is_removed_with_its_folder_gone(folder: Path) -> None:
    other = folder.with_name("other-00000000")
    other.mkdir()
    kept = sorted(stages(folder))[:3]
    (other / "stages.json").write_text(json.dumps(kept))
    shutil.rmtree(folder)
    before = stages(other)
    said = call("clean", "--dry-run")
    assert said.count("would remove") == len(before) - 3 + 1 and stages(other) == before
    assert call("clean").count("removed") == len(before) - 3 + 1
    assert stages(other) == set(kept)


def test_a_part_stays_for_the_run_that_goes_on_from_it_and_goes_with_it(folder: Path) -> None:
    stopped = folder.with_name("stopped-00000000")
    stopped.mkdir()
    (stopped / "stages.json").write_text('["fit-0123456789abcdef"]')
    part, lost = left_by_a_kill(folder, "fit-0123456789abcdef"), left_by_a_kill(folder, "fit-fedcba9876543210")
    call("clean")
    assert part.exists() and not lost.exists()
    shutil.rmtree(stopped)
    call("clean")
    assert not part.exists()


def test_what_a_living_process_computes_is_not_touched(folder: Path) -> None:
    part = left_by_a_kill(folder, "fit-0123456789abcdef")
    lock = folder.parent / "store" / "locks" / "fit-0123456789abcdef.lease"
    with locked(lock):
        call("clean")
        assert part.exists() and lock.exists()
    call("clean")
    assert not part.exists() and not lock.exists()


def test_a_damaged_stage_that_was_set_aside_goes(folder: Path) -> None:
    places = folder.parent.glob(
        "store/sample-*"
    )  # tests before this one may have drawn more, which the run does not read
    drawn = {path: json.loads((path / "stage.json").read_text())["config"] for path in places}
    sample = next(path for path, config in drawn.items() if (config["count"], config.get("draw", 0)) == (12, 0))
    (sample / "samples.safetensors").write_text("x")
    call("run", "tiny.toml", "-q")
    aside = sample.with_name(f"{sample.name}.damaged")
    assert aside.is_dir()
    call("clean")
    assert not aside.exists() and sample.is_dir()


def test_a_run_of_a_version_without_a_list_keeps_all_that_is_made_from_its_checkpoints(folder: Path) -> None:
    (folder / "stages.json").unlink()
    before = stages(folder)
    lost = folder.parent / "store" / "fit-0123456789abcdef"
    lost.mkdir()
    (lost / "stage.json").write_text('{"stage": "fit", "config": {"collect": "fedcba9876543210"}}')
    call("clean")
    assert stages(folder) == before


@pytest.mark.parametrize("text", ["", "{}", "[1]"])
def test_nothing_is_removed_where_a_run_does_not_say_what_it_uses(folder: Path, text: str) -> None:
    (folder / "stages.json").write_text(text)
    before = stages(folder)
    assert "stages.json" in mistake("clean") and stages(folder) == before


def test_what_is_not_pdiffs_stays(folder: Path) -> None:
    strange = folder.parent / "store" / "my-photos"
    strange.mkdir()
    (strange / "cat.jpg").write_text("cat")
    call("clean")
    assert (strange / "cat.jpg").read_text() == "cat"


def test_a_finished_run_of_an_earlier_version_keeps_all_its_stages_when_it_is_used_again(folder: Path) -> None:
    (folder / "stages.json").unlink()
    before = stages(folder)
    call("sample", folder.name, "-n", "2", "--to", "more")
    call("clean")
    assert before <= stages(folder)


def test_a_damaged_list_is_never_made_a_short_one(folder: Path) -> None:
    (folder / "stages.json").write_text("{")
    call("sample", folder.name, "-n", "2", "--to", "more")
    assert (folder / "stages.json").read_text() == "{" and "stages.json" in mistake("clean")


def test_a_store_that_is_a_link_is_left_alone_and_a_stage_that_is_one_is_unlinked(folder: Path) -> None:
    store, before = folder.parent / "store", stages(folder)
    elsewhere = folder.parent.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "store").symlink_to(store)
    assert "is a link" in mistake("clean", "--out", str(elsewhere)) and stages(folder) == before
    unused = store / f"fit-{'0' * 16}"
    unused.symlink_to(elsewhere)
    call("clean")
    assert not unused.is_symlink() and elsewhere.is_dir()
