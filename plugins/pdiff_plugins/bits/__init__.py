"""Networks in few bits: on a grid, or with most weights cut away."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.bits.codecs import Quantised, Sparse


@hookimpl
def register_backbones(register: Any) -> None:
    for codec in (Quantised, Sparse):
        register(codec)
