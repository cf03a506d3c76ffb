"""A name that goes tells its caller, once per call, what to use instead."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from pdiff.deprecation import deprecated, warn_deprecated


@deprecated(since="1.2", until="1.4", instead="pdiff.new")
def old(number: int, *, more: int = 0) -> int:
    """Add."""
    return number + more


def test_a_deprecated_function_works_and_warns_at_the_callers_line() -> None:
    with pytest.warns(
        DeprecationWarning, match=r"old is deprecated since pdiff 1\.2 and goes in 1\.4; use pdiff\.new"
    ) as seen:
        assert old(2, more=3) == 5
    assert Path(seen[0].filename) == Path(__file__)
    assert old.__name__ == "old" and old.__doc__ == "Add."


def test_an_option_warns_at_the_line_that_gives_it() -> None:
    def takes(label: int | None = None) -> None:
        if label is not None:
            warn_deprecated("label", since="1.2", until="1.4", instead="option")

    with pytest.warns(DeprecationWarning, match="label is deprecated") as seen:
        takes(label=7)
    assert Path(seen[0].filename) == Path(__file__)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        takes()
