"""Judging: readers and controls learn a part of a zoo, and are judged by the rest. N checkpoints, M other networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.errors import UserError
from pdiff.view import ORIGINAL
from pdiff.zoo import Zoo
from pdiff_plugins.maths.crossed import holm
from pdiff_plugins.reading.controls import CONTROLS
from pdiff_plugins.reading.numbers import gains, nearness, saving
from pdiff_plugins.reading.values import of_networks, of_zoo

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.components import WeightReader
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.reading.evaluator import PredictProperty

DIGITS = 6
"""Significant digits of numbers that are kept of each network."""
Reads = Callable[[Zoo, "Bench"], Tensor]


@dataclass
class Fitted:
    """What reads networks, by name; `cannot` says of others why they do not."""

    readers: dict[str, Reads] = field(default_factory=dict)
    controls: dict[str, Reads] = field(default_factory=dict)
    cannot: dict[str, str] = field(default_factory=dict)

    def read(self, zoo: Zoo, bench: Bench) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return what each makes of a zoo, `[N]`, and why others make nothing of it."""
        told, cannot = dict[str, Tensor](), dict(self.cannot)
        for name, reads in (self.readers | self.controls).items():
            try:
                told[name] = reads(zoo, bench).double().cpu()
            except UserError as error:
                cannot[name] = str(error)
        return told, cannot


def fitted(readers: Sequence[WeightReader], zoo: Zoo, value_N: Tensor, bench: Bench, ctx: Context) -> Fitted:
    """Fit the readers and the controls to a zoo."""
    found = Fitted()
    for label, reader in labelled(readers).items():
        try:
            readout = reader.fit(zoo.theta_ND, value_N, bench, ctx.scope(label))
        except UserError as error:
            found.cannot[label] = str(error)
            continue
        found.readers[label] = lambda zoo, bench, readout=readout: readout.read(zoo.theta_ND, bench)  # type: ignore[misc]
    for name, control in CONTROLS.items():
        try:
            found.controls[name] = control(zoo, value_N, bench).read
        except UserError as error:
            found.cannot[name] = str(error)
    return found


def labelled(readers: Sequence[WeightReader]) -> dict[str, WeightReader]:
    """Return readers by name; those of one name are counted."""
    count, seen, labels = Counter(reader.name for reader in readers), Counter[str](), dict[str, Any]()
    for reader in readers:
        seen[reader.name] += 1
        labels[f"{reader.name} {seen[reader.name]}" if count[reader.name] > 1 else reader.name] = reader
    return labels


def parted(zoo: Zoo, share: float, generator: torch.Generator) -> tuple[list[int], list[int], bool]:
    """Return the rows that are learnt, those that are judged, and whether runs are kept apart.

    Whole runs are judged, drawn at random until they hold the share; of one run checkpoints are.
    """
    run_N = [row.get("run") for row in zoo.rows]
    runs = list(dict.fromkeys(run_N))
    apart = len(runs) > 1
    if not apart:
        run_N, runs = list(range(len(zoo))), list(range(len(zoo)))
    size, wanted, judged = Counter(run_N), share * len(zoo), set[Any]()
    for place in torch.randperm(len(runs), generator=generator).tolist():
        if judged and sum(size[run] for run in judged) + size[runs[place]] / 2 > wanted:
            break
        judged.add(runs[place])
    rows = range(len(zoo))
    if len(judged) == len(runs):
        judged.discard(runs[place])
    return [n for n in rows if run_N[n] not in judged], [n for n in rows if run_N[n] in judged], apart


class Judge:
    """Everything that the evaluator gives."""

    def __init__(self, options: PredictProperty, view: View, ctx: Context):
        """Raises UserError where the zoo has no such property."""
        self.options, self.view, self.ctx, self.bench = options, view, ctx, view.bench
        self.value_N = of_zoo(options.property, view.zoo, view.bench, "evaluate predict_property: property")
        self.lower = view.recipe.task.measures.get(options.property) == "lower"

    def scores(self) -> dict[str, Any]:
        zoo, generator = self.view.zoo, self.ctx.generator("judged")
        learnt, judged, apart = parted(zoo, self.options.judge, generator)
        sound = self.value_N.isfinite()
        learnt, judged = ([n for n in rows if sound[n]] for rows in (learnt, judged))
        if min(len(learnt), len(judged)) < 2:
            raise UserError(
                f"evaluate predict_property: {len(learnt)} checkpoints to learn and {len(judged)} to judge are too "
                "few; collect more runs"
            )
        known = zoo.subset(learnt, self.ctx.snapshot.folder)
        found = fitted(self.options.readers, known, self.value_N[learnt], self.bench, self.ctx)
        part = zoo.subset(judged, self.ctx.snapshot.folder)
        told, cannot = found.read(part, self.bench)
        true_N, runs = self.value_N[judged], [row.get("run") if apart else n for n, row in enumerate(part.rows)]
        readers, controls = numbers(found, told, true_N, runs)
        best = max(readers, key=lambda name: readers[name]["r2"] or 0.0, default="")
        return {
            "networks": self._sources(found, best, part, true_N), "property": self.options.property,
            "lower": self.lower, "values": kept(self.value_N), "learnt": len(learnt), "judged": len(judged),
            "apart": apart, "readers": readers, "controls": controls, "cannot": cannot, "best": best,
            "beside": {f"reader {name}": nearness(told[name], true_N) for name in readers}
            | {f"control {name}": row for name, row in controls.items()},
            "true": kept(true_N), "read": {name: kept(read_N) for name, read_N in told.items()},
            **({"transfer": self._transfer(found)} if self.options.transfer else {}),
        }  # fmt: skip

    def _sources(self, found: Fitted, best: str, judged: Zoo, true_N: Tensor) -> dict[str, Any]:
        """Return by source what reading its networks is worth; nothing where nobody reads, or knows the truth."""
        rows, reads = dict[str, Any](), found.readers.get(best)
        if reads is None:
            return rows
        for source, theta_MD in self.view.theta.items():
            zoo, true_M = judged, true_N
            if source != ORIGINAL:
                value_M = of_networks(self.options.property, theta_MD, self.bench)
                if value_M is None or not value_M.isfinite().all():
                    continue
                zoo = Zoo(theta_MD, judged.layout, judged.anchor, [{}] * len(theta_MD))
                true_M = value_M
            read_M = reads(zoo, self.bench)
            rows[source] = {
                "networks": len(true_M), **nearness(read_M, true_M), **saving(read_M, true_M, self.lower),
            }  # fmt: skip
        return rows

    def _transfer(self, found: Fitted) -> dict[str, Any]:
        from rich.console import Console

        from pdiff.api import open_run

        run = open_run(self.options.transfer, set={"run.device": str(self.ctx.device)}, console=Console(quiet=True))
        value_N = of_zoo(self.options.property, run.zoo, run.bench, "evaluate predict_property: property")
        told, cannot = found.read(run.zoo, run.bench)
        readers, controls = numbers(found, told, value_N, [row.get("run") for row in run.zoo.rows])
        about = [float(value_N.mean()), float(value_N.std(correction=0))]
        return {
            "run": run.folder.name, "networks": len(run.zoo), "property": about, "readers": readers,
            "controls": controls, "cannot": cannot,
        }  # fmt: skip


def numbers(
    found: Fitted, told: Mapping[str, Tensor], true_N: Tensor, runs: Sequence[object]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is said of readers, each beside every control, and of controls."""
    controls = {name: told[name] for name in found.controls if name in told}
    readers = dict[str, Any]()
    for name in (name for name in found.readers if name in told):
        readers[name] = {**nearness(told[name], true_N), "gains": gains(told[name], controls, true_N, runs)}
    pairs = [gain for reader in readers.values() for gain in reader["gains"].values()]
    for gain, fell in zip(pairs, holm([gain["chance"] for gain in pairs]), strict=True):
        gain["said"] = ("better" if gain["mean"] > 0 else "worse") if fell and gain["mean"] else ""
    return readers, {name: nearness(read_N, true_N) for name, read_N in controls.items()}


def kept(values: Tensor) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]
