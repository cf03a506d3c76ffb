"""What a campaign counts: trials by kind, passed and failed, and the first failures of each kind in words."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

KEPT = 5
"""Failures of a kind that are shown."""
SHOWN_EVERY = 5.0
"""Seconds between two lines of progress."""


@dataclass
class Count:
    """Trials of one kind."""

    passed: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass
class Tally:
    """The counts of a campaign by kind of trial; progress goes to stderr."""

    campaign: str
    counts: dict[str, Count] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)
    _told: float = 0.0

    def add(self, kind: str, failure: str | None = None) -> None:
        """Count one trial: passed, or failed as `failure` says."""
        count = self.counts.setdefault(kind, Count())
        if failure is None:
            count.passed += 1
        else:
            count.failed += 1
            if len(count.failures) < KEPT:
                count.failures.append(failure)
        if time.monotonic() - self._told > SHOWN_EVERY:
            self._told = time.monotonic()
            print(f"{self.campaign}: {self.tried:,} tried, {self.failed:,} failed", file=sys.stderr, flush=True)

    @property
    def failed(self) -> int:
        return sum(count.failed for count in self.counts.values())

    @property
    def tried(self) -> int:
        return self.failed + sum(count.passed for count in self.counts.values())

    def table(self) -> str:
        """Return the counts as a Markdown table, and the failures that were kept below it."""
        rows = [(kind, count.passed + count.failed, count.passed, count.failed) for kind, count in self.counts.items()]
        rows.append(("**all**", self.tried, self.tried - self.failed, self.failed))
        lines = [f"| {self.campaign} | tried | passed | failed |", "|---|--:|--:|--:|"]
        lines += [f"| {kind} | {tried:,} | {passed:,} | {failed:,} |" for kind, tried, passed, failed in rows]
        lines += [f"\n{kind}: {failure}" for kind, count in self.counts.items() for failure in count.failures]
        return "\n".join([*lines, f"\n{time.monotonic() - self.begun:.0f} s"])
