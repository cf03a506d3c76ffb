"""What the campaigns of harmed runs share: a recipe, the warm process, and what a run leaves."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.campaign import warm
from tests.campaign.options import Options
from tests.campaign.recipe import RECIPE
from tests.helpers import ROOT

SHIM = Path(__file__).with_name("events.c")


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code or minus a signal, file events where it was not killed, and its errors."""

    status: int
    events: int
    said: str


class Warm:
    """The warm process."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process

    def run(
        self, folder: Path, *, moment: int = 0, way: int = warm.NONE, errno: int = 0,
        after_s: float = 0.0, seed: int = 0, arguments: tuple[str, ...] = ("run", "tiny.toml", "-q"),
    ) -> Ended:  # fmt: skip
        """Run in a folder, harmed at the `moment`-th file event in a way, or killed after a time."""
        request = {"folder": str(folder), "moment": moment, "way": way, "errno": errno}
        request |= {"after_s": after_s, "seed": seed, "arguments": arguments}
        assert self.process.stdin and self.process.stdout
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return Ended(**json.loads(self.process.stdout.readline()))


@contextlib.contextmanager
def place(options: Options) -> Iterator[Path]:
    """Give the folder to work in."""
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campaign-")))
        work.mkdir(parents=True, exist_ok=True)
        yield work.resolve()


@contextlib.contextmanager
def warmed(work: Path) -> Iterator[Warm]:
    """Compile the shim into `work` and start the warm process with it."""
    library = work / "events.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True)
    environment = os.environ | {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    environment |= {"COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.campaign.warm"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Warm(process)
        assert process.stdin
        process.stdin.close()


def fresh(folder: Path) -> Path:
    """Make a folder that holds the recipe."""
    folder.mkdir()
    (folder / "tiny.toml").write_text(RECIPE)
    return folder


def left(folder: Path) -> dict[str, str]:
    """Return what a run left: each file's digest; of files that tell times only that they are there."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted((folder / "runs").rglob("*"))}
    return {name: _digest(path) for name, path in files.items() if path.suffix != ".lease"}


def _digest(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    if path.name == "stage.json":
        about = json.loads(path.read_text())
        return hashlib.sha256(json.dumps(about | {"seconds": 0}).encode()).hexdigest()
    if path.parent.parent.name != "store":
        return "there"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differs(there: dict[str, str], wanted: dict[str, str]) -> str | None:
    """Say what of a run's files is not as an undisturbed run leaves them."""
    stray, missing = sorted(there.keys() - wanted.keys()), sorted(wanted.keys() - there.keys())
    other = sorted(name for name in there.keys() & wanted.keys() if there[name] != wanted[name])
    parts = {"strays": stray, "missing": missing, "other bytes": other}
    return "; ".join(f"{len(names)} {what}, as {names[0]}" for what, names in parts.items() if names) or None
