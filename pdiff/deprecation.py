"""Deprecation: one way to tell that a public name or option goes."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def warn_deprecated(what: str, *, since: str, until: str, instead: str, stacklevel: int = 3) -> None:
    """Warn the caller's caller that `what` goes in version `until`, and of what to use instead."""
    warnings.warn(
        f"{what} is deprecated since pdiff {since} and goes in {until}; use {instead}", DeprecationWarning, stacklevel
    )


def deprecated(*, since: str, until: str, instead: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator for a function that warns whenever it is called."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def warned(*arguments: P.args, **options: P.kwargs) -> R:
            name = f"{function.__module__}.{function.__qualname__}"
            warn_deprecated(name, since=since, until=until, instead=instead)
            return function(*arguments, **options)

        return warned

    return decorate
