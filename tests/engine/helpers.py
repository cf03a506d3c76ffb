"""A stage, and a process that computes it, which imports no torch."""

from __future__ import annotations

from pathlib import Path

from pdiff.running.store import Stage, Store

STAGE = Stage("collect", {"seed": 1, "lr": 0.05})


def awaited_stage(root: str, computed, waiting) -> None:
    """Compute the stage, and be done only once two others wait for it."""

    def work(part: Path) -> None:
        computed.release()
        for _ in range(2):
            waiting.acquire()
        (part / "result.txt").write_text("one")

    Store(Path(root)).compute(STAGE, work, lambda line: waiting.release())
