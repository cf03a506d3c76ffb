"""Files of tensors: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from pdiff.errors import UserError
from pdiff.files import load_state, load_tensors, save_tensors


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


def test_an_empty_file_of_tensors_survives(tmp_path: Path) -> None:
    save_tensors(tmp_path / "none.safetensors", {})
    assert load_tensors(tmp_path / "none.safetensors") == {}
