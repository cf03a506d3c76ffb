"""A process that has imported everything, and forks for each run that is to be harmed: `python -m tests.campaign.warm`.

It reads one request as JSON a line, and answers with the run's exit status, the number of its file events and its
lines of error. It is started with events.c preloaded, which counts what a run does to files below its folder, and harms
it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from tests.campaign.recipe import RECIPE

NONE, BEFORE, HALF, AFTER, ONCE, ON = range(6)


def prepare() -> None:
    """Make a run, so that all is imported; let chance, not the clock, say when a snapshot is saved."""
    import torch

    import pdiff
    from pdiff.cli import build
    from pdiff.running.snapshot import Snapshot
    from pdiff_plugins.drawing import style
    from pdiff_plugins.populations import chooser

    torch.set_num_threads(1)
    chooser.QUICK_S, style.DPI = float("inf"), 20
    Snapshot.due = lambda self: self.folder is not None and random.random() < 0.4  # type: ignore[method-assign]
    build()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tiny.toml").write_text(RECIPE)
        pdiff.run(Path(folder, "tiny.toml"), set={"run.out": folder}, quiet=True)
    gc.freeze()


def harmed(request: dict[str, Any], into: int) -> NoReturn:
    """Be the run that is asked for, as the command line is, and end with its exit code."""
    from pdiff import cli

    os.chdir(request["folder"])
    random.seed(request["seed"])
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    os.dup2(into, sys.stderr.fileno())
    if request["after_s"]:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, request["after_s"])
    shim = ctypes.CDLL(None)
    shim.events.restype = ctypes.c_long
    shim.arm(request["folder"].encode(), ctypes.c_long(request["moment"]), request["way"], request["errno"])
    sys.argv = ["pdiff", *request["arguments"]]
    code = 1
    try:
        cli.main()
        code = 0
    except SystemExit as exited:
        code = exited.code if isinstance(exited.code, int) else int(exited.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    count = shim.events()
    shim.arm(b"", ctypes.c_long(0), NONE, 0, 0)
    print(f"\n{count} events", file=sys.stderr, flush=True)
    os._exit(code)


def main() -> None:
    prepare()
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as said:
            child = os.fork()
            if not child:
                harmed(request, said.fileno())
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said.seek(0)
            text, _, last = said.read().decode().strip().rpartition("\n")
        counted = last.endswith(" events")
        answer = {"status": status, "events": int(last.split()[0]) if counted else 0, "said": text.strip()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
