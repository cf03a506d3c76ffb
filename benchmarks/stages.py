"""What a recipe costs stage by stage, in time, memory and bytes on the disk, and what it gives: scores and verdict.

    python benchmarks/stages.py recipes/scale/resnet20_cifar10_open.toml [--set run.data=DATA] [--until collect]

What the store has already is read and costs little: for the cost of a whole run give it a new folder (`--out`).
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pdiff.engine.pipeline import Pipeline
from pdiff.engine.plan import Plan
from pdiff.engine.scores import scores_of
from pdiff.recipe.loading import load_recipe, parse_override
from pdiff.results.scores import unit_of
from pdiff.running.progress import Progress


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(what: str, work: Callable[[], Any]) -> Any:
    """Do it, and print a row: CPU seconds, wall seconds, the process's peak so far."""
    cpu, wall = time.process_time(), time.monotonic()
    result = work()
    seconds = f"{time.process_time() - cpu:.1f} | {time.monotonic() - wall:.1f}"
    print(f"| {what} | {seconds} | {peak_mb():.0f} |", flush=True)
    return result


def size_of(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 2**20:.1f}"


def results(scores: dict[str, Any]) -> None:
    """Print a row per source, then what the run says of itself."""
    print("\n| source | networks | score | NLL | answers otherwise |\n| --- | --: | --: | --: | --: |")
    unit = unit_of(scores)
    for source, told in scores["networks"].items():
        task, audit = told[scores["scored_by"]], told.get("audit", {})
        likelihood = f"{audit['nll']:.4f}" if "nll" in audit else ""
        apart = f"{audit['spread']['apart']:.2%}" if "spread" in audit else ""
        score = f"{unit.factor * task['mean']:.2f} +- {unit.factor * task['std']:.2f}"
        print(f"| {source} | {told['count']} | {score} | {likelihood} | {apart} |")
    print("\n".join(["", scores["verdict"], *scores["notes"]]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", help="folder of results")
    parser.add_argument("--until", choices=["train", "collect", "evaluate"], default="evaluate")
    options = parser.parse_args(arguments)
    changes = dict(map(parse_override, options.set)) | ({"run.out": options.out} if options.out else {})
    pipeline = Pipeline(Plan(load_recipe(options.recipe, changes)), options.recipe.stem, Progress())
    print(f"{options.recipe.stem}\n\n| stage | CPU-s | s | peak MB so far |\n| --- | --: | --: | --: |")
    print(f"| imports | {time.process_time():.1f} | | {peak_mb():.0f} |", flush=True)
    measured("train", pipeline.train)
    if options.until == "train":
        return
    zoo = measured("collect", lambda: pipeline.zoo)
    if options.until == "collect":
        return
    for source in pipeline.plan.methods:
        measured(f"fit {source}", lambda source=source: pipeline.generator(source))
        measured(f"sample {source}", lambda source=source: pipeline.sample(source))
    for evaluator in pipeline.recipe.evaluate:
        measured(evaluator.name, lambda evaluator=evaluator: pipeline.evaluate(evaluator))
    print(f"\n{len(zoo)} checkpoints of {zoo.layout.dim:,} numbers; by stage on the disk, MB:")
    print(", ".join(f"{what} {size_of(pipeline.store.folder(stage))}" for what, stage in pipeline.plan))
    results(scores_of(pipeline))


if __name__ == "__main__":
    main()
