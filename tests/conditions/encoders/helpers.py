"""What encoders are handed, in small."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pdiff import UserError
from pdiff.components import Encoder
from pdiff.context import Context
from pdiff.testing import tiny_splits

CTX = Context(seed=3)
PETS = ("cat", "dog", "frog")


def bench(data: Any = None, **more: Any) -> Any:
    """Return the services that encoders ask for, of three classes without names."""
    data = data or tiny_splits()
    given = {"names": (), "classes": data.outputs, "examples": data.split, "preprocess": lambda: None}
    return SimpleNamespace(**(given | {"input_shape": data.input_shape} | more))


def conditions(encoder: Encoder, about: Any, known: Any = None, of: Any = None) -> list[list[float]]:
    """Return what an encoder makes of what networks are about, checked for its form."""
    condition_NC = encoder.encode(about, known or about, of or bench(), CTX)
    assert condition_NC.dtype == torch.float32 and condition_NC.device.type == "cpu" and len(condition_NC) == len(about)
    return condition_NC.tolist()


def refused(call: Any, *words: str) -> None:
    """The call raises one line that has these words."""
    with pytest.raises(UserError) as error:
        call()
    line = str(error.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line
