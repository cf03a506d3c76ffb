"""Encoders: what turns what a network is for into a vector."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.conditions.encoders.attributes import Attributes
from pdiff_plugins.conditions.encoders.bits import Bits
from pdiff_plugins.conditions.encoders.features import Features
from pdiff_plugins.conditions.encoders.label import Label
from pdiff_plugins.conditions.encoders.text import Text


@hookimpl
def register_encoders(register: Any) -> None:
    """Register the encoders."""
    for encoder in (Bits, Label, Attributes, Text, Features):
        register(encoder)
