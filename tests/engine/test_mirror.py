"""Runs at an address: computed in one place and opened in another, with the same networks, nothing computed again."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

import pdiff
from pdiff.engine import work
from pdiff.errors import UserError
from pdiff.running.remote import local
from tests.helpers import call, mistake
from tests.running.places import address, forget, web


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, here: Path) -> Path:
    monkeypatch.setenv("PDIFF_CACHE", str(here / "cache"))
    return here / "cache"


@pytest.fixture
def nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise AssertionError("is computed")

    for name in ("do_collect", "do_fit", "do_sample"):
        monkeypatch.setattr(work, name, fails)


def shown(run: str, *more: str) -> dict[str, Any]:
    return json.loads(call("show", run, "--json", *more))["networks"]


def publish(finished, out: str) -> pdiff.Run:
    """Run the small recipe at an address, its stages being here; return the run."""
    shutil.copytree(finished.folder.parent / "store", local(out) / "store")
    recipe = finished.folder.parent.parent / "tiny.toml"
    return pdiff.run(recipe, out=out, quiet=True)


@pytest.mark.parametrize("kind", ["memory", "file", "s3"])
def test_a_run_at_an_address_is_opened_where_nothing_of_it_is(
    finished, here: Path, kind: str, nothing_is_computed
) -> None:
    with address(kind, here) as out:
        name = publish(finished, out).folder.name
        forget(out)
        run = pdiff.open_run("tiny", out=out)
        assert run.folder == local(out) / name and run.scores["networks"] == finished.scores["networks"]
        for source in finished.sources:
            assert torch.equal(run.theta(source), finished.theta(source))
        first, theirs = run.networks(1)[0].state_dict(), finished.networks(1)[0].state_dict()
        assert all(torch.equal(first[key], theirs[key]) for key in theirs)
        forget(out)
        assert pdiff.open_run(f"{out}/{name}").theta().equal(finished.theta())
        forget(out)
        assert shown(f"{out}/{name}") == finished.scores["networks"]
        forget(out)
        again = pdiff.run(finished.folder.parent.parent / "tiny.toml", out=out, quiet=True)
        assert again.scores["networks"] == finished.scores["networks"]


def test_a_run_is_sent_whole_and_says_where_it_is(tiny: Path, here: Path) -> None:
    out = f"file://{(here / 'far').as_posix()}"
    said = call("run", "tiny.toml", "--out", out)
    (name,) = {path.parent.name for path in (here / "far").glob("*/files.json")}
    assert f"and at {out}/{name}" in said.replace("\n", "")
    used = json.loads((here / "far" / name / "stages.json").read_text())
    assert all((here / "far" / "store" / stage / "stage.json").is_file() for stage in used) and len(used) > 10
    assert {"recipe.toml", "resolved.toml", "report.md", "scores.json"} <= {
        p.name for p in (here / "far" / name).iterdir()
    }
    assert not [path for path in (here / "far").rglob("*") if path.name.endswith((".tmp", ".lease"))]
    forget(out)
    assert "train     cached" in call("run", "tiny.toml", "--out", out) and " 0 of them" not in call(
        "check", "tiny.toml", "--set", f"run.out={out}"
    )


def test_what_cannot_be_sent_is_kept_and_sent_the_next_time(
    finished, monkeypatch: pytest.MonkeyPatch, nothing_is_computed
) -> None:
    out, system = "memory://full/runs", fsspec.get_filesystem_class("memory")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="all is kept in") as caught:
        patch.setattr(system, "put_file", full)
        publish(finished, out)
    assert "the same command sends what is missing" in str(caught.value) and "\n" not in str(caught.value)
    pdiff.run(finished.folder.parent.parent / "tiny.toml", out=out, quiet=True)
    forget(out)
    assert shown("tiny", "--out", out) == finished.scores["networks"]


def test_a_copy_follows_the_address_but_keeps_what_was_changed_in_it(
    finished, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    out, recipe = "memory://followed/runs", finished.folder.parent.parent / "tiny.toml"
    publish(finished, out)
    monkeypatch.setenv("PDIFF_CACHE", str(here / "laptop"))
    assert "front" not in pdiff.open_run("tiny", out=out).scores["columns"]
    monkeypatch.setenv("PDIFF_CACHE", str(here / "cache"))
    pdiff.open_run("tiny", out=out).evaluate(["front"])
    pdiff.run(recipe, out=out, quiet=True)  # sends it
    monkeypatch.setenv("PDIFF_CACHE", str(here / "laptop"))
    laptop = pdiff.open_run("tiny", out=out)
    assert "front" in laptop.scores["columns"]
    laptop.evaluate(["denoising"])
    assert {"front", "denoising"} <= set(pdiff.open_run("tiny", out=out).scores["columns"])
    monkeypatch.setenv("PDIFF_CACHE", str(here / "cache"))
    assert "denoising" not in pdiff.open_run("tiny", out=out).scores["columns"], "what is opened sends nothing"


def test_a_damaged_stage_there_ends_the_run_and_is_not_computed(finished, here: Path, nothing_is_computed) -> None:
    out = f"file://{(here / 'far').as_posix()}"
    publish(finished, out)
    forget(out)
    (file,) = (here / "far" / "store").glob("collect-*/zoo.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    said = mistake("run", str(finished.folder.parent.parent / "tiny.toml"), "--out", out, "--quiet")
    assert "zoo.safetensors: holds other bytes than its listing says" in said
    assert not list((local(out) / "store").glob("collect-????????????????"))


def test_what_a_web_server_shows_is_read_and_not_written(finished, here: Path) -> None:
    name = finished.folder.name
    with web(finished.folder.parent.parent) as (place, _):
        assert shown(f"{place}/runs/{name}") == finished.scores["networks"]
        run = pdiff.open_run("tiny", out=f"{place}/runs")
        assert run.theta().equal(finished.theta())
        assert len(run.sample(2)) == 2, "what is not there is computed here"
        assert pdiff.open_run(f"{place}/runs/{name}").folder == run.folder
        said = mistake("run", str(finished.folder.parent.parent / "tiny.toml"), "--out", f"{place}/runs")
        assert "can only be read" in said
    for asked in (f"{place}/runs/{name}", f"{place}/runs/tiny"):
        assert f"its copy is here: {run.folder}" in mistake("show", asked)
    assert shown(str(run.folder)) == finished.scores["networks"]


@pytest.mark.parametrize("names", ['["../collect-0000000000000000"]', '["/x"]', '{"a": 1}', "[1]", "{", ""])
def test_names_of_stages_that_lead_elsewhere_are_refused(finished, here: Path, names: str) -> None:
    out = f"file://{(here / 'far').as_posix()}"
    folder = publish(finished, out).folder
    forget(out)
    (here / "far" / folder.name / "stages.json").write_text(names)
    assert "stages.json: does not hold names of stages" in mistake("show", "tiny", "--out", out)


def test_no_pickle_is_written_or_read_on_the_way(finished, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise AssertionError("a pickle")

    with address("s3", here) as out:
        for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
            monkeypatch.setattr(pickle, name, fails)
        publish(finished, out)
        forget(out)
        assert pdiff.open_run("tiny", out=out).theta().equal(finished.theta())
        system, root = fsspec.url_to_fs(out, skip_instance_cache=True)
        kinds = {path.rpartition(".")[2] for path in system.find(root)}
        assert kinds <= {"json", "toml", "md", "safetensors", "txt"}
    unknown = mistake("show", "other", "--out", "memory://empty/runs")
    assert unknown == "other: no finished run of that name at memory://empty/runs (there: none)"


def test_a_file_of_code_is_not_copied_and_nothing_of_it_runs(finished, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PDIFF_CACHE", str(tmp_path / "cache"))
    shutil.copytree(finished.folder.parent, tmp_path / "far")
    run = tmp_path / "far" / finished.folder.name
    code = f"open({str(tmp_path / 'ran')!r}, 'w')"
    (run / "evil.py").write_text(code)
    (run / "resolved.toml").write_text('plugins = ["evil.py"]\n' + (run / "resolved.toml").read_text())
    mark = json.loads((run / "report.json").read_text())
    mark["pages"]["evil.py"] = hashlib.sha256(code.encode()).hexdigest()
    (run / "report.json").write_text(json.dumps(mark))
    with pytest.raises(UserError, match=r"'evil\.py' is no file of a run's results"):
        pdiff.open_run(finished.folder.name, out=f"file://{tmp_path / 'far'}")
    assert not (tmp_path / "ran").exists() and not list((tmp_path / "cache").rglob("evil.py"))
