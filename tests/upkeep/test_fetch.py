"""`pdiff fetch`: a run copied from an address opens with no connection; what is here stays, what is damaged not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import pdiff
from pdiff.files import read_json
from tests.helpers import call, mistake, pdiff_command
from tests.running.places import web


@pytest.fixture
def far(finished, here: Path) -> Path:
    """A folder of results elsewhere that holds the finished run."""
    shutil.copytree(finished.folder.parent, here / "far" / "runs")
    return here / "far" / "runs"


def files_of(folder: Path) -> dict[str, bytes]:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    hidden = {name for name in files if Path(name).name.startswith(".") or name.endswith(".lease")}
    return {name: files[name].read_bytes() for name in sorted(set(files) - hidden)}


def test_a_fetched_run_is_the_run_and_is_used_without_a_connection(finished, far: Path, here: Path) -> None:
    with web(far) as (place, asked):
        assert str(Path("runs") / finished.folder.name) in call("fetch", "tiny", "--from", place)
        assert files_of(here / "runs") == files_of(far)
        asked.clear()
        call("fetch", finished.folder.name, "--from", place)
        assert not [path for path in asked if path.endswith(".safetensors")], "all is here"
    far.rename(here / "gone")
    assert pdiff.open_run("tiny").theta().equal(finished.theta())
    assert json.loads(call("show", "tiny", "--json"))["networks"] == finished.scores["networks"]
    done = pdiff_command("sample", "tiny", "-n", "2", cwd=here)
    assert done.returncode == 0 and "2 networks in" in done.stdout, done.stderr
    assert "removed 0 folders" in call("clean"), "the run lists the stages that it uses"


def test_fetching_goes_on_and_mends_what_is_damaged_here(finished, far: Path, here: Path) -> None:
    call("fetch", "tiny", "--from", str(far))
    before = files_of(far)
    store, (collect,) = here / "runs" / "store", far.glob("store/collect-*")
    shutil.rmtree(store / collect.name)
    (here / "runs" / finished.folder.name / "scores.json").unlink()
    (sample,) = [path for path in store.glob("sample-*") if (path / "samples.safetensors").stat().st_size > 0][:1]
    (sample / "samples.safetensors").write_bytes(b"half")
    assert "damaged" in call("fetch", "tiny", "--from", str(far))
    shutil.rmtree(sample.with_name(f"{sample.name}.damaged"))
    assert files_of(here / "runs") == before


def test_stages_that_are_not_finished_there_are_left_out_and_told(finished, far: Path, here: Path) -> None:
    (evaluated, *_) = sorted(far.glob("store/evaluate-*"))
    (evaluated / "stage.json").unlink()
    assert "1 stages of the run are not there" in call("fetch", "tiny", "--from", str(far))
    assert not (here / "runs" / "store" / evaluated.name).exists()
    assert pdiff.open_run("tiny").theta().equal(finished.theta())


@pytest.mark.parametrize(("pattern", "told"), [
    ("store/collect-*/zoo.safetensors", "holds other bytes than its listing says"),
    ("tiny-*/report.md", "holds other bytes than report.json says"),
])  # fmt: skip
def test_a_flipped_byte_is_refused_and_has_no_name_here(far: Path, here: Path, pattern: str, told: str) -> None:
    (path,) = far.glob(pattern)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = pdiff_command("fetch", "tiny", "--from", str(far), cwd=here)
    assert done.returncode == 2 and done.stderr.startswith("error: file://") and done.stderr.count("\n") == 1
    assert told in done.stderr
    assert not (here / "runs" / path.relative_to(far)).exists()
    assert "no finished run" in mistake("show", "tiny"), "its scores come last"


def test_a_stage_under_another_stages_name_is_refused(far: Path, here: Path) -> None:
    first, second = sorted(far.glob("store/fit-*"))[:2]
    shutil.rmtree(first)
    shutil.copytree(second, first)
    assert "is not of the stage that it is named for" in mistake("fetch", "tiny", "--from", str(far))
    assert not (here / "runs" / "store" / first.name).exists()


@pytest.mark.parametrize("name", ["../evil", "/evil", "store/../../evil"])
def test_names_that_lead_elsewhere_are_refused(finished, far: Path, here: Path, name: str) -> None:
    (far.parent / "evil").mkdir()
    (far.parent / "evil" / "stage.json").write_text("{}")
    used = far / finished.folder.name / "stages.json"
    mark = far / finished.folder.name / "report.json"
    pages, names = read_json(mark), read_json(used)
    used.write_text(json.dumps([*names, name]))
    assert "does not hold names of stages" in mistake("fetch", "tiny", "--from", str(far))
    used.write_text(json.dumps(names))
    mark.write_text(json.dumps({**pages, "pages": {name: "0" * 64}}))
    assert "leads elsewhere" in mistake("fetch", "tiny", "--from", str(far))
    assert not [path for path in here.rglob("evil*") if far.parent not in path.parents]


def test_what_cannot_be_fetched_is_told_in_a_line(far: Path, here: Path) -> None:
    assert "no finished run of that name at" in mistake("fetch", "other", "--from", str(far))
    assert "no finished run" in mistake("fetch", "tiny", "--from", str(here / "nowhere"))
    assert "is an address" in mistake("fetch", "tiny", "--from", str(far), "--out", "memory://x")
    (far / next(far.glob("tiny-*")).name / "stages.json").unlink()
    assert "stages.json: is not there" in mistake("fetch", "tiny", "--from", str(far))
    with web(far) as (place, _):
        pass
    assert "cannot be reached" in mistake("fetch", "tiny", "--from", place)
