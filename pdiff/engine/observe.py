"""Observers: the hooks that tell plugins of stages and ask them, called so that a broken one cannot harm a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pdiff.components import Tracker
from pdiff.plugins.discovery import registry
from pdiff.plugins.loading import told
from pdiff.running.ranks import leader


@contextlib.contextmanager
def tracked(
    trackers: Iterable[Tracker], warn: Callable[[str], None], run: str, folder: Path, **about: Any
) -> Iterator[None]:
    """Let trackers follow a run, and tell them when it fails. Raises UserError where one cannot begin."""
    manager, following = registry().manager, list[object]()
    try:
        for tracker in trackers if leader() else ():
            observer, name = tracker.begin(run=run, folder=folder, **about), f"tracker {tracker.name}"
            following.append(observer)
            manager.register(observer, None if manager.has_plugin(name) else name)
        yield
    except BaseException as error:
        notify(warn, "run_finished", run=run, folder=folder, scores={}, files=[], failure=told(error))
        raise
    finally:
        for observer in filter(manager.is_registered, following):
            manager.unregister(observer)


def notify(warn: Callable[[str], None], hook: str, **values: Any) -> None:
    """Call a hook of every plugin that has it; one that raises is named and passed over. The leader alone does."""
    for _ in _answers(warn, hook, values) if leader() else ():
        pass


def ask(warn: Callable[[str], None], hook: str, **values: Any) -> Any:
    """Return the first answer that is not None, None where there is none; a plugin that raises is passed over."""
    return next((answer for answer in _answers(warn, hook, values) if answer is not None), None)


def _answers(warn: Callable[[str], None], hook: str, values: Mapping[str, Any]) -> Iterator[Any]:
    for implementation in reversed(getattr(registry().manager.hook, hook).get_hookimpls()):  # as pluggy calls them
        arguments = {name: values[name] for name in implementation.argnames}
        try:
            yield implementation.function(**arguments)
        except (Exception, SystemExit) as error:
            warn(f"plugin {implementation.plugin_name}: {hook} raised {told(error)}")
