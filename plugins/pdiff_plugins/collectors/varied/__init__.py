"""Networks that were each trained in another way."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.collectors.varied.collector import Varied


@hookimpl
def register_collectors(register: Any) -> None:
    register(Varied)
