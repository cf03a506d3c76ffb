"""Folders of captures: which scenes are in them, what each is called, and which of its views are fitted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pdiff.checkpoints.names import natural
from pdiff.errors import Faults, UserError
from pdiff_plugins.radiance.captures.scene import SPLITS, Capture, View
from pdiff_plugins.radiance.captures.transforms import pictures_in, read

WHOLE, BY_SPLIT = "transforms.json", {split: f"transforms_{split[:5]}.json" for split in ("train", "test")} | {
    "validation": "transforms_val.json"
}  # fmt: skip
DESCRIPTION, CAPTION = "description.json", "caption.txt"
MOST = 10_000
"""Folders that are looked at."""


def scenes(root: Path) -> list[Path]:
    """Return the folders of scenes: the folder itself, or its subfolders. Raises UserError where there are none."""
    if not root.is_dir():
        raise UserError(f"dataset.root: {root} is no folder; put captures there, or name another")
    if _files(root):
        return [root]
    below = [path for path in islice(root.iterdir(), MOST + 1) if path.is_dir() and not path.name.startswith(".")]
    if len(below) > MOST:
        raise UserError(f"dataset.root: {root} holds over {MOST:,} folders; name one that holds scenes alone")
    found = sorted((path for path in below if _files(path)), key=lambda path: natural(path.name))
    if not found:
        raise UserError(
            f"dataset.root: {root} holds neither {WHOLE} nor {BY_SPLIT['train']}, nor does a folder in it; run "
            "instant-ngp's colmap2nerf.py or nerfstudio's ns-process-data on the pictures, or name another folder"
        )
    return found


def _files(folder: Path) -> dict[str, Path]:
    """Return the files that say where cameras stood, by the split that they are of, `""` for all."""
    known = {"": folder / WHOLE} | {split: folder / name for split, name in BY_SPLIT.items()}
    there = {split: path for split, path in known.items() if path.is_file()}
    return there if "" in there or "train" in there else {}


def files_of(root: Path) -> Iterator[Path]:
    """Yield all files that are read of the scenes of a folder, in their order. Raises UserError where one is damaged.

    Those that are missing are not told of here.
    """
    for folder in scenes(root):
        yield from (path for path in (folder / DESCRIPTION, folder / CAPTION) if path.is_file())
        for path in _files(folder).values():
            yield path
            yield from sorted(picture for picture in pictures_in(path) if picture.is_file())


def captures(root: Path, hold: int) -> list[Capture]:
    """Return the scenes of a folder. Raises Faults with a line for each thing that is wrong."""
    faults: list[str] = []
    folders = scenes(root)
    some = [_capture(folder, hold, faults) for folder in folders]
    if len(folders) > 1 or folders[0] != root:
        faults += [
            f"{path}: holds neither {WHOLE} nor {BY_SPLIT['train']}, as the folders beside it do; take it away"
            for path in sorted(root.iterdir())
            if path.is_dir() and not path.name.startswith(".") and path not in folders
        ]
    if faults:
        raise Faults(faults)
    return [capture for capture in some if capture]


def _capture(folder: Path, hold: int, faults: list[str]) -> Capture | None:
    """Return a scene; None where a line is added to `faults`."""
    before, files = len(faults), _files(folder)
    if "" in files and "train" in files:
        faults.append(f"{folder}: holds both {WHOLE} and {BY_SPLIT['train']}; take one of them away")
        return None
    told = {split: read(path, faults) for split, path in files.items()}
    about = _about(folder, faults)
    if len(faults) > before:
        return None
    whole = told.get("") or told["train"]
    named = dict(whole.named) if "" in files else {split: [*each.views.values()] for split, each in told.items()}
    views = shared_out(named or {"train": [*whole.views.values()]}, hold)
    empty = [split for split in SPLITS if not views[split]]
    if empty:
        count = sum(map(len, views.values()))
        faults.append(
            f"{files.get('') or files['train']}: frames: {count} views leave none for {' and '.join(empty)}; have at "
            "least 3, or name some for it"
        )
        return None
    return Capture(folder, views, about, whole.placing)


def shared_out(named: Mapping[str, list[View]], hold: int) -> dict[str, list[View]]:
    """Return the views of each split, of those that the files name: see `PosedImages`."""
    views = {split: list(named.get(split, ())) for split in SPLITS}
    if views["validation"] and not views["test"]:
        views["test"], views["validation"] = views["validation"], []
    train = sorted(views["train"], key=lambda view: natural(view.file.as_posix()))
    if not views["test"]:
        views["test"] = train[::hold]
        views["validation"] = train[1::hold]
        views["train"] = [view for number, view in enumerate(train) if number % hold > 1]
    elif not views["validation"]:
        views["validation"] = train[1::hold]
        views["train"] = [view for number, view in enumerate(train) if number % hold != 1]
    return views


def _about(folder: Path, faults: list[str]) -> dict[str, Any]:
    """Return what a scene is, as its folder's name or a file in it says."""
    words = " ".join(folder.resolve().name.replace("_", " ").replace("-", " ").split())
    about: dict[str, Any] = {"label": folder.resolve().name, "text": words}
    description, caption = folder / DESCRIPTION, folder / CAPTION
    if description.is_file():
        about |= _described(description, faults)
    elif caption.is_file():
        try:
            lines = [line.strip() for line in caption.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{caption}: no text in UTF-8 ({error}); save it as such")
            return about
        if not lines:
            faults.append(f"{caption}: holds no sentence; write one, or take it away")
            return about
        about |= {"text": lines[0]} | ({"wordings": lines} if len(lines) > 1 else {})
    return about


def _described(path: Path, faults: list[str]) -> dict[str, Any]:
    """Return what a description says: numbers and words by name, and `wordings`, a list of sentences."""
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        faults.append(f"{path}: no JSON ({error}); mend it")
        return {}
    if not isinstance(given, dict) or "shape" in given:
        what = "'shape' is taken; call it otherwise" if isinstance(given, dict) else 'no object; write {"text": ...}'
        faults.append(f"{path}: {what}")
        return {}
    for key, value in given.items():
        if key == "wordings":
            fits = isinstance(value, list) and bool(value) and all(isinstance(sentence, str) for sentence in value)
        else:
            fits = isinstance(value, str if key in ("text", "label") else str | int | float)
        if not fits:
            faults.append(f"{path}: {key} = {value!r}: give a number or words, for wordings a list of sentences")
    return given
