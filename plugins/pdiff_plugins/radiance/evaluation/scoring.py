"""All numbers of the evaluator of scenes. E rays, R scenes held out, T learnt, M networks, P numbers of pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.mapped import take
from pdiff.view import ORIGINAL
from pdiff.zoo import about as about_of
from pdiff_plugins.conditions.evaluation.asking import Asker
from pdiff_plugins.conditions.evaluation.judging import Judge, Judged
from pdiff_plugins.conditions.evaluation.tasks import HARD, HELD_OUT, tasks_of
from pdiff_plugins.conditions.evaluation.verdict import gains
from pdiff_plugins.fields.evaluation.metrics import COPY, metrics, nearest
from pdiff_plugins.fields.family import SHAPE
from pdiff_plugins.maths.median import median
from pdiff_plugins.radiance.evaluation.files import files, missing
from pdiff_plugins.radiance.evaluation.names import REAL
from pdiff_plugins.radiance.evaluation.similarity import LEAST, WINDOW, lpips_of, ssim
from pdiff_plugins.radiance.rays import pictures

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff.zoo import Zoo

GIVEN = (
    "precision", "recall", "one_nna", "coverage", "mmd", "to_learnt", "copies", "right_class", "ssim", "ssim_views",
    "lpips",
)  # fmt: skip
"""Of each source; None where it is not told."""


def scores_of(view: View, weights: str, ctx: Context) -> dict[str, Any]:
    """Return what the evaluator gives; `weights`: the folder of those of LPIPS."""
    result = _compared(view, weights, ctx)
    networks = {source: dict.fromkeys(GIVEN) | row for source, row in result["networks"].items()}
    return result | {"networks": networks}


def _compared(view: View, weights: str, ctx: Context) -> dict[str, Any]:
    learnt, held_out = by_scene(view.zoo), by_scene(view.zoo.holdout) if view.zoo.holdout else {}
    held_out = {scene: row for scene, row in held_out.items() if scene not in learnt}
    own_cameras = getattr(view.bench.examples("test"), "segments", torch.empty(0, 0)).ndim == 3
    result: dict[str, Any] = {"networks": {source: {} for source in view.theta}, "count": len(held_out), "kind": ""}
    if not held_out:
        why = "scenes are compared with others that were held out, and none were; write collect.held_out"
        return result | {"missing": [why]}
    asker = asker_of(view, ctx) if view.zoo.condition_NC is not None else None
    if asker is not None and telling(asker):
        return result | {"kind": "pictures"} | Pictures(asker, weights).scores()
    if own_cameras:
        why = "each scene has cameras of its own, so that sets of scenes cannot be compared picture by picture"
        return result | {"missing": [why]}
    return result | {"kind": "sets", "missing": []} | Sets(view, learnt, list(held_out), asker, ctx).scores()


def by_scene(zoo: Zoo) -> dict[int, int]:
    """Return scene -> number of its last checkpoint, in their order; without those that are hard by design."""
    last = {about_of(row)[SHAPE]: number for number, row in enumerate(zoo.rows) if row.get("part") != HARD}
    return dict(sorted(last.items(), key=lambda pair: pair[1]))


def asker_of(view: View, ctx: Context) -> Asker:
    tasks = tasks_of(view, 1, ctx)
    return Asker(view, tasks, Judge(view.recipe.task, view.bench, tasks.about, "test"), ctx)


def telling(asker: Asker) -> bool:
    """Return whether conditions say which scene it is: whether most scenes held out have one of their own."""
    condition_TC = asker.tasks.condition_TC[asker.tasks.of(asker.tasks.judged)]
    return 2 * len(condition_TC.unique(dim=0)) > len(condition_TC)


class Sets:
    """Compares scenes as sets, by their pictures in the views of the test split, which all of them share."""

    def __init__(
        self, view: View, learnt: Mapping[int, int], held_out: Sequence[int], asker: Asker | None, ctx: Context
    ):  # fmt: skip
        """`learnt`: scene -> number of its checkpoint; `held_out`: scenes, in the order of theirs."""
        self.view, self.asker = view, asker
        targets_ESW, rows = view.targets("test"), list(learnt.values())
        self.learnt_TP, self.held_out_RP = (flat(targets_ESW[:, numbers]) for numbers in (list(learnt), held_out))
        self.labels = [about_of(view.zoo.rows[row]).get("label") for row in rows]
        self.usual = median(nearest(self.held_out_RP, self.learnt_TP)[0])
        self.drawn = torch.randperm(len(rows), generator=ctx.generator("real"))[: len(held_out)].tolist()
        networks_TD = take(view.zoo.theta_ND, rows, ctx.snapshot.folder)
        self.networks_TP = self.view.bench.predict(networks_TD, "test").flatten(1)

    def scores(self) -> dict[str, Any]:
        """Return the scores of sources, and of learnt scenes in their place."""
        networks = {source: self.of(self.seen(source)) for source in self.view.theta}
        networks[ORIGINAL]["copies"] = None  # they are of the learnt scenes
        for source in networks:
            networks[source]["right_class"] = self.right_class(source)
        real = self.of(self.held_out_RP) | metrics(self.learnt_TP[self.drawn], self.held_out_RP)
        real |= {"right_class": self._right(self.held_out_RP)}
        return {"networks": networks, "beside": {REAL: dict.fromkeys(GIVEN) | real}}

    def seen(self, source: str) -> Tensor:
        """Return what a source's scenes look like, `[M, P]`; of the zoo's, those of the learnt scenes drawn."""
        if source == ORIGINAL:
            return self.networks_TP[self.drawn]
        return self.view.bench.predict(self.view.theta[source], "test").flatten(1)

    def of(self, scenes_MP: Tensor) -> dict[str, Any]:
        """Return the scores of a set of scenes.

        A copy is one of a learnt scene, or of what its network shows, which is nearer where networks fit badly.
        """
        to_learnt_M, _ = nearest(scenes_MP, self.learnt_TP)
        either_M = torch.minimum(to_learnt_M, nearest(scenes_MP, self.networks_TP)[0])
        copies = float((either_M < COPY * self.usual).double().mean())
        decibels = -20 * math.log10(max(median(to_learnt_M), 1e-5))
        return metrics(scenes_MP, self.held_out_RP) | {"to_learnt": decibels, "copies": copies}

    def right_class(self, source: str) -> float | None:
        """Return how often a source gives the label that it is asked for; None where it takes none."""
        if self.asker is None or not self.asker.conditional(source) or len(set(self.labels)) < 2:
            return None
        rows = self.asker.tasks.of(HELD_OUT)
        theta_MD = self.asker.sampled(source, self.asker.tasks.condition_TC[rows])
        return self._right(self.view.bench.predict(theta_MD, "test").flatten(1))

    def _right(self, scenes_RP: Tensor) -> float | None:
        """Return the share of scenes whose nearest learnt one has the label of the scene held out in their place."""
        if self.asker is None or len(set(self.labels)) < 2:
            return None
        tasks = self.asker.tasks
        wanted = [tasks.about[row].get("label") for row in tasks.of(HELD_OUT)]
        near = nearest(scenes_RP, self.learnt_TP)[1].tolist()
        return sum(self.labels[at] == label for at, label in zip(near, wanted, strict=True)) / len(wanted)


class Pictures:
    """Compares the pictures of scenes held out, one by one, with those of networks that were asked for them."""

    def __init__(self, asker: Asker, weights: str):
        self.asker, self.rows = asker, asker.tasks.of(asker.tasks.judged)
        self.shape = asker.judge.drawn.shape  # type: ignore[attr-defined]
        self.true_BHWC = self.as_pictures([asker.judge.targets(number) for number in self.rows])
        self.missing: list[str] = []
        paths = files(weights)
        if lacking := missing(paths):
            self.missing.append(f"LPIPS is left out: {lacking}")
        self.lpips = None if lacking else lpips_of(paths)
        if self.lpips and min(self.shape[1:]) < LEAST:
            self.missing.append(f"for LPIPS, pictures are enlarged to {LEAST} pixels along their smaller side")
        self.small = min(self.shape[1:]) < WINDOW
        if self.small:
            self.missing.append(f"SSIM is left out: pictures are smaller than its window of {WINDOW} pixels")

    def as_pictures(self, colours: Sequence[Tensor]) -> Tensor:
        """Return colours `[E, 3]` of rays of each scene as pictures, `[scenes * views, H, W, 3]`."""
        return pictures(torch.stack(list(colours)), self.shape).flatten(0, 1).cpu()

    def scores(self) -> dict[str, Any]:
        networks, by_scene = {}, {}
        for source in self.asker.view.theta:
            networks[source], ssim_TV = self.of(source)
            if ssim_TV is not None:
                by_scene[source] = Judged(ssim_TV.mean(dim=1), None)
        several = len(self.rows) > 1 and by_scene
        gained = {"gains": gains(by_scene, self.asker.view.method)} if several else {}
        return {"networks": networks, "missing": self.missing} | gained

    def of(self, source: str) -> tuple[dict[str, Any], Tensor | None]:
        """Return a source's scores, and its SSIM by scene and view, `[T, V]`."""
        theta_TD = self.asker.theta(source)
        asked, one = self.asker.judge.asked(theta_TD), len(theta_TD) == 1
        seen_BHWC = self.as_pictures([asked(0 if one else number, number)[0] for number in self.rows])
        lpips = float(self.lpips(seen_BHWC, self.true_BHWC).mean()) if self.lpips else None
        if self.small:
            return {"ssim": None, "lpips": lpips}, None
        ssim_TV = ssim(seen_BHWC, self.true_BHWC).unflatten(0, (len(self.rows), -1))
        return {"ssim": float(ssim_TV.mean()), "ssim_views": ssim_TV.mean(dim=0).tolist(), "lpips": lpips}, ssim_TV


def flat(targets_ESW: Tensor) -> Tensor:
    """Return scenes' colours, one row each, `[S, P]`."""
    return targets_ESW.transpose(0, 1).flatten(1)
