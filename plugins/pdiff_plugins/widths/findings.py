"""What the scores of widths say, in words; reads JSON only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pdiff.components import Finding
from pdiff.results.scores import Unit

CLOSE = 0.01
"""Of a score that is a share: what networks may lack to be as good as trained ones."""
NAMES = {
    "cut": "those of width {of}, units cut", "split": "those of width {of}, units split",
    "cut, trained": "the cut ones after {steps} steps", "split, trained": "the split ones after {steps} steps",
    "new, trained": "new ones after {steps} steps",
}  # fmt: skip


def findings(scores: Mapping[str, Any], method: str, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Say whether unseen widths are met, and where a control is better; then each unseen width."""
    unit, unseen = Unit(scores["unit"]), [row for row in scores["at"] if row["part"] != "learnt"]
    sources = sorted(scores["at"][0]["sources"], key=lambda source: source != method)
    for source in sources:
        inside = [row for row in unseen if row["part"] == "inside"]
        if inside:
            yield Finding(_headline(source, inside, unit), headline=source == method)
        for row in unseen:
            yield Finding(_at(source, row, scores["steps"], unit), note=True)
        yield Finding(_read(source, facts.get(source, {})), note=True)


def _headline(source: str, rows: list[Mapping[str, Any]], unit: Unit) -> str:
    widths = _listed([str(row["width"]) for row in rows])
    lacks = [-row["gains"][source]["trained"]["mean"] for row in rows]
    said = (
        f"Asked for widths that it has not seen ({widths}), {source} gives networks that score "
        + _listed([unit.text(row["sources"][source]["mean"]) for row in rows])
        + "; networks trained there "
        + _listed([unit.text(row["trained"]["mean"]) for row in rows])
    )
    if unit.name == "%":
        far = [str(row["width"]) for row, lack in zip(rows, lacks, strict=True) if lack > CLOSE]
        said += f"; more than a point behind at {_listed(far)}" if far else ", at most a point more at each"
    return f"{said}; {_beaten(source, rows)}"


def _beaten(source: str, rows: list[Mapping[str, Any]]) -> str:
    """Say which controls are better than the source, and which are not told apart from it."""
    places: dict[str, dict[str, list[str]]] = {"better": {}, "worse": {}, "": {}}
    for row in rows:
        for name, gain in row["gains"][source].items():
            if name != "trained":
                places[gain["said"]].setdefault(name, []).append(str(row["width"]))
    parts = [f"worse than it: {_controls(places['better'])}"] if places["better"] else []
    parts += [
        f"BETTER without a generator: {_controls(places['worse'])}" if places["worse"] else "no control is better"
    ]
    return "; ".join([*parts, *([f"not told apart: {_controls(places[''])}"] if places[""] else [])])


def _controls(places: Mapping[str, list[str]]) -> str:
    """Return controls and the widths at which they are meant."""
    return ", ".join(f"'{name}' at {_listed(widths)}" for name, widths in places.items())


def _at(source: str, row: Mapping[str, Any], steps: int, unit: Unit) -> str:
    """Say what there is at an unseen width."""
    own, gains = row["sources"][source], row["gains"][source]
    each = [f"networks trained there {unit.text(row['trained']['mean'])}{_gain(gains['trained'], unit)}"]
    for name, control in row["controls"].items():
        told = NAMES[name].format(of=control.get("of", ""), steps=steps)
        each.append(f"{told} {unit.text(control['mean'])}{_gain(gains[name], unit)}")
    where = "between learnt ones" if row["part"] == "inside" else "beyond all learnt ones"
    return f"width {row['width']}, {where}: {source} {unit.text(own['mean'])}; {'; '.join(each)}"


def _gain(gain: Mapping[str, Any], unit: Unit) -> str:
    """Return what the source scores more, with its interval of 95 %."""
    low, high = unit.bare(gain["low"], "+"), unit.bare(gain["high"], "+")
    return f" ({gain['said'] or 'not told apart'}: {unit.difference(gain['mean'], '+')}, {low} to {high})"


def _read(source: str, facts: Mapping[str, Any]) -> str:
    if not facts.get("examples"):
        return f"{source} has read no training example: it learnt from checkpoints alone"
    return (
        f"{source} has learnt from data, too: its fit read {facts['examples']:,} training examples, each as often as "
        "it was asked of a denoised network"
    )


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
