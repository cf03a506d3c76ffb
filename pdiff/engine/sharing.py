"""Sharing: several processes compute one plan, or plans that have stages in common, each stage by one of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pdiff.engine.pipeline import Pipeline
from pdiff.engine.plan import Plan
from pdiff.running.locks import Busy
from pdiff.running.progress import Progress
from pdiff.view import ORIGINAL


def share(plan: Plan, name: str, progress: Progress) -> bool:
    """Compute what a plan leads to and nobody else computes now; return whether all of it is there.

    Args:
        plan: what there is to do.
        name: the run's.
        progress: told of what is computed here.
    """
    pipeline = Pipeline(plan, name, progress)
    pipeline.patient, pipeline.store.remote.sends = False, True
    pipeline.store.note(*(stage.folder_name for _, stage in plan))
    does: dict[str, Callable[[], object]] = {"train": pipeline.train}
    does |= dict.fromkeys(("collect", "zoo"), lambda: pipeline.zoo)
    for source in plan.methods:
        does |= {
            f"fit {source}": partial(pipeline.generator, source),
            f"sample {source}": partial(pipeline.sample, source),
        }
        for split in ("test", plan.recipe.selection):
            does[f"predict {source} ({split})"] = partial(pipeline.predictions, source, split)
    does[f"predict {ORIGINAL} (test)"] = partial(pipeline.predictions, ORIGINAL, "test")
    does |= {f"evaluate {each.name}": partial(pipeline.evaluate, each) for each in plan.recipe.evaluate}
    busy = set[str]()
    while todo := plan.next(pipeline.store.has):
        free = next(((what, stage) for what, stage in todo if stage.folder_name not in busy), None)
        if free is None:
            return False
        busy.add(free[1].folder_name)  # also once it is done: one that is missed again, a new look finds
        try:
            does[free[0]]()
        except Busy as error:
            busy.add(str(error))
    return True
