"""Page: the cells of a sweep by seeds, what holds over seeds, and what is published."""

from __future__ import annotations

import datetime
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pdiff.files import write_json, write_text
from pdiff.results.scores import Unit, compared, unit_of
from pdiff.results.summary import cell, expected, ours_for, sources
from pdiff.view import ORIGINAL
from pdiff_plugins.drawing import page
from pdiff_plugins.fleet.effects import interval, measures, over
from pdiff_plugins.fleet.folder import Outcome, Sweep
from pdiff_plugins.fleet.grid import by_group
from pdiff_plugins.maths.crossed import Difference, holm
from pdiff_plugins.reports.reports import markdown_table, plain

Section = tuple[str, list[str], list[list[str]], str]
"""Title, head and rows of a table, and a line below it."""
LEGEND = (
    "Difference: of the mean scores of the method's networks and of the source's, on the test split, with a 95 % "
    "interval. Over several seeds it says what other seeds, with networks of their own, and other examples would give "
    "(seeds and examples as crossed random effects); with one seed, what other networks of that run and other examples "
    "would"
)


@dataclass(frozen=True)
class Group:
    """Cells that differ in their seeds alone: those that have scores."""

    name: str
    seeds: list[str]
    scores: list[dict[str, Any]]
    files: list[Path]
    """Scores by example, one for each seed."""
    by: str = ""
    """The evaluator whose measure it is about; empty: what sources are compared by."""

    @property
    def method(self) -> str:
        return str(self.scores[0]["method"])

    @property
    def unit(self) -> Unit:
        return Unit("") if self.by else unit_of(self.scores[0])

    @property
    def digits(self) -> int:
        """Behind the point of its numbers."""
        return 4 if self.by else 2

    @cached_property
    def measures(self) -> list[Group]:
        """The same cells by what else every seed is measured by."""
        known = [{} if self.by else measures(each) for each in self.scores]
        return [
            replace(self, name=f"{self.name}: {measure}", by=name)
            for name, measure in known[0].items() if all(name in each for each in known)
        ]  # fmt: skip

    @property
    def left_out(self) -> str:
        """What some seeds have and others not, in a sentence; nothing where all have the same."""
        parts = [{*self._means(each)} | {*({} if self.by else measures(each).values())} for each in self.scores]
        without = {
            name: [seed for seed, known in zip(self.seeds, parts, strict=True) if name not in known]
            for name in sorted(set().union(*parts)) if not all(name in known for known in parts)
        }  # fmt: skip
        return "; ".join(f"{name} is left out, as seed {', '.join(seeds)} has none" for name, seeds in without.items())

    @cached_property
    def sources(self) -> list[str]:
        """Those that every seed has."""
        known = [self._means(each) for each in self.scores]
        return [source for source in known[0] if all(source in each for each in known)]

    def means(self, source: str) -> list[float]:
        """Return a source's mean score by seed."""
        return [self._means(each)[source] for each in self.scores]

    def _means(self, scores: dict[str, Any]) -> dict[str, float]:
        if self.by:
            return {source: statistics.fmean(values) for source, values in scores[self.by]["groups"].items()}
        return {source: score["mean"] for source, score in compared(scores).items()}

    def gain(self, source: str) -> Difference | None:
        """Return what the method's networks score more than the source's."""
        if source == self.method or self.method not in self.sources:
            return None
        pairs = list(zip(self.means(self.method), self.means(source), strict=True))
        return over(self.files, pairs, self.method, source, self.by)

    @cached_property
    def gains(self) -> dict[str, Difference]:
        """Of the method over each other source, where both are numbers."""
        gains = {source: gain for source in self.sources if (gain := self.gain(source)) is not None}
        return {source: gain for source, gain in gains.items() if math.isfinite(gain.mean + gain.error)}

    @cached_property
    def worse_than(self) -> list[str]:
        """Baselines that beat the method, said with a chance of 5 % at most that none of them does (Holm 1979)."""
        others = {source: gain for source, gain in self.gains.items() if source != ORIGINAL}
        fallen = holm([gain.chance for gain in others.values()])
        return [source for (source, gain), falls in zip(others.items(), fallen, strict=True) if falls and gain.mean < 0]

    @cached_property
    def better_than(self) -> list[str]:
        return [source for source, gain in self.gains.items() if gain.interval()[0] > 0]

    @property
    def below_originals(self) -> bool:
        """The method is worse than the checkpoints that it learnt from."""
        return ORIGINAL in self.gains and self.gains[ORIGINAL].interval()[1] < 0


def groups(sweep: Sweep, scores: Mapping[int, dict[str, Any]]) -> list[Group]:
    """Return the groups of those cells that have scores, by number."""
    found = []
    for name, numbers in by_group(sweep.cells):
        done = [number for number in numbers if number in scores]
        if done:
            seeds = [str(scores[number]["recipe"].get("seed", 0)) for number in done]
            files = [sweep.examples(number) for number in done]
            found.append(Group(name, seeds, [scores[number] for number in done], files))
    return found


def verdict(group: Group) -> str:
    """Return in a sentence what the seeds say of the method; what beats it first."""
    if not group.gains:
        return "no difference to any source is known"
    theirs = "checkpoints it learnt from" if group.scores[0]["scored_by"] else "originals"
    told = [f"{group.method} is worse than the {theirs}"] if group.below_originals else []
    if worse := group.worse_than:
        told.append(f"{', '.join(worse)} {'beat' if len(worse) > 1 else 'beats'} {group.method}")
    known = {*worse, *group.better_than, *([ORIGINAL] if group.below_originals else [])}
    left = [source for source in group.gains if source not in known]
    maybe = [source for source in left if group.gains[source].interval()[1] < 0]
    told += [f"{', '.join(maybe)} higher, which may be the chance of several comparisons"] if maybe else []
    shown = [source for source in left if source not in maybe]
    told += [f"no difference shown to {', '.join(shown)}"] if shown else []
    told += [f"better than {', '.join(group.better_than)}"] if group.better_than else []
    return "; ".join(told)


def headline(known: Sequence[Group]) -> str:
    """Return what all cells say together."""
    if not known:
        return "no cell has a result"
    compared = [group for group in known if group.gains]
    beaten = sum(bool(group.worse_than) for group in compared)
    best = sum(set(group.better_than) == set(group.gains) for group in compared)
    settings = "1 setting" if len(compared) == 1 else f"{len(compared)} settings"
    chance = f" (where nothing differs, chance alone gives {len(compared) / 20:.0f})" if len(compared) >= 10 else ""
    return f"{settings}: a baseline beats the method in {beaten}{chance}; it is better than all other sources in {best}"


def write(sweep: Sweep, title: str, scores: Mapping[int, dict[str, Any]], outcomes: Mapping[int, Outcome]) -> Path:
    """Write index.html, index.md and results.json into the sweep's folder; return the first.

    `scores`: by number of the cell. Cells that failed, or are not done, are listed with the reason.
    """
    known = groups(sweep, scores)
    lost = [
        [cell.name, outcomes[number].failure if number in outcomes else "not done"]
        for number, cell in enumerate(sweep.cells) if number not in scores
    ]  # fmt: skip
    seeds = sorted({seed for group in known for seed in group.seeds}, key=lambda seed: int(seed))
    sections = [_overview(known, seeds)] if known else []
    sections += [("Cells without a result", ["cell", "reason"], lost, "")] if lost else []
    sections += [_group(each) for group in known for each in (group, *group.measures)]
    folders = [[sweep.cells[number].name, outcomes[number].run] for number in sorted(scores) if number in outcomes]
    sections += [("Runs", ["cell", "folder"], folders, "Each has a report of its own.")] if folders else []
    of = f", seeds {', '.join(seeds)}" if seeds else ""
    about = f"{len(scores)} of {len(sweep.cells)} cells{of}. {datetime.date.today()}."
    html = {
        heading: page.table(head, rows) + page.notes([below] if below else [])
        for heading, head, rows, below in sections
    }
    write_text(sweep.path / "index.html", page.page(title, headline(known), about, html))
    text = [f"# {plain(title)}", about, *(_markdown(*section) for section in sections)]
    write_text(sweep.path / "index.md", "\n\n".join(text) + "\n")
    write_json(sweep.path / "results.json", [_told(group) for group in known])
    return sweep.path / "index.html"


def _overview(known: Sequence[Group], seeds: Sequence[str]) -> Section:
    head = [
        "cell", *(f"seed {seed}" for seed in seeds), "mean", "95 % of seeds", "originals", "difference",
        "next best", "its mean", "difference", "published",
    ]  # fmt: skip
    rows = [_row(group, seeds) for group in known]
    below = (
        "Mean scores of the method's networks on the test split, shares in per cent, one column for each seed. "
        "Next best: the baseline of "
        f"the highest mean. {LEGEND}."
    )
    return "All cells", head, rows, below


def _row(group: Group, seeds: Sequence[str]) -> list[str]:
    unit = unit_of(group.scores[0])

    def number(value: float | None) -> str:
        return "" if value is None else f"{unit.factor * value:.2f}"

    if group.method not in group.sources:
        return [group.name, *[""] * (len(seeds) + 8)]
    by_seed = dict(zip(group.seeds, group.means(group.method), strict=True))
    mean, reach = statistics.fmean(by_seed.values()), interval(list(by_seed.values()))
    others = [source for source in group.sources if source not in (ORIGINAL, group.method)]
    finite = [source for source in others if math.isfinite(statistics.fmean(group.means(source)))]
    best = max(finite, key=lambda source: statistics.fmean(group.means(source)), default="")
    original = statistics.fmean(group.means(ORIGINAL)) if ORIGINAL in group.sources else None
    return [
        group.name, *(number(by_seed.get(seed)) for seed in seeds), number(mean),
        f"{number(reach[0])} to {number(reach[1])}" if reach else "", number(original),
        difference(group.gains.get(ORIGINAL), unit.factor), best,
        number(statistics.fmean(group.means(best))) if best else "", difference(group.gains.get(best), unit.factor),
        _published(group.scores[0], group.method),
    ]  # fmt: skip


def difference(gain: Difference | None, factor: float, digits: int = 2) -> str:
    """Return a difference with its interval as text: `-0.13 (-0.40 to 0.14)`."""
    if gain is None:
        return ""
    mean, low, high = (format(factor * value, f"+.{digits}f") for value in (gain.mean, *gain.interval()))
    return f"{mean} ({low} to {high})"


def _published(scores: dict[str, Any], source: str) -> str:
    found = (reference[source]["mean"] for reference in scores["expect"] if "mean" in (reference.get(source) or {}))
    number = next(found, None)
    return "" if number is None else f"{number:.2f}"


def _group(group: Group) -> Section:
    """Return every source by seed, and every published number beside ours."""
    factor, digits = group.unit.factor, group.digits
    published = {(row[0], row[1]): row[2:-1] for row in expected(group.scores[0])[1] if not group.by}
    names = [] if group.by else expected(group.scores[0])[0][2:-1]
    columns = {
        title: cells for title, key, spec in (group.scores[0]["columns"][group.by] if group.by else ())
        if any(cells := [_by_seed(group, source, key, spec) for source in group.sources])
    }  # fmt: skip
    head = [
        "networks", *(f"seed {seed}" for seed in group.seeds), "mean", "95 % of seeds",
        f"{group.method} less it", *names, *columns,
    ]  # fmt: skip
    rows = []
    for number, source in enumerate(group.sources):
        means = group.means(source)
        numbers = [f"{factor * value:.{digits}f}" for value in (*means, statistics.fmean(means))]
        reach = interval(means)
        rows.append([
            source, *numbers, " to ".join(f"{factor * end:.{digits}f}" for end in reach) if reach else "",
            difference(group.gains.get(source), factor, digits), *published.pop((source, "mean"), [""] * len(names)),
            *(cells[number] for cells in columns.values()),
        ])  # fmt: skip
    for (what, key), cells in published.items():
        ours = [ours_for(each, what, key) for each in group.scores]
        given = [value for value in ours if value is not None]
        told = ["" if value is None else f"{value:.4g}" for value in ours]
        rows.append([f"{what}: {key}", *told, f"{statistics.fmean(given):.4g}" if given else "", "", "", *cells])
    about = "Higher is better. What summaries have stands seed by seed" if group.by else sources(group.scores[0])
    below = ". ".join(filter(None, (f"{verdict(group)[:1].upper()}{verdict(group)[1:]}", about, group.left_out)))
    return group.name, head, rows, f"{below.rstrip('. ')}."


def _by_seed(group: Group, source: str, key: str, spec: str) -> str:
    """Return what an evaluator's column of the summary has for a source, by seed."""
    given = [
        each["networks"].get(source, {}).get(group.by) or each[group.by].get("beside", {}).get(source, {})
        for each in group.scores
    ]
    shown = [cell(of_seed.get(key), spec, group.unit) for of_seed in given]
    return "; ".join(shown) if any(shown) else ""


def _markdown(title: str, head: list[str], rows: list[list[str]], below: str) -> str:
    paragraphs = f"## {plain(title)}", markdown_table(head, rows), plain(below)
    return "\n\n".join(filter(None, paragraphs))


def _told(group: Group) -> dict[str, Any]:
    """Return a group for those who go on from there: scores as they are, not in per cent."""
    return {
        "cell": group.name, "seeds": [int(seed) for seed in group.seeds], "method": group.method,
        "runs": [each["run"] for each in group.scores], "means": {
            name: [value if math.isfinite(value) else None for value in group.means(name)] for name in group.sources
        },
        "differences": {
            source: {"mean": gain.mean, "error": gain.error, "low": gain.interval()[0], "high": gain.interval()[1]}
            for source, gain in group.gains.items()
        },
        "verdict": verdict(group), **({"measures": [_told(each) for each in group.measures]} if group.measures else {}),
    }  # fmt: skip
