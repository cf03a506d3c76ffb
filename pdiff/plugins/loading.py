"""What a plugin may do while it loads: fail in any way, print, exit. Only a true Ctrl-C stops the program."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path

from pdiff.components.base import Component
from pdiff.errors import UserError, did_you_mean, short

OURS = "pdiff_plugins"
"""The package of the first-party plugins: a stranger takes neither their names nor their commands."""


@dataclass
class Plugin:
    """One entry point, or a file that the user names: what it provides, or why it failed."""

    name: str
    distribution: str
    version: str
    module: str
    components: list[type[Component]] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    failure: str = ""
    file: str = ""
    """Of a plugin that is a file of the user's own, with its digest; empty for what is installed."""

    def fail(self, why: str) -> None:
        self.failure = why

    @property
    def package(self) -> str:
        return Path(self.module).stem if self.file else re.split("[.:]", self.module)[0]


def told(error: BaseException) -> str:
    """Return `TypeOfError: what it says` in a short line, also of an error that cannot say it."""
    try:
        return short(f"{type(error).__name__}: {' '.join(str(error).split())}", 300)
    except BaseException as worse:
        return f"{type.__dict__['__name__'].__get__(type(error))}, whose text raises {type(worse).__name__}"


@contextlib.contextmanager
def contained(failed: Callable[[str], None], tell: Callable[[BaseException], str] = told) -> Iterator[None]:
    """Run a plugin's code: what it raises is told to `failed`, as `tell` puts it, and what it prints goes to stderr.

    Raises KeyboardInterrupt where Ctrl-C was pressed, whatever the plugin made of it, and never where it was not.
    """
    pressed: list[int] = []

    def press(number: int, frame: object) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread() and before is signal.default_int_handler
    try:
        if ours:
            signal.signal(signal.SIGINT, press)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and not ours and before is not signal.SIG_IGN:
            raise  # a handler of somebody else's may have raised it
        failed(tell(error))
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def blamed(error: BaseException, plugins: list[Plugin]) -> str:
    """Return a line that names the stranger's plugin in whose code an error arose last, or nothing."""
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    for package in (module.partition(".")[0] for module in reversed(modules)):
        for plugin in plugins:
            if plugin.package == package != OURS:
                return f"plugin {plugin.name} ({plugin.distribution} {plugin.version}) raised {told(error)}"
    return ""


def wanted(entries: list[EntryPoint]) -> list[EntryPoint]:
    """Order entry points by name, and keep those that PDIFF_PLUGINS allows."""
    entries = sorted(set(entries), key=lambda entry: (entry.name, not entry.value.startswith(OURS), entry.value))
    allowed = os.environ.get("PDIFF_PLUGINS")
    if allowed is None:
        return entries
    names = [name.strip() for name in allowed.split(",") if name.strip()]
    missing = sorted(set(names) - {entry.name for entry in entries})
    if missing:
        raise UserError(f"PDIFF_PLUGINS: no plugin {missing[0]!r}{did_you_mean(missing[0], [e.name for e in entries])}")
    return [entry for entry in entries if entry.name in names]


def origin(entry: EntryPoint) -> tuple[str, str]:
    """Return the name and the version of the distribution that an entry point is of; `?` where nobody can tell."""
    try:
        distribution = entry.dist
        return (distribution.name or "?", distribution.version or "?") if distribution else ("?", "?")
    except Exception:
        return "?", "?"
