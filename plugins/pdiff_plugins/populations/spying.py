"""Which calls of a network a task makes, and with what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pdiff.way import Predicts


class _Seen(BaseException):
    """Carries what a task hands to the model."""


def arguments_of(task: Predicts, inputs: Any) -> tuple[Any, ...]:
    """Return the arguments of the task's first call of the model, which is not run."""

    def spy(*arguments: Any, **options: Any) -> Any:
        raise _Seen(arguments)

    try:
        task.predict(spy, inputs)
    except _Seen as seen:
        return seen.args[0]
    return ()


def count_calls(task: Predicts, inputs: Any, output: Any) -> int:
    """Return how often the task calls a model that gives `output`; more than once where it hands over options."""
    calls = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1 + len(options)
        return output

    task.predict(counted, inputs)
    return calls
