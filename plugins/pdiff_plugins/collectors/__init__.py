"""Where checkpoints come from."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.collectors.folder.collector import Folder
from pdiff_plugins.collectors.trajectory import Trajectory


@hookimpl
def register_collectors(register: Any) -> None:
    register(Trajectory)
    register(Folder)
