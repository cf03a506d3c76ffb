"""Tensors and state dicts on disk: safetensors and JSON are written, pickles are never."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import secrets
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff.errors import UserError, naming
from pdiff.mapped import HEADER, KEPT, Touched, file_of

if TYPE_CHECKING:
    from torch import Tensor

PRETRAINED = "pretrained"
DTYPES = (
    "BOOL:bool U8:uint8 I8:int8 F8_E5M2:float8_e5m2 F8_E4M3:float8_e4m3fn I16:int16 U16:uint16 F16:float16 "
    "BF16:bfloat16 I32:int32 U32:uint32 F32:float32 C64:complex64 F64:float64 I64:int64 U64:uint64"
)
"""Types of tensors as safetensors and as torch name them, in the order in which a file holds them from its end."""
CHUNK = 2**24
"""Numbers that are written at a time."""
SETTLED_NS = 2_000_000_000
"""A file changed within this time may change again without another time of change."""


def digest_of(path: str) -> str:
    """Return `sha256:...` of a file's bytes; `path` itself where it names none (`""`, `"pretrained"`)."""
    if not path or path == PRETRAINED or not Path(path).is_file():
        return path
    return f"sha256:{sha256_of(Path(path))}"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; a process reads it once while its size, time and inode stay."""
    about = path.stat()
    read = _sha256 if time.time_ns() - about.st_mtime_ns > SETTLED_NS else _sha256.__wrapped__
    return read(os.path.abspath(path), about.st_size, about.st_mtime_ns, about.st_ino)


@functools.cache
def _sha256(path: str, *_state: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file in one step: readers see the old file or the whole new one.

    Raises UserError when the disk is full or not writable; the old file is then still there.
    """
    _write(path, _safetensors(tensors, {"format": "pt"} | dict(metadata or {})))


def save_rows(path: Path, theta_ND: Tensor) -> None:
    """Write a safetensors file of one tensor, `theta`; vectors that are `kept` beside it are not copied."""
    file = file_of(theta_ND)
    if file is None or file.parent != path.parent.resolve() or not file.name.endswith(KEPT):
        return save_tensors(path, {"theta": theta_ND})
    about = {"dtype": "F32", "shape": list(theta_ND.shape), "data_offsets": [0, 4 * theta_ND.numel()]}
    text = json.dumps({"__metadata__": {"format": "pt"}, "theta": about}, separators=(",", ":")).encode()
    with naming(path), open(file, "r+b") as out:
        out.write((HEADER - 8).to_bytes(8, "little") + text.ljust(HEADER - 8))
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(file, path)  # by its old name a run that is killed before its stage is whole goes on with it
    except OSError:  # a disk without links
        os.replace(file, path)
    return None


def _safetensors(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> Iterator[bytes | memoryview]:
    """Yield a safetensors file, tensor by tensor: the library's writer leaves files of its own where it is killed."""
    import torch

    names = {getattr(torch, theirs): ours for ours, theirs in (pair.split(":") for pair in DTYPES.split())}
    ranks = {dtype: rank for rank, dtype in enumerate(names)}
    odd = next((f"{key} is {value.dtype}" for key, value in tensors.items() if value.dtype not in names), None)
    if odd:
        raise UserError(f"{odd}, which safetensors does not hold; convert it")
    order = sorted(tensors, key=lambda key: (-ranks[tensors[key].dtype], key))
    header, start = dict[str, Any](__metadata__=metadata), 0
    for key in order:
        value, stop = tensors[key], start + tensors[key].numel() * tensors[key].element_size()
        header[key] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for key in order:
        value, touched = tensors[key].detach(), Touched(tensors[key])
        for row in value if value.dim() > 1 and not value.is_contiguous() else [value]:
            for part in row.cpu().contiguous().reshape(-1).split(CHUNK):
                if part.numel():
                    yield memoryview(part.view(torch.uint8).numpy())
                    touched(part)


def _write(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file beside its place, and put it there once it is whole and on the disk."""
    partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(partial, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        mend = "make it writable" if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else "make room"
        why = f"cannot be written ({error.strerror or error})"
        raise UserError(f"{path}: {why}; {mend} or choose another folder, then run again") from None


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file in one step. Raises UserError when the disk is full or not writable."""
    _write(path, [data])


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step. Raises UserError when the disk is full or not writable."""
    _write(path, [text.encode()])


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one step. Raises UserError when the disk is full or not writable."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def sync(folder: Path) -> None:
    """Let the names in a folder outlive a loss of power, where the system has a way to ask for it."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


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

    check_opens(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); it is truncated or damaged") from None


def check_opens(path: Path) -> None:
    """Raise UserError that says why a file cannot be opened: safetensors calls every such file missing."""
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def read_metadata(path: Path) -> dict[str, str]:
    """Return the text metadata of a safetensors file. Raises UserError as `load_tensors` does."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); it is truncated or damaged") from None


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
