"""A sweep by one worker and by several, in turn: times, stages computed, and whether all bytes are the same.

    python benchmarks/fleet.py [recipes/quickstart.toml] [-j 2] [--engine local] [-o KEY=VALUE] [--cells 8]

Cells differ in the steps of their method, so that they share the base network, the checkpoints and the baselines.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = "import sys; from pdiff.cli import main; sys.argv[0] = 'pdiff'; main()"


def digests(out: Path) -> dict[str, str]:
    """Return the digests of all files of the store but stage.json, by path."""
    files = (path for path in (out / "store").glob("*-*/**/*") if path.is_file() and path.name != "stage.json")
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def swept(recipe: Path, steps: list[int], out: Path, workers: int, engine: list[str]) -> tuple[float, int]:
    """Run the sweep; return seconds, and how many stages its workers computed."""
    values = f"method.steps={','.join(map(str, steps))}"
    command = ["sweep", str(recipe), "--set", values, "--out", str(out), "-j", str(workers), *engine]
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", PROGRAM, *command], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    told = (out / "sweeps").glob("*/workers/*.json")
    return seconds, sum(json.loads(path.read_text())["computed"] for path in told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("recipes/quickstart.toml"))
    parser.add_argument("-j", type=int, default=2)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--first", type=int, default=2000, help="steps of the first cell's method")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--engine", default="local")
    parser.add_argument("-o", action="append", default=[])
    options = parser.parse_args()
    steps = [options.first + number for number in range(options.cells)]
    engine = ["--engine", options.engine, *(word for option in options.o for word in ("-o", option))]
    print(f"{options.recipe.stem}, {options.cells} cells, load {os.getloadavg()[0]:.1f} before\n")
    print("| workers | s | stages computed | different |\n| --- | --: | --: | --: |", flush=True)
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            known = {}
            for workers, how in ((1, []), (options.j, engine)):
                out = Path(folder) / f"{workers}-{len(known)}"
                seconds, computed = swept(options.recipe, steps, out, workers, how)
                known[workers, bool(how)] = seconds, digests(out)
                print(
                    f"| {workers} | {seconds:.1f} | {computed} | {len(list((out / 'store').glob('*-*')))} |", flush=True
                )
            (alone, before), (together, after) = known.values()
            print(f"\n{alone / together:.2f} times as quick; bytes {'equal' if before == after else 'DIFFER'}\n")


if __name__ == "__main__":
    main()
