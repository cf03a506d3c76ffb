"""What the scores of widths say, in words; reads JSON only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pdiff.components import Finding
from pdiff.results.scores import Unit
from pdiff_plugins.evaluators.words import interval, listed

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
            yield Finding(_headline(source, inside, scores["inside"][source], unit), headline=source == method)
        for row in unseen:
            yield Finding(_at(source, row, scores["steps"], unit), note=True)
        yield Finding(_read(source, facts.get(source, {})), note=True)


def _headline(
    source: str, rows: list[Mapping[str, Any]], gains: Mapping[str, Mapping[str, Any]], unit: Unit
) -> str:  # fmt: skip
    widths = listed([str(row["width"]) for row in rows])
    said = (
        f"Asked for widths that it has not seen ({widths}), {source} gives networks that score "
        + listed([unit.text(row["sources"][source]["mean"]) for row in rows])
        + "; networks trained there "
        + listed([unit.text(row["trained"]["mean"]) for row in rows])
    )
    if unit.name == "%":
        far = [str(row["width"]) for row in rows if -row["gains"][source]["trained"]["mean"] > CLOSE]
        said += f" (more than a point behind at {listed(far)})" if far else " (within a point, or better, at each)"
    return f"{said}; over these widths{_gain(gains['trained'], unit)}; {_beaten(gains, unit)}"


def _beaten(gains: Mapping[str, Mapping[str, Any]], unit: Unit) -> str:
    """Say which controls are worse than the source, which are better, and which are not told apart from it."""
    parts = []
    for said, words in (("better", "worse than it"), ("worse", "BETTER without a generator"), ("", "not told apart")):
        controls = {name: gain for name, gain in gains.items() if name != "trained" and gain["said"] == said}
        each = [f"'{name}' {interval(gain, unit)}" for name, gain in controls.items()]
        parts += [f"{words}: {', '.join(each)}"] if each else []
    return "; ".join(parts)


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
    """Return what the source scores more, with its interval of 95 %, and whether that is told apart from chance."""
    return f" ({gain['said'] or 'not told apart'}: {interval(gain, unit)})"


def _read(source: str, facts: Mapping[str, Any]) -> str:
    if not facts.get("examples"):
        return f"{source} has read no training example: it learnt from checkpoints alone"
    return (
        f"{source} has learnt from data, too: its fit read {facts['examples']:,} training examples, each as often as "
        "it was asked of a denoised network"
    )
