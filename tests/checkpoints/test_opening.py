"""Files and folders as others write them: what lies beside the tensors is passed over, and nothing is run."""

from __future__ import annotations

import argparse
import collections
import datetime
import json
import pathlib
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pdiff.checkpoints.opening import opened, weights_in
from pdiff.errors import UserError
from tests.checkpoints.helpers import net, read, refused, same, state


class Settings:
    """Of the user's own, which no list knows."""


BESIDE = {
    "args": argparse.Namespace(lr=0.1, out=pathlib.Path("x"), best=np.float64(0.5), history=[np.arange(3)]),
    "defaults": collections.defaultdict(list, {"a": [1]}), "queue": collections.deque([1, 2]),
    "when": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "more": types.SimpleNamespace(a=1),
    "type": np.dtype("float32"), "rng": np.random.RandomState(0).get_state(), "epoch": 3, "size": torch.Size([2]),
}  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("ending", [".pth.tar", ".ckpt", ".pt"])
def test_harmless_objects_beside_the_weights_are_passed_over(tmp_path: Path, ending: str, zipped: bool) -> None:
    path = tmp_path / f"checkpoint-1{ending}"
    torch.save({"state_dict": state(), **BESIDE}, path, _use_new_zipfile_serialization=zipped)
    given, said = read(path)
    assert same(given) and said == "collect: 1 file: taken from 'state_dict'"
    assert opened(path)["queue"] == [1, 2] and not hasattr(opened(path)["args"], "lr")


@pytest.mark.parametrize(
    ("value", "name"),
    [(Settings(), r"tests\.checkpoints\.test_opening\.Settings"), (net(), r"tests\.checkpoints\.helpers\.Net")],
)
def test_the_class_that_is_not_read_is_named(tmp_path: Path, value, name: str) -> None:
    torch.save({"model": state(), "x": value}, tmp_path / "a.pt")
    with pytest.raises(
        UserError, match=rf"a\.pt: holds more than tensors, an object of {name}, and pdiff runs no code"
    ):
        opened(tmp_path / "a.pt")


def test_what_is_passed_over_is_not_left_allowed(tmp_path: Path) -> None:
    torch.save(BESIDE, tmp_path / "a.pt")
    opened(tmp_path / "a.pt")
    with pytest.raises(Exception, match=r"argparse\.Namespace"):
        torch.load(tmp_path / "a.pt", weights_only=True)


def sharded(folder: Path, ending: str = ".safetensors") -> Path:
    """Write a network in two files with an index, as Hugging Face does."""
    folder.mkdir()
    parts, where = ({}, {}), {}
    for number, (name, value) in enumerate(state().items()):
        stem = "model" if ending == ".safetensors" else "pytorch_model"
        where[name] = f"{stem}-0000{number % 2 + 1}-of-00002{ending}"
        parts[number % 2][name] = value
    for number, part in enumerate(parts):
        path = folder / f"{stem}-0000{number + 1}-of-00002{ending}"
        save_file(part, path) if ending == ".safetensors" else torch.save(part, path)
    index = folder / f"{stem}{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return index


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
def test_a_folder_with_an_index_is_one_network(tmp_path: Path, ending: str) -> None:
    sharded(tmp_path / "a", ending)
    assert same(read(tmp_path / "a")[0]) and len(weights_in(tmp_path / "a")) == 2


def test_an_index_that_lies_is_told(tmp_path: Path) -> None:
    index = sharded(tmp_path / "a")
    about = json.loads(index.read_text())
    lost = tmp_path / "a" / about["weight_map"]["out.bias"]
    save_file({"fc1.weight": torch.zeros(6, 4)}, lost)
    assert "index.json: names" in refused(tmp_path / "a")
    lost.unlink()
    with pytest.raises(UserError, match=f"names the file .{lost.name}., which is not there"):
        opened(tmp_path / "a")
    for text in ("{}", '{"weight_map": {"a": "../a.pt"}}', '{"weight_map": [1]}', "[]"):
        index.write_text(text)
        with pytest.raises(UserError, match="does not say which file holds which entry"):
            opened(tmp_path / "a")


def test_a_folder_of_one_known_file_is_that_file_and_another_is_none(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "model.safetensors")
    torch.save(state(1), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text("{}")
    assert same(opened(tmp_path))
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="is a folder without one network's weights"):
        opened(tmp_path / "other")
