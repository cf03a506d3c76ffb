"""Addresses: what is copied is what was sent, and what is damaged, missing or leads elsewhere is refused in a line."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import fsspec
import pytest

from pdiff.errors import UserError
from pdiff.running.remote import Address, is_address, local, remote_at, safe
from pdiff.running.store import Stage, Store
from tests.running.places import address, web

STAGE = Stage("collect", {"seed": 1, "lr": 0.05})
ABOUT = f"store/{STAGE.folder_name}/stage.json"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def work(part: Path) -> None:
    (part / "inner").mkdir()
    (part / "inner" / "large.bin").write_bytes(bytes(range(256)) * 20_000)
    (part / "a b.txt").write_text("small")
    (part / "snapshot.safetensors").write_text("is not sent")


def fails(part: Path) -> None:
    raise AssertionError("is computed")


def sent(out: str) -> Path:
    """Compute the stage and send it; return its folder."""
    store = Store.at(out)
    store.remote.sends = True
    return store.compute(STAGE, work)


def far_of(tmp_path: Path) -> tuple[str, Path]:
    """Return an address, and the folder that it is."""
    return f"file://{tmp_path.as_posix()}/far", tmp_path / "far" / "store" / STAGE.folder_name


@pytest.mark.parametrize("kind", ["memory", "file", "s3"])
def test_a_stage_that_was_sent_is_copied_and_not_computed(tmp_path: Path, cache: Path, kind: str) -> None:
    with address(kind, tmp_path) as out:
        folder = sent(out)
        before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert len(before) == 3
        shutil.rmtree(cache)
        store = Store.at(out)
        assert store.has(STAGE) and not store.has(Stage("collect", {"seed": 2}))
        assert store.stage(STAGE.folder_name) == STAGE
        assert store.compute(STAGE, fails) == folder
        assert before == {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_who_sends_sends_and_a_stage_whose_listing_is_not_there_is_none(tmp_path: Path, cache: Path) -> None:
    out, far = far_of(tmp_path)
    Store.at(out).compute(STAGE, work)
    assert not far.exists()
    shutil.rmtree(cache)
    sent(out)
    (far / "stage.json").unlink()
    shutil.rmtree(cache)
    assert not Store.at(out).has(STAGE)


def test_a_damaged_local_stage_is_copied_again(tmp_path: Path) -> None:
    out, _ = far_of(tmp_path)
    folder, said = sent(out), []
    (folder / "a b.txt").write_text("smell")
    assert (Store.at(out).compute(STAGE, fails, said.append) / "a b.txt").read_text() == "small"
    assert "damaged" in said[0]


@pytest.mark.parametrize(("damage", "told"), [
    (lambda far: (far / "a b.txt").write_text("smell"), "a b.txt: holds other bytes than its listing says"),
    (lambda far: (far / "inner" / "large.bin").unlink(), "inner/large.bin: is not there"),
    (lambda far: (far / "stage.json").write_text("{"), "stage.json: is damaged"),
    (lambda far: (far / "stage.json").write_text('{"files": {"x": 1}, "sha256": {}}'), "stage.json: is damaged"),
])  # fmt: skip
def test_what_is_damaged_there_is_refused_and_has_no_name_here(tmp_path: Path, cache: Path, damage, told: str) -> None:
    out, far = far_of(tmp_path)
    sent(out)
    damage(far)
    shutil.rmtree(cache)
    with pytest.raises(UserError, match="far/store") as caught:
        Store.at(out).compute(STAGE, fails)
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert not (local(out) / "store" / STAGE.folder_name).exists()
    assert not list(cache.rglob("*.tmp"))


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:evil", "", ".", "a//b"])
def test_a_listing_that_leads_elsewhere_is_refused(tmp_path: Path, cache: Path, name: str) -> None:
    assert not safe(name) and safe("a/b.c") and safe("a b")
    out, far = far_of(tmp_path)
    sent(out)
    about = json.loads((far / "stage.json").read_text())
    about["files"][name], about["sha256"][name] = 4, sha256(b"evil").hexdigest()
    (far / "stage.json").write_text(json.dumps(about))
    (far.parent / "evil").write_text("evil")
    shutil.rmtree(cache)
    with pytest.raises(UserError, match="leads out of its folder"):
        Store.at(out).compute(STAGE, fails)
    assert not [path for path in cache.rglob("*") if path.name == "evil"]


def test_copying_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent(f"file://{tmp_path.as_posix()}/far")
    with web(tmp_path / "far") as (out, asked):
        copy, copied = Address._copy, []

        def stopped(self: Address, path: str, *rest) -> None:
            if copied:
                raise KeyboardInterrupt
            copy(self, path, *rest)
            copied.append(path)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Address, "_copy", stopped)
            Store.at(out).compute(STAGE, fails)
        assert len(copied) == 1
        asked.clear()
        assert (Store.at(out).compute(STAGE, fails) / "inner" / "large.bin").stat().st_size == 5_120_000
        assert len([path for path in asked if not path.endswith("stage.json")]) == 1, "the other file is here"


def test_what_cannot_be_sent_is_told_once_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    store, said = Store.at("memory://nowhere/runs"), []
    store.remote.sends = True

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "put_file", full)
    for seed in range(2):
        store.compute(Stage("fit", {"seed": seed}), work, said.append)
    assert len(said) == 1 and "No space left on device" in said[0] and "sent at the run's end" in said[0]


def test_where_an_address_is_kept_here(cache: Path, tmp_path: Path) -> None:
    assert local("runs") == Path("runs") and local(tmp_path) == tmp_path and not is_address("C://x")
    place = local("s3://bucket/team/runs")
    assert place.parent == cache and place.name.startswith("bucket-team-runs-")
    assert local("s3://bucket/team/runs/") == place != local("gs://bucket/team/runs")
    with pytest.raises(UserError, match="hand it over as text"):
        local(Path("s3://bucket/runs"))


@pytest.mark.parametrize(("out", "told"), [
    ("https://host/runs", "can only be read"),
    ("nosuch://x/runs", "nosuch://x/runs: is no address"),
    ("simplecache::s3://x/runs", "chain"),
    ("sftp://me:secret@host/runs", "holds a password"),
])  # fmt: skip
def test_an_address_that_cannot_be_written_to_is_told_in_a_line(out: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        raise UserError("".join(remote_at(out).faults()))
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_library_that_is_not_there_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", absent)
    (line,) = remote_at("s3://bucket/runs").faults()
    assert "Install s3fs" in line and "pip install 'neural-pdiff[remote]'" in line


def test_a_bucket_that_is_not_there_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    with address("s3", tmp_path) as out:
        assert remote_at(out).faults() == []
        (line,) = remote_at("s3://other/runs").faults()
        assert line.startswith("run.out: s3://other/runs") and "bucket does not exist" in line
