"""Networks of independent seeds, trained together."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.collectors.seeds.collector import Seeds


@hookimpl
def register_collectors(register: Any) -> None:
    register(Seeds)
