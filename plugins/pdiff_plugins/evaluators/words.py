"""Words that findings share: lists, and differences with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pdiff.results.scores import Unit


def listed(parts: Sequence[str]) -> str:
    """Return parts as a person lists them: "a, b and c"; nothing of none."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def interval(gain: Mapping[str, Any], unit: Unit) -> str:
    """Return a difference (`pdiff_plugins.maths.crossed.Gain`) with its interval: "+0.78 points, +0.34 to +1.22"."""
    low, high = (unit.bare(gain[end], "+") for end in ("low", "high"))
    return f"{unit.difference(gain['mean'], '+')}, {low} to {high}"
