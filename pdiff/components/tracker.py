"""What follows a run for a person who looks on elsewhere."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pdiff.components.base import Component


class Tracker(Component):
    """Tells another program how a run goes."""

    kind: ClassVar[str] = "tracker"

    @abstractmethod
    def begin(self, *, run: str, recipe: Mapping[str, Any], folder: Path, stages: Mapping[str, str]) -> object:
        """Return an object whose methods, marked by `hookimpl`, are called as a plugin's hooks until the run ends.

        `recipe` has every option, `folder` may not be there yet, `stages` are names (`fit pdiff`) -> keys. Raises
        UserError, before anything is computed, where it cannot follow: its library is absent, nobody answers.
        """
