"""Tensors and state dicts on disk: safetensors and JSON are written, pickles are never."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

PRETRAINED = "pretrained"


def digest_of(path: str) -> str:
    """Return `sha256:...` of a file's bytes; `path` itself where it names none (`""`, `"pretrained"`)."""
    if not path or path == PRETRAINED or not Path(path).is_file():
        return path
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file in one step: readers see the old file or the whole new one.

    Raises UserError when the disk is full or not writable; the old file is then still there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    partial = _beside(path)
    owned = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    try:
        save_file(owned, partial, metadata={"format": "pt"} | dict(metadata or {}))
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise _refused(path, error) from None


def _beside(path: Path) -> Path:
    """Return a name for the unfinished file that no other process uses."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def make_folder(folder: Path) -> None:
    """Make a folder and its parents. Raises UserError when that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from None


def folder_below(root: Path, name: str) -> Path:
    """Return the folder that a recipe names, relative to `root`. Raises UserError for the home of nobody."""
    try:
        return root / Path(name).expanduser()
    except RuntimeError:
        raise UserError(f"{name}: there is no user of that name; write the whole path") from None


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, memory-mapped. Raises UserError when it is missing, truncated or no such file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); it is truncated or damaged") from None


def read_metadata(path: Path) -> dict[str, str]:
    """Return the text metadata of a safetensors file. Raises UserError as `load_tensors` does."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); it is truncated or damaged") from None


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from .safetensors, or from .pt / .pth / .bin with `weights_only=True`.

    A state dict wrapped as `{"state_dict": ...}` or `{"model": ...}` is unwrapped, and a common `module.` prefix
    (DataParallel) is dropped. Raises UserError for a missing, damaged or code-carrying file.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return load_tensors(path)
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: holds more than tensors, and pdiff runs no code from a checkpoint; "
            "save it as torch.save(model.state_dict(), ...) or as .safetensors"
        ) from None
    except Exception as error:  # a damaged zip or pickle can fail in any way
        why = " ".join(f"{type(error).__name__} {error}".split())[:120]
        raise UserError(f"{path}: not a whole checkpoint file ({why}); it is truncated or something else") from None
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    named = isinstance(state, Mapping) and all(isinstance(key, str) for key in state)
    if not named or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path}: holds no state dict (a mapping of names to tensors)")
    for key, value in state.items():
        if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_complex():
            raise UserError(f"{path}: {key} is no dense tensor of real numbers; save it as one")
    prefix = "module."
    wrapped = bool(state) and all(key.startswith(prefix) for key in state)
    return {key[len(prefix) :] if wrapped else key: value for key, value in state.items()}


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step. Raises UserError when the disk is full or not writable."""
    partial = _beside(path)
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _refused(path, error) from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one step. Raises UserError when the disk is full or not writable."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def _refused(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be written ({error}); make room or choose another run.out, then run again")


def read_json(path: Path) -> Any:
    """Read JSON. Raises UserError when the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text. Raises TOMLDecodeError, or UserError for what no reader takes."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UserError("brackets are nested too deeply") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:
        raise UserError("an integer has thousands of digits; at most 64 bits are read") from None


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return copies of the tensors under a prefix, without it: what is loaded may be a read-only map of the file."""
    return {key.removeprefix(prefix): value.clone() for key, value in tensors.items() if key.startswith(prefix)}
