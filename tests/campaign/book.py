"""Every recipe that comes with pdiff, cut down, from data to report, without a network: one trial each.

Data sets lie there small, in their published formats; pretrained weights, random ones in the published layouts, come
from a hub on this machine; any other host is refused. Recipes that share a base network follow each other, so that
they find its stages in the store, which is emptied behind them.
"""

from __future__ import annotations

import gc
import math
import os
import shutil
import sys
import tempfile
import time
import tomllib
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from pdiff.recipe.loading import load_recipe
from pdiff_plugins.drawing import style
from pdiff_plugins.populations import chooser
from tests.campaign.book_world import cuts, hub, offline, reading, sets
from tests.campaign.options import Options
from tests.campaign.tally import Tally
from tests.helpers import ROOT, call

RECIPES = ROOT / "recipes"
CHECKPOINTS, QUICKSTART = "bring_your_own_checkpoints", RECIPES / "quickstart.toml"
RESNET20 = "data/cifar10_resnet20.safetensors"
BASE = ("seed", "protocol", "dataset", "task", "architecture", "train")
"""Tables that decide a base network."""
COARSE = 40
"""Dots of an inch of a figure: half of the time goes into drawing finer ones."""
STALE = (DeprecationWarning, FutureWarning, PendingDeprecationWarning)
"""Warnings of libraries about their own code."""


@dataclass(frozen=True)
class Planned:
    """A recipe as it is tried."""

    path: Path
    small: dict[str, Any]
    base: str
    """What decides its base network; those of one follow each other."""

    @property
    def kind(self) -> str:
        return self.path.parent.relative_to(RECIPES.parent).as_posix()


def run(options: Options) -> Tally:
    os.environ["OMP_NUM_THREADS"] = "1"
    work = (options.work or Path(tempfile.mkdtemp(prefix="book-"))).resolve()
    tally, base = Tally("book"), ""
    try:
        with world(work) as asked:
            for plan in ordered(options.only, options.seed):
                if plan.base != base:
                    shutil.rmtree(work / "runs" / "store", ignore_errors=True)
                base, begun = plan.base, time.monotonic()
                failure = trial(plan, asked)
                gc.collect()
                tally.add(plan.kind, failure and f"{plan.path.stem}: {failure}")
                print(
                    f"{plan.path.stem}: {time.monotonic() - begun:.1f} s {failure or ''}", file=sys.stderr, flush=True
                )
    finally:
        if options.work is None:
            shutil.rmtree(work, ignore_errors=True)
    return tally


@contextmanager
def world(work: Path) -> Iterator[list[str]]:
    """Make data, hub and weights in `work`, the current folder meanwhile; give the hosts that were asked for."""
    assert "huggingface_hub" not in sys.modules, "it reads its settings when it is imported"
    with pytest.MonkeyPatch.context() as patch:
        work.mkdir(parents=True, exist_ok=True)
        patch.chdir(work)
        home = hub.Hub(work / "published")
        hub.use(home, work / "cache", patch)
        patch.setattr(style, "DPI", COARSE)
        patch.setattr(chooser, "QUICK_S", math.inf)  # populations this small are not worth a trial of ways
        asked = offline.cut_off(patch)
        for name in ("data", "runs", "recipes", "checkpoints"):
            shutil.rmtree(work / name, ignore_errors=True)
        hub.fill_torch_hub(work / "cache")
        sets.write(work / "data", patch)
        weigh(work / RESNET20)
        yield asked
        home.server.shutdown()


def weigh(path: Path) -> None:
    """Write the ResNet-20 "that was trained elsewhere"."""
    from pdiff_plugins.networks.nets.resnet20 import ResNet20

    hub.save_file(hub.of(ResNet20(3, 10)), path)


def ordered(only: str, seed: int) -> list[Planned]:
    """Return all recipes whose path holds `only`, cut down, those of one base network together.

    Quickstart comes first, whose checkpoints the second takes.
    """
    first = ["quickstart", CHECKPOINTS]
    paths = sorted(RECIPES.rglob("*.toml"))
    paths.sort(key=lambda path: first.index(path.stem) if path.stem in first else len(first))
    plans = [planned(path, seed) for path in paths if only in path.relative_to(RECIPES).as_posix()]
    bases = list(dict.fromkeys(plan.base for plan in plans))
    return sorted(plans, key=lambda plan: bases.index(plan.base))


def planned(path: Path, seed: int) -> Planned:
    """Return a recipe cut down."""
    given = tomllib.loads(path.read_text(encoding="utf-8"))
    given["seed"] += seed
    small = cuts.cut_down(given, load_recipe(path).table()) | {"run": {"threads": 1}}
    if path.stem == CHECKPOINTS:
        return Planned(path, small, planned(QUICKSTART, seed).base)
    return Planned(path, small, repr([small.get(table) for table in BASE]))


def trial(plan: Planned, asked: list[str]) -> str | None:
    """Run a recipe by the program, and return what is wrong with it or with what it leaves, None where nothing is."""
    name, before = plan.path.stem, len(asked)
    recipe = Path("recipes") / f"{name}.toml"
    recipe.parent.mkdir(exist_ok=True)
    recipe.write_text(tomli_w.dumps(plan.small))
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            if name == CHECKPOINTS:
                call("export", "quickstart", "--source", "original", "--all", "--to", "checkpoints")
            said = call("run", str(recipe), "--quiet")
    except Exception as error:
        (Path("recipes") / f"{name}.failure").write_text(traceback.format_exc())
        return f"{type(error).__name__}: {' '.join(str(error).split())[-400:]}"
    if len(asked) > before:
        return f"asked for {', '.join(asked[before:])}"
    folder = Path(said.rpartition("results in ")[2].strip())
    strange = [w for w in warned if not issubclass(w.category, STALE)]
    return next((f"warning: {w.message} ({w.filename}:{w.lineno})" for w in strange), None) or reading.fault(folder)
