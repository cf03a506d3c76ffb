"""What sources and controls give at each width. M networks, E examples, D parameters."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.context import derive
from pdiff.errors import UserError
from pdiff.results.scores import Unit
from pdiff.view import ORIGINAL
from pdiff.zoo import Zoo
from pdiff.zoo import about as about_of
from pdiff_plugins.maths.crossed import Difference, Gain, difference, gain_of, holm
from pdiff_plugins.widths.surgery import cut, split
from pdiff_plugins.widths.trying import Steps
from pdiff_plugins.widths.units import LivingUnits

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.widths.evaluator import WidthScores
    from pdiff_plugins.widths.scores import AtWidth, Row, SourceWidths

PARTS = ("learnt", "inside", "outside")


class Asker:
    """Asks the sources of a run for widths, and makes the controls."""

    def __init__(self, options: WidthScores, view: View, ctx: Context):
        self.options, self.view, self.ctx = options, view, ctx
        self.sources = [source for source, generator in view.generators.items() if generator.conditional]
        if not self.sources:
            raise UserError("evaluate widths: no method of this run takes a width; use method units, or leave it out")
        self.units = LivingUnits.of(view.bench, view.zoo.layout, "evaluate widths")
        self.learnt = rows_of(view.zoo)
        self.trained = self.learnt | (rows_of(view.zoo.holdout) if view.zoo.holdout else {})
        self.steps = Steps(view.bench, ctx, options.steps, options.rates, options.batch_size)

    def scores(self) -> dict[str, Any]:
        """Return what the evaluator gives."""
        at: list[AtWidth] = []
        good: list[dict[str, Tensor]] = []
        with self.ctx.progress.step("widths", len(self.trained)) as bar:
            for width in sorted(self.trained):
                row, good_of = self._at(width)
                at.append(row)
                good.append(good_of)
                bar.advance()
        told = [
            (row["gains"].setdefault(source, {}), name, difference(good_of[source], good_of[name]))
            for row, good_of in zip(at, good, strict=True)
            for source in self.sources
            for name in ("trained", *row["controls"])
        ]
        _tell(told)
        inside = [good_of for row, good_of in zip(at, good, strict=True) if row["part"] == "inside"]
        values = [row["trained"]["mean"] for row in at]
        return {
            "networks": {source: _means(at, source) for source in (ORIGINAL, *self.sources)},
            "at": at, "inside": self._inside(inside), "steps": self.options.steps,
            "unit": Unit.of(values, self.view.recipe.task.unit).name,
        }  # fmt: skip

    def _inside(self, good: Sequence[Mapping[str, Tensor]]) -> dict[str, dict[str, Gain]]:
        """Return, by source, what it scores more over all unseen widths between learnt ones, given those by name."""
        gains: dict[str, dict[str, Gain]] = {source: {} for source in self.sources}
        names = [name for name in (good[0] if good else ()) if name not in self.sources]
        for source in self.sources:
            own_ME = pooled([good_of[source] for good_of in good])
            others = {name: pooled([good_of[name] for good_of in good]) for name in names}
            _tell([(gains[source], name, difference(own_ME, other_ME)) for name, other_ME in others.items()])
        return gains

    def _at(self, width: int) -> tuple[AtWidth, dict[str, Tensor]]:
        """Return what there is at a width, and whether each example is right, `[M, E]`, by name."""
        part = self._part(width)
        theta = {"trained": self.trained[width][: self.options.samples]}
        theta |= {source: self._sampled(source, width) for source in self.sources}
        about: dict[str, dict[str, Any]] = {}
        if part != "learnt":
            controls, about = self._controls(width)
            theta |= controls
        rows: dict[str, Row] = {}
        good: dict[str, Tensor] = {}
        for name, theta_MD in theta.items():
            value_M, good[name] = self._judged(theta_MD)
            spread = float(value_M.std(correction=0))
            row: Row = {"mean": float(value_M.mean()), "std": spread, "count": len(theta_MD)}
            rows[name] = {**row, **about.get(name, {})}  # type: ignore[typeddict-item]
        others = {name: row for name, row in rows.items() if name != "trained" and name not in self.sources}
        return {
            "width": width, "part": part, "parameters": int(self.units.mask(width).sum()), "trained": rows["trained"],
            "sources": {source: rows[source] for source in self.sources}, "controls": others, "gains": {},
        }, good  # fmt: skip

    def _part(self, width: int) -> str:
        if width in self.learnt:
            return "learnt"
        return "inside" if min(self.learnt) < width < max(self.learnt) else "outside"

    def _sampled(self, source: str, width: int) -> Tensor:
        """Return networks that a source was asked for."""
        condition_MC = self.view.bench.encode([{"width": width}] * self.options.samples)
        ctx = self.ctx.scope(f"ask {source} {width}")
        theta_MD = self.view.generators[source].sample(len(condition_MC), self.view.bench, ctx, condition_MC)
        return theta_MD.detach().to("cpu", torch.float32)

    def _controls(self, width: int) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
        """Return networks of a width that no generator has made, and what is to be told of each kind."""
        theta, about, count = dict[str, Tensor](), dict[str, dict[str, Any]](), self.options.controls
        wider, narrower = ([w for w in self.learnt if (w > width) == more] for more in (True, False))
        if wider:
            theta["cut"] = cut(self.learnt[min(wider)][:count], min(wider), width, self.units)
            about["cut"] = {"of": min(wider)}
        if narrower:
            generator = self.ctx.generator("split", width)
            theta["split"] = split(self.learnt[max(narrower)][:count], max(narrower), width, self.units, generator)
            about["split"] = {"of": max(narrower)}
        begun = dict(theta) | {"new": self._new(width, count)}
        for name, theta_MD in begun.items():
            label = f"{name}, trained"
            theta[label], rate = self.steps(theta_MD, f"{name} {width}")
            about[label] = {**about.get(name, {}), "rate": rate}
        return theta, about

    def _new(self, width: int, count: int) -> Tensor:
        """Return new networks of a width."""
        seeds = [derive(self.ctx.seed, "new", width, number) for number in range(count)]
        return torch.stack([self.view.bench.start(seed) for seed in seeds]) * self.units.starting(width)

    def _judged(self, theta_MD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the test score of each network `[M]`, and whether each example is right `[M, E]`."""
        task, targets = self.view.recipe.task, self.view.targets("test")
        predictions = self.view.bench.predict(theta_MD, "test")
        return task.score(predictions, targets), (~task.wrong(predictions, targets)).double()


def pooled(good: Sequence[Tensor]) -> Tensor:
    """Return networks of several widths `[M, E]` as one population, in which widths themselves make no difference.

    Each width's mean of an example becomes the mean over widths, as who draws networks again has the same widths.
    """
    mean_WE = torch.stack([good_ME.mean(dim=0) for good_ME in good])
    overall_E = mean_WE.mean(dim=0)
    return torch.cat([good_ME - mean_E + overall_E for good_ME, mean_E in zip(good, mean_WE, strict=True)])


def _tell(differences: Sequence[tuple[dict[str, Gain], str, Difference]]) -> None:
    """Write differences where they belong, with claims that all of them together allow."""
    claims = holm([gain.chance for *_, gain in differences])
    for (into, name, gain), told in zip(differences, claims, strict=True):
        into[name] = gain_of(gain, told)


def rows_of(zoo: Zoo) -> dict[int, Tensor]:
    """Return the checkpoints of each width. Raises UserError where they say none."""
    numbers: dict[int, list[int]] = {}
    for number, row in enumerate(zoo.rows):
        if "width" not in about_of(row):
            raise UserError("evaluate widths: checkpoints do not say their width; use the collector 'widths'")
        numbers.setdefault(int(about_of(row)["width"]), []).append(number)
    return {width: zoo.theta_ND[own] for width, own in numbers.items()}


def _means(at: Sequence[AtWidth], source: str) -> SourceWidths:
    """Return a source's mean over the widths of each part."""
    means = dict[str, float | None]()
    for part in PARTS:
        rows: list[Mapping[str, Any]] = [row for row in at if row["part"] == part]
        values = [(row["trained"] if source == ORIGINAL else row["sources"][source])["mean"] for row in rows]
        means[part] = statistics.fmean(values) if values else None
    return {"learnt": means["learnt"], "inside": means["inside"], "outside": means["outside"]}
