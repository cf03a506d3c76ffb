"""Networks as files of their own: whole state dicts that their architecture loads with strict=True."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pdiff.errors import UserError
from pdiff.files import make_folder, save_tensors, write_json
from pdiff.mapped import rows
from pdiff.results.runs import SCORES
from pdiff.running.locks import run_locked

LONGEST, WHOLE = 60, 120
"""Of an option in a folder's name, and of all of them, in bytes: a sentence may be longer than a name can be."""


def check_new(paths: Sequence[Path], overwrite: bool = False) -> None:
    """Raise UserError where a file to be is there already, unless it may be overwritten."""
    there = next((path for path in paths if path.exists()), None)
    if there and not overwrite:
        raise UserError(f"{there}: is there already; choose another name, or replace it with --overwrite")


def new_files(paths: Sequence[Path], overwrite: bool = False) -> None:
    """Make the folders of files to be. Raises UserError as `check_new` does."""
    check_new(paths, overwrite)
    for folder in dict.fromkeys(path.parent for path in paths):
        make_folder(folder)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside the place of one to be; at the end it takes that place, unless something is raised.

    Raises UserError where what is there holds files that the new one does not.
    """
    part, old = (path.parent / f".{path.name}.{what}" for what in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)
    make_folder(part)
    try:
        yield part
        if path.exists():
            _require_no_more(path, {file.name for file in part.iterdir()})
            shutil.rmtree(old, ignore_errors=True)
            os.replace(path, old)  # a folder that is taken away file by file is half a folder where that is interrupted
        os.replace(part, path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _require_no_more(path: Path, names: set[str]) -> None:
    """Raise UserError where a folder of which a new one is about to take the place holds more than that."""
    if not path.is_dir() or (more := next((file.name for file in path.iterdir() if file.name not in names), None)):
        what = f"holds {more}, which would be lost" if path.is_dir() else "is a file"
        raise UserError(f"{path}: {what}; choose another name for --to")


State = Callable[[Tensor], Mapping[str, Tensor]]
"""theta_D -> the whole state dict of its network."""


def write_networks(state: State, theta_MD: Tensor, folder: Path, overwrite: bool = False) -> list[Path]:
    """Write each network to a file of a folder and return the paths. Raises UserError where it holds others."""
    paths = [folder / f"network-{index:04d}.safetensors" for index in range(len(theta_MD))]
    other = sorted(set(folder.glob("*.safetensors")) - set(paths))
    if other:
        raise UserError(f"{folder}: holds other networks already ({other[0].name}); choose an empty folder")
    new_files(paths, overwrite)
    for path, theta_D in zip(paths, rows(theta_MD), strict=True):
        save_tensors(path, state(theta_D))
    return paths


def write_network(path: Path, state: Callable[[], Mapping[str, Tensor]], overwrite: bool) -> Path:
    """Write one state dict. Raises UserError, before it asks for it, where the name is taken or no such file's."""
    if path.suffix != ".safetensors":
        raise UserError(f"--to {path}: give a name that ends in .safetensors, or --all and a folder")
    new_files([path], overwrite)
    save_tensors(path, state())
    return path


def write_scored(
    state: State, theta_MD: Tensor, scored: Mapping[str, Any], folder: Path, run: Path, overwrite: bool
) -> tuple[Path, list[tuple[str, float]]]:
    """Write networks, their scores and what they are about; return the folder and (file name, score) of each.

    In the folder of the run, a name is of one draw alone: what is there is that draw.
    """
    within = folder.parent == run
    with run_locked(run) if within else contextlib.nullcontext():
        paths = write_networks(state, theta_MD, folder, overwrite or within)
        names = [path.name for path in paths]
        told = {**scored, "scores": [None if math.isnan(score) else score for score in scored["scores"]]}
        by_name = {key: dict(zip(names, told[key], strict=True)) for key in ("scores", "about") if told.get(key)}
        write_json(folder / SCORES, told | by_name)
    return folder, list(zip(names, scored["scores"], strict=True))


def number_of(which: str | int, count: int, source: str) -> int:
    """Return the number of a network as it is asked for. Raises UserError."""
    if str(which).isdecimal() and len(str(which)) < 10 and int(which) < count:
        return int(which)
    raise UserError(f"--which {which}: write 'best' or a number from 0 to {count - 1} ({source} has {count} networks)")


def in_name(value: Any) -> str:
    """Return an option as a folder's name shows it: of a long one the beginning, and a digest that tells it."""
    text = "-".join(f"{key}-{item}" for key, item in value.items()) if isinstance(value, Mapping) else str(value)
    name = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in text)
    return shortened(name, LONGEST)


def shortened(name: str, most: int = WHOLE) -> str:
    """Return a name that a file system takes: of a long one its beginning and a digest."""
    if len(name.encode()) <= most:
        return name
    return f"{name.encode()[:most].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def in_words(asked: Any) -> str:
    """Return what networks are asked for as a command line has it: of a list, a tensor or an array 1,2,5."""
    asked = asked.tolist() if hasattr(asked, "tolist") else asked
    return ",".join(map(str, asked)) if isinstance(asked, list | tuple) else str(asked)
