"""Observers: the hooks that tell plugins of stages and ask them, called so that a broken one cannot harm a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pdiff.plugins.discovery import registry
from pdiff.plugins.loading import told
from pdiff.running.progress import Progress


def notify(progress: Progress, hook: str, **values: Any) -> None:
    """Call a hook of every plugin that has it; one that raises is named and passed over."""
    for _ in _answers(progress, hook, values):
        pass


def ask(progress: Progress, hook: str, **values: Any) -> Any:
    """Return the first answer that is not None, None where there is none; a plugin that raises is passed over."""
    return next((answer for answer in _answers(progress, hook, values) if answer is not None), None)


def _answers(progress: Progress, hook: str, values: Mapping[str, Any]) -> Iterator[Any]:
    for implementation in reversed(getattr(registry().manager.hook, hook).get_hookimpls()):  # as pluggy calls them
        arguments = {name: values[name] for name in implementation.argnames}
        try:
            yield implementation.function(**arguments)
        except (Exception, SystemExit) as error:
            progress.say(f"warning: plugin {implementation.plugin_name}: {hook} raised {told(error)}")
