"""What the contracts of several kinds ask."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.data import Batch, leaves
from pdiff.files import load_tensors, save_tensors


def stored(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as they come back from a safetensors file."""
    with tempfile.TemporaryDirectory() as folder:
        save_tensors(Path(folder) / "x.safetensors", tensors)
        return {key: value.clone() for key, value in load_tensors(Path(folder) / "x.safetensors").items()}


def seeded(seed: int, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Do `work` with torch's global generator in a state of our choice."""
    torch.manual_seed(seed)
    return work(*arguments, **options)


def is_json(value: Any, what: str) -> None:
    try:
        same = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{what} is not JSON: {error}") from None
    assert same, f"{what} does not come back from JSON as it was (tuples, or keys that are no text)"


def same_state(a: dict[str, Tensor], b: dict[str, Tensor], otherwise: str) -> None:
    assert list(a) == list(b), otherwise
    differs: Iterable[str] = (key for key in a if not torch.equal(a[key], b[key]))
    first = next(iter(differs), None)
    assert first is None, f"{otherwise} ({first} differs)"


def same_batch(a: Batch, b: Batch, otherwise: str) -> None:
    assert all(map(torch.equal, leaves(tuple(a)), leaves(tuple(b)))), otherwise


def has_gradient(loss: Tensor, model: nn.Module, name: str) -> None:
    loss.backward()
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert grads, f"{name}: no parameter has a gradient"
    assert all(grad.isfinite().all() for grad in grads), f"{name}: a gradient is NaN or Inf"
