"""What a person reads of a run."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.reports.reports import Html, Markdown


@hookimpl
def register_reports(register: Any) -> None:
    register(Html)
    register(Markdown)
