"""What the readings say, in sentences; reads JSON only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pdiff.components import Finding
from pdiff.results.scores import Unit, given_by
from pdiff.view import ORIGINAL
from pdiff_plugins.evaluators.words import listed

NAME = "predict_property"
WITHOUT = {
    "constant": "the mean of those learnt", "settings": "how the runs were trained, without weights",
    "confidence": "how sure networks are at 20 unlabelled inputs",
}  # fmt: skip
"""Controls in words."""


def findings(scores: Mapping[str, Any]) -> Iterator[Finding]:
    """Say how well weights are read, whether a control does better, what that saves, and how far it carries."""
    found = scores[NAME]
    unit, what = Unit.of(found["true"]), _what(found["property"])
    yield from (Finding(line, headline=True) for line in _read(found, what, unit))
    yield from (Finding(line) for line in [*_beside(found, what, unit), *_saved(scores, found, unit)])
    yield from (Finding(line) for line in _carried(found, what, unit))
    if not found["apart"]:
        yield Finding("All checkpoints are of one run: those judged lie between those learnt, and say little of others")
    for name, why in found["cannot"].items():
        yield Finding(f"`{name}` is left out: {why}", note=True)


def _what(name: str) -> str:
    return "score" if name == "score" else f"`{name}`"


def _read(found: Mapping[str, Any], what: str, unit: Unit) -> Iterator[str]:
    if best := found["best"]:
        others = {name: told["r2"] or 0.0 for name, told in found["readers"].items() if name != best}
        named = [f"`{name}` {others[name]:.3f}" for name in sorted(others, key=others.__getitem__, reverse=True)]
        beside = f" (R2 of others: {', '.join(named)})" if named else ""
        yield (
            f"From weights alone `{best}` tells the {what} of {found['judged']} networks that it has not seen, having "
            f"learnt {found['learnt']}: {_numbers(found['readers'][best], unit)}{beside}"
        )


def _beside(found: Mapping[str, Any], what: str, unit: Unit) -> Iterator[str]:
    """Say of each control whether it tells more than the best reader, and in one line whether any wins."""
    if not found["best"]:
        return
    best = found["readers"][found["best"]]
    wins, level, loses = list[str](), list[str](), list[str]()
    for name, control in found["controls"].items():
        said = best["gains"].get(name, {}).get("said", "")
        text = f"{WITHOUT[name]} (`{name}`: {_numbers(control, unit)})"
        (wins if said == "worse" else loses if said == "better" else level).append(text)
    if wins:
        yield f"A control wins: {listed(wins)} tell{'s' * (len(wins) == 1)} the {what} better than weights do"
    if level:
        yield f"Whether weights tell more or less than {listed(level)} cannot be said from so few networks"
    if loses:
        yield f"Weights tell more than {listed(loses)}{'' if wins or level else '; no control wins'}"


def _saved(scores: Mapping[str, Any], found: Mapping[str, Any], unit: Unit) -> Iterator[str]:
    rows = {source: row for source, row in given_by(scores, NAME).items() if source != ORIGINAL and row["networks"] > 1}
    if row := rows.get(scores["method"]):
        order = f"tau {row['tau']:.2f}" if row["tau"] is not None else "all read alike"
        lead, better = abs(row["first"] - row["mean"]), (row["first"] < row["mean"]) == found["lower"]
        off = row["r2"] is not None and row["r2"] < 0 < (row["tau"] or 0.0)
        yield (
            f"Of {row['networks']} networks of {scores['method']}, ordered by what their weights tell ({order}), the "
            f"best is evaluated as number {row['tried']}, in a random order as number {row['chance']:.1f} on average; "
            f"the first, evaluating none, has {unit.text(row['first'])}, {unit.difference(lead)} "
            f"{'better' if better else 'worse'} than one at random (best: {unit.text(row['best'])})"
            + ("; the values read are no better than their mean, it is their order that counts" if off else "")
        )
    others = [
        f"{source} {row['tried']} of {row['networks']} (at random {row['chance']:.1f})"
        for source, row in rows.items() if source != scores["method"]
    ]  # fmt: skip
    if others:
        yield f"Evaluated in that order until the best is found: {', '.join(others)}"


def _carried(found: Mapping[str, Any], what: str, unit: Unit) -> Iterator[str]:
    transfer = found.get("transfer")
    if not transfer:
        return
    readers, controls = transfer["readers"], transfer["controls"]
    where = f"On the {transfer['networks']} networks of {transfer['run']}, of which nothing was learnt,"
    if not readers:
        yield f"{where} no reader can tell the {what}"
        return
    best = max(readers, key=lambda name: readers[name]["r2"] or 0.0)
    named = [f"`{name}` ({_numbers(control, unit)})" for name, control in controls.items() if name != "constant"]
    wins = [f"`{name}`" for name, gain in readers[best]["gains"].items() if gain["said"] == "worse"]
    beside = f"; without weights: {listed(named)}" if named else ""
    yield f"{where} `{best}` has {_numbers(readers[best], unit)}{beside}{f'; {listed(wins)} wins' if wins else ''}"
    if (here := found["best"]) != best and here in readers:
        yield f"{where} `{here}`, the best here, has {_numbers(readers[here], unit)}: it carries less far"
    for name, why in transfer["cannot"].items():
        if name not in found["cannot"]:
            yield f"{where} `{name}` tells nothing: {why}"


def _numbers(told: Mapping[str, Any], unit: Unit) -> str:
    r2 = "none" if told["r2"] is None else f"{told['r2']:.3f}"
    order = "" if told["tau"] is None else f", tau {told['tau']:.3f}"
    return f"R2 {r2}{order}, mean error {unit.difference(told['error'])}"
