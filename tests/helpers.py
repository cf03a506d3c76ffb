"""What tests share: places, a recipe that runs in two seconds on real digits, and the program in a fresh process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pdiff.errors import UserError

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("PDIFF_SHARED_DATA", ROOT.parent / "shared" / "data"))

HANG_S = 1800
"""A guard: a fresh process that takes so long hangs. It is far beyond what a busy machine makes of one."""

TINY = """
seed = 3

[dataset]
name = "digits"
augment = "crop"
crop_scale = [0.6, 1.0]

[task]
name = "classification"

[architecture]
name = "mlp_mini"
hidden = [12, 8]

[selector]
name = "entire"

[train]
epochs = 6
lr = 1e-2
batch_size = 64

[collect]
name = "trajectory"
count = 60
lr = 3e-3
batch_size = 64

[method]
name = "pdiff"
steps = 60
timesteps = 40

[[baseline]]
name = "base"
[[baseline]]
name = "soup"
[[baseline]]
name = "noise"
scales = [0.05]
[[baseline]]
name = "constant"

[sample]
count = 12
baseline_count = 8

[[evaluate]]
name = "accuracy"
[[evaluate]]
name = "similarity"
[[evaluate]]
name = "distance"

[[report]]
name = "markdown"

[[expect]]
source = "nowhere: a test"
original = { best = 90.0 }
similarity = { oo = 0.5 }
"""

SMALL = """
seed = 3
[dataset]
name = "digits"
[task]
name = "classification"
[architecture]
name = "mlp_mini"
hidden = [8]
[selector]
name = "entire"
[train]
epochs = 2
[collect]
name = "trajectory"
count = 20
lr = 3e-3
[method]
name = "gaussian"
[[baseline]]
name = "soup"
[sample]
count = 6
[[evaluate]]
name = "accuracy"
"""
"""TINY by the quickest method, with fewer checkpoints and networks."""


def pdiff_command(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a fresh process, as a user does."""
    code = "import sys; from pdiff.cli import main; sys.argv[0] = 'pdiff'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, timeout=HANG_S,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip


def in_ranks(command: list[str], cwd: Path, count: int = 2) -> list[tuple[int, str, str]]:
    """Run a command in several processes as torchrun does, and return each one's exit code, output and errors."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    told = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank)} | told,
        )
        for rank in range(count)
    ]  # fmt: skip
    texts = [process.communicate(timeout=HANG_S) for process in processes]
    return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]


def call(*arguments: str) -> str:
    """Run a command in this process; a mistake raises UserError, as it does before `main` prints it."""
    from typer.testing import CliRunner

    from pdiff.cli import build

    result = CliRunner().invoke(build(), list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def mistake(*arguments: str) -> str:
    """Return the one line with which a command is refused."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)
