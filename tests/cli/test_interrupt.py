"""Control-C: one line, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import TINY

HEARD = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""As a shell lets a program that it runs before it; those behind it ignore Control-C, and so do their own."""
PROGRAM = f"import sys; {HEARD}; from pdiff.cli import main; sys.argv[0] = 'pdiff'; main()"


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send")
def test_a_run_that_is_interrupted_says_so_in_a_line_and_keeps_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY.replace("steps = 60", "steps = 1000000"))
    command = [sys.executable, "-u", "-c", PROGRAM, "run", "tiny.toml"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("2/6 collect"))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130 and said == "stopped; the same command goes on from here\n"
    assert list((tmp_path / "runs" / "store").glob("collect-*/stage.json"))
    assert not list((tmp_path / "runs" / "store" / "locks").iterdir())
