"""Files of tensors: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
import torch
from safetensors import torch as library

from pdiff.checkpoints.reading import load_state
from pdiff.errors import UserError
from pdiff.files import DTYPES, load_tensors, save_tensors, sha256_of, write_json


class Evil:
    """Runs code when it is unpickled without care."""

    def __reduce__(self):
        return os.mkdir, ("evil",)


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_state(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text
    return text


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_a_pt_file_gives_its_state_dict(tmp_path: Path, wrap) -> None:
    state = {"a.weight": torch.randn(2, 3)}
    torch.save(wrap(state), tmp_path / "a.pt")
    assert load_state(tmp_path / "a.pt")["a.weight"].equal(state["a.weight"])


def test_a_data_parallel_prefix_is_dropped(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1)}, tmp_path / "a.pt")
    assert list(load_state(tmp_path / "a.pt")) == ["a"]


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(1), "x": Evil()}, tmp_path / "evil.pt")
    assert "more than tensors" in refused(tmp_path / "evil.pt")
    assert not (tmp_path / "evil").exists()


def test_truncated_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(100)})
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refused(tmp_path / "half.safetensors")
    assert "no such file" in refused(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    refused(tmp_path / "text.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    assert "no state dict" in refused(tmp_path / "list.pt")


def state_of_every_type() -> dict[str, torch.Tensor]:
    """Return tensors of every type that there is, two of each, of several shapes, not all contiguous."""
    names = [pair.split(":")[1] for pair in DTYPES.split()]
    state = {f"{name}/{n}": torch.arange(6).to(getattr(torch, name)) for name in names for n in "ba"}
    shared = torch.randn(3, 4)
    return state | {"scalar": torch.tensor(2.5), "none": torch.empty(0, 3), "turned": shared.T, "shared": shared}


def test_the_file_is_what_the_library_writes_byte_by_byte(tmp_path: Path) -> None:
    state, about = state_of_every_type(), {"format": "pt"}
    save_tensors(tmp_path / "ours.safetensors", state)
    owned = {key: value.contiguous().clone() for key, value in state.items()}
    assert (tmp_path / "ours.safetensors").read_bytes() == library.save(owned, metadata=about)
    read = load_tensors(tmp_path / "ours.safetensors")
    assert read.keys() == state.keys() and all(read[key].dtype == state[key].dtype for key in state)
    assert read["turned"].equal(state["turned"])


def test_what_the_library_cannot_read_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"w is torch\.complex128"):
        save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(2, dtype=torch.complex128)})
    assert not list(tmp_path.iterdir())


def test_every_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(1)})
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


@pytest.mark.parametrize("read", [load_tensors, load_state])
def test_a_file_that_may_not_be_read_is_not_called_missing(tmp_path: Path, monkeypatch, read) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"w": torch.ones(1)})

    def refuses(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pdiff.files.open", refuses, raising=False)
    with pytest.raises(UserError, match=r"a.safetensors: cannot be read \(Permission denied\)"):
        read(path)


def test_a_digest_follows_a_change_that_keeps_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for text in ("one", "two", "six"):
        path.write_text(text)
        assert sha256_of(path) == hashlib.sha256(text.encode()).hexdigest()


def test_a_file_at_rest_is_read_once(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    os.utime(path, (1e9, 1e9))
    digest = sha256_of(path)
    monkeypatch.setattr("pdiff.files.open", lambda *_: pytest.fail("read again"), raising=False)
    assert sha256_of(path) == digest


def test_an_empty_file_of_tensors_survives(tmp_path: Path) -> None:
    save_tensors(tmp_path / "none.safetensors", {})
    assert load_tensors(tmp_path / "none.safetensors") == {}
