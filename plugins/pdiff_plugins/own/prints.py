"""Fingerprints: what counts in keys of objects that a Python session hands over."""

from __future__ import annotations

import functools
import hashlib
import inspect
import site
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pdiff.data import DatasetSplits, TensorSplit
from pdiff_plugins.own.splits import example_of, is_read_by_item, parts_of, split_of

EXAMPLES = 64
"""Of a torch Dataset, evenly spread, that are read for its fingerprint."""
INSTALLED = tuple(
    Path(place).resolve()
    for place in {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
)
PACKAGES = frozenset({"site-packages", "dist-packages"})
"""Folders of what is installed in an environment that another one uses."""
UNCOUNTED = ("__module__", "__doc__", "__firstlineno__")
PLAIN = (int, float, str, bytes, bool, complex, type(None))


def digest(*parts: Any) -> str:
    """Return a SHA-256 of values: tensors and arrays by their numbers, code by its source, others by what they say."""
    sha = hashlib.sha256()
    for part in _words(parts, set()):
        sha.update(part)
        sha.update(b"\0")
    return sha.hexdigest()


def state_digest(model: nn.Module) -> str:
    """Return the SHA-256 of a network's state dict."""
    return f"sha256:{digest(model.state_dict())}"


def _words(value: Any, seen: set[int]) -> Iterator[bytes]:
    if isinstance(value, Tensor):
        tensor = value.detach().cpu().contiguous()
        yield f"{tensor.dtype}{list(tensor.shape)}".encode()
        yield tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield f"{value.dtype}{list(value.shape)}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, PLAIN):
        yield f"{type(value).__name__} {value!r}".encode()
    elif isinstance(value, Mapping):
        for key in value:
            yield from _words(key, seen)
            yield from _words(value[key], seen)
    elif isinstance(value, list | tuple | set | frozenset):
        yield f"{type(value).__name__} {len(value)}".encode()
        for each in sorted(value, key=repr) if isinstance(value, set | frozenset) else value:
            yield from _words(each, seen)
    elif id(value) in seen:
        yield b"again"
    else:
        seen.add(id(value))
        yield from _of_object(value, seen)


def _of_object(value: Any, seen: set[int]) -> Iterator[bytes]:
    if isinstance(value, nn.Module):
        yield repr(value).encode()
        yield from _words([(key, list(entry.shape)) for key, entry in value.state_dict().items()], seen)
        for layer in value.modules():
            if _ours(type(layer)):
                yield from _words(type(layer), seen)
                yield from _words({k: v for k, v in vars(layer).items() if k[:1] != "_" and isinstance(v, PLAIN)}, seen)
    elif isinstance(value, type):
        yield f"class {value.__name__}".encode()
        for base in value.__mro__ if _ours(value) else ():
            for name, member in sorted(vars(base).items()) if _ours(base) else ():
                member = _function(member)
                if isinstance(member, (FunctionType, Tensor, *PLAIN)) and name not in UNCOUNTED:
                    yield name.encode()
                    yield from _words(member, seen)
    elif isinstance(value, functools.partial):
        yield from _words([value.func, value.args, value.keywords], seen)
    elif isinstance(_function(value), FunctionType):
        function = _function(value)
        if isinstance(value, MethodType):
            yield from _words(value.__self__, seen)
        yield function.__qualname__.encode()
        if _ours(function):
            yield from _of_code(function.__code__, function.__globals__, seen)
            yield from _words([function.__defaults__, function.__kwdefaults__], seen)
            yield from _words([cell.cell_contents for cell in function.__closure__ or () if _filled(cell)], seen)
    elif isinstance(value, ModuleType):
        yield value.__name__.encode()
    else:
        yield f"{type(value).__module__}.{type(value).__qualname__}".encode()
        if _ours(type(value)):
            yield from _words([type(value), getattr(value, "__dict__", {})], seen)


def _function(member: Any) -> Any:
    """Return the function inside a method, a property or a wrapper."""
    for inside in ("__func__", "fget", "__wrapped__"):
        member = getattr(member, inside, None) or member
    return member


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _of_code(code: CodeType, names: Mapping[str, Any], seen: set[int]) -> Iterator[bytes]:
    """Yield what a function does, and what it takes of the user's own code; its place and comments do not count."""
    yield code.co_code
    yield repr([name for name in code.co_names]).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant, names, seen)
        else:
            yield from _words(constant, seen)
    for name in code.co_names:
        used = names.get(name)
        if isinstance(used, PLAIN) or (isinstance(used, type | FunctionType) and _ours(used)):
            yield from _words(used, seen)


def _ours(code: Any) -> bool:
    """Whether a class or a function is the user's own, and not of what is installed."""
    try:
        file = Path(inspect.getfile(code)).resolve()
    except (TypeError, OSError):  # of a notebook or a prompt; what is built in has no Python code
        return bool(getattr(code, "__module__", "") == "__main__")
    return not any(file.is_relative_to(place) for place in INSTALLED) and PACKAGES.isdisjoint(file.parts)


def data_digest(given: Any) -> str:
    """Return a SHA-256 of the data that a user gives; see `PythonDataset`. Raises UserError for what is no data."""
    whole = isinstance(given, DatasetSplits)
    parts = {name: given.split(name) for name in ("train", "validation", "test")} if whole else parts_of(given)
    return digest({name: _of_part(part, name) for name, part in parts.items()})


def _of_part(part: Any, name: str) -> Any:
    items: Any = part.dataset if isinstance(part, DataLoader) else part
    if is_read_by_item(items):
        numbers = np.unique(np.linspace(0, max(len(items) - 1, 0), EXAMPLES).astype(int)).tolist() if len(items) else []
        return [type(items), len(items), [example_of(items, number, number, name) for number in numbers]]
    split = split_of(items, name)
    if isinstance(split, TensorSplit):
        return [split.inputs, split.targets]
    index = (
        torch.linspace(0, len(split) - 1, EXAMPLES).long().unique() if len(split) else torch.zeros(0, dtype=torch.int64)
    )
    return [type(split), len(split), list(split.batch(index, torch.device("cpu"))), split.targets]
