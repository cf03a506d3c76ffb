"""An extension of griffe, which reads docstrings for the site: shows the code below `Example:` as code.

Google's style would take an indented block there for prose.
"""

import re
import textwrap
from typing import Any

import griffe

EXAMPLE = re.compile(r"^Example:\n((?:[ \t]+.*(?:\n|\Z)|\n)+)", re.MULTILINE)


class Examples(griffe.Extension):
    """Fences the examples of every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one object's docstring."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(match: re.Match[str]) -> str:
    return f"**Example**\n\n```python\n{textwrap.dedent(match[1]).strip()}\n```\n\n"
