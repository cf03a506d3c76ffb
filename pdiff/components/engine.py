"""What runs workers: on this machine, or on others that see the same folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pdiff.components.base import Component


class Job(ABC):
    """A command that an engine was given to run, somewhere and some time."""

    @abstractmethod
    def ended(self) -> str | None:
        """Return None until it has ended, nothing where it ended as it should, else why in a few words."""

    @abstractmethod
    def stop(self) -> None:
        """End it, so that it can still clean up, and return once it has ended, or after some seconds."""


class Launcher(ABC):
    """An engine at work."""

    @abstractmethod
    def start(self, command: Sequence[str], number: int, env: Mapping[str, str]) -> Job:
        """Let a command run, the `number`th from 0 on, with these variables beside those that it finds.

        The command sees the current folder of this process where it is started as its own, or changes to it itself.
        """

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of what was held for jobs, all of which have ended or were stopped."""


class Engine(Component):
    """Runs commands side by side: what each computes, they settle among themselves by the store."""

    kind: ClassVar[str] = "engine"

    def places(self) -> int:
        """Return how many commands fit side by side, where nobody says."""
        return 4

    @abstractmethod
    def open(self, folder: Path) -> Launcher:
        """Return a launcher, which may keep logs and files of its own in `folder`.

        Raises UserError, before anything is computed, where it cannot run: its library is absent, nobody answers.
        """
