"""The table: every source's row, what it costs, and the rows beside one another. S draws, E test examples."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pdiff_plugins.maths.crossed import difference, gain_of, holm
from pdiff_plugins.uncertainty.cost import Cost, costs
from pdiff_plugins.uncertainty.crossing import gains, grouped
from pdiff_plugins.uncertainty.elsewhere import elsewhere
from pdiff_plugins.uncertainty.equivalent import Curve, Equivalent
from pdiff_plugins.uncertainty.rows import DRAWN, Row, Rows

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.uncertainty.evaluator import Uncertainty
    from pdiff_plugins.uncertainty.scores import Gain

MEASURE = "calibrated log-likelihood"
SIZES = (2, 3, 4, 8)
"""Of deep ensembles that runs with other seeds are set beside."""
SAME = 1e-6
"""Share by which a lone network may cost less and still count as of the same cost: what rounding leaves."""


class Table:
    """Everything that the evaluator gives."""

    def __init__(self, options: Uncertainty, view: View, ctx: Context):
        self.options, self.view, self.ctx, self.rows = options, view, ctx, Rows(options, view, ctx)

    def scores(self) -> dict[str, Any]:
        """Return the scores; of a task without classes none."""
        rows = {source: row for source in self.view.theta if (row := self.rows.row(source)) is not None}
        deep = self.rows.deep()
        others = elsewhere(self.options, self.view, rows, self.ctx)
        broken = [*self.rows.broken, *(source for source, found in others.items() if not finite(found))]
        rows = {source: row for source, row in rows.items() if source not in broken}
        lists = {"broken": broken, "no_temperature": [s for s in self.rows.no_temperature if s in rows]}
        said = {key: names for key, names in lists.items() if names}
        if self.view.method not in rows:
            return {"networks": {}} | said
        known = costs(self.view, {source: row.told["members"] for source, row in rows.items()})
        curve = deep[0] if deep else None
        score_SE = {source: row.score_SE for source, row in rows.items()}
        single = f"one of {self.options.ensemble}"
        if curve is not None:
            score_SE[single] = curve.pseudo_NkE[0]
        networks = {source: row.told for source, row in rows.items()}
        for source, row in rows.items():
            networks[source] |= self._worth(source, row, curve) | _told_cost(known.get(source)) | others[source]
        if curve is not None:
            known = {single: costs(self.view, {self.options.ensemble: 1})[self.options.ensemble]} | known
        lone = self._lone({s: cost for s, cost in known.items() if s in rows or s == single}, single)
        beside = {"beside": {single: deep[1] | _told_cost(known[single])}} if deep else {}
        whole = self._whole(rows, score_SE, curve, networks, lone, single)
        for source, alone in besides(networks, lone, score_SE, whole["gains"], self.view.method).items():
            networks[source]["lone"] = alone
        dear = [s for s, told in networks.items() if told.get("cost") and "lone" not in told and s not in lone]
        return {"networks": networks} | beside | whole | {"no_lone": dear} | said

    def _worth(self, source: str, row: Row, curve: Curve | None) -> dict[str, Any]:
        """Return the deep-ensemble equivalent; of the deep ensemble itself its own size."""
        if curve is None:
            return {}
        if source == self.options.ensemble:
            size = float(row.told["members"])
            return {"equivalent": size, "equivalent_text": f"{size:g}", "equivalent_interval": ""}
        return told(curve.equivalent(row.score_SE), curve.sizes[-1])

    def _sizes(self, curve: Curve | None) -> dict[str, list[float]]:
        """Return likelihoods on groups of examples of some deep ensembles, by which seeds tell an equivalent, too."""
        if curve is None:
            return {}
        numbers = {size: number for number, size in enumerate(curve.sizes[:-1]) if size in SIZES}
        return {f"{size} of {self.options.ensemble}": grouped(curve.score_NE[at]) for size, at in numbers.items()}

    def _lone(self, known: dict[str, Cost], single: str) -> dict[str, float]:
        """Return lone networks and their costs, the cheapest first; of equal ones those that are several."""
        names = {source for source, method in self.view.methods.items() if method.name == self.options.lone} | {single}
        prices = {source: cost.trainings for source, cost in known.items() if source in names}
        return dict(sorted(((s, price) for s, price in prices.items() if price is not None), key=lambda pair: pair[1]))

    def _whole(
        self, rows: dict[str, Row], score_SE: dict[str, Tensor], curve: Curve | None, networks: dict[str, Any],
        lone: dict[str, float], single: str,
    ) -> dict[str, Any]:  # fmt: skip
        counts = {source: len(row.panel.index_M) for source, row in rows.items()}
        if curve is not None:
            counts[single] = len(curve.pseudo_NkE[0])
        roles = {"ensemble": self.options.ensemble, "reference": self.options.reference}
        whole: dict[str, Any] = {
            "measure": MEASURE, "gains": gains(score_SE, self.view.method, counts),
            "groups": {name: grouped(score.mean(dim=0)) for name, score in score_SE.items()}
            | self._sizes(curve),
            "examples": hashlib.sha256(self.rows.targets_E.numpy().tobytes()).hexdigest(),
            "halves": self.rows.calibration.half_E is not None, "lone": list(lone),
            "references": {role: source for role, source in roles.items() if source in rows},
            "coverages": list(DRAWN),
        }  # fmt: skip
        if curve is not None:
            values = zip(curve.sizes, curve.values, strict=True)
            whole["curve"] = [{"size": size, "calibrated_nll": -value} for size, value in values]
        return whole


def told(found: Equivalent, most: int) -> dict[str, Any]:
    """Return an equivalent as scores have it; `most`: the size at which the curve ends."""

    def text(value: float, beyond: int) -> str:
        return "< 1" if beyond < 0 else f"> {most}" if beyond > 0 else f"{value:.1f}"

    words = [text(*pair) for pair in zip(found[:3], found.beyond, strict=True)]
    return {
        "equivalent": found.size, "equivalent_low": found.low, "equivalent_high": found.high,
        "equivalent_text": words[0],
        "equivalent_interval": words[1] if words[1] == words[2] else f"{words[1]} to {words[2]}",
    }  # fmt: skip


def _told_cost(cost: Cost | None) -> dict[str, Any]:
    if cost is None:
        return {}
    return {"cost_why": cost.why} | ({} if cost.trainings is None else {"cost": cost.trainings})


def besides(
    networks: Mapping[str, Mapping[str, Any]], lone: Mapping[str, float], score_SE: Mapping[str, Tensor],
    gains: Mapping[str, Gain], method: str,
) -> dict[str, Any]:  # fmt: skip
    """Return by row what it has more than the cheapest lone network that costs no less; nothing where there is none.

    Holm's correction is over all of them; of the method it is said what is said of it beside every other row.
    """
    names = {
        source: name for source, told in networks.items() if told.get("cost") is not None and source not in lone
        if (name := next((name for name, price in lone.items() if price >= told["cost"] * (1 - SAME)), ""))
    }  # fmt: skip
    found = {source: difference(score_SE[source], score_SE[name]) for source, name in names.items()}
    claimed = dict(zip(found, holm([gain.chance for gain in found.values()]), strict=True))
    if method in names:
        claimed[method] = bool(gains[names[method]]["said"])
    return {
        source: {
            "name": name, "cost": lone[name], "networks": len(score_SE[name]),
            **gain_of(found[source], claimed[source]),
        }
        for source, name in names.items()
    }  # fmt: skip


def finite(told: Any) -> bool:
    """Return whether all numbers are."""
    if isinstance(told, Mapping | list):
        return all(map(finite, told.values() if isinstance(told, Mapping) else told))
    return not isinstance(told, float) or math.isfinite(told)
