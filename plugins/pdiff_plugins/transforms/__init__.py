"""Steps on a zoo and on samples."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.transforms.choice import First, Holdout, Largest
from pdiff_plugins.transforms.recalibration import Recalibration
from pdiff_plugins.transforms.temperature import Temperature


@hookimpl
def register_transforms(register: Any) -> None:
    for transform in (First, Largest, Holdout, Temperature, Recalibration):
        register(transform)
