"""What the evaluator of conditions says below the table, in words; reads JSON only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pdiff.components import Finding
from pdiff.results.scores import Unit, given_by, unit_of
from pdiff.view import ORIGINAL
from pdiff_plugins.conditions.evaluation.verdict import LITTLE, WHOLE, no_ceiling, on_tasks


def findings(scores: Mapping[str, Any]) -> Iterator[Finding]:
    """Return the verdict, which sums the run up, what a reader of the table must know, and what else was found."""
    ours, given, unit = scores["conditions"], given_by(scores, "conditions"), unit_of(scores)
    yield Finding(ours["plain"], headline=True)
    counts = ", ".join(f"{count} {part}" for part, count in ours["counts"].items())
    known = f"; {ours['known']} checkpoints held out are of learnt tasks, and not asked for" if ours["known"] else ""
    yield Finding(f"tasks: {counts}; means and the verdict are of those {ours['judged']}{known}", note=True)
    brief = (
        line for line in ours["verdict"] if line.startswith((on_tasks(ours["counts"], ours["judged"]), "the cond"))
    )
    yield Finding(f"conditions: {'; '.join(brief)}", note=True)
    yield from (Finding(note, note=True) for note in _trained(ours, given, unit))
    for said in (*_gates(ours, given, unit), *_samples(given, unit), *_adapted(ours, unit)):
        yield Finding(said)


def _trained(ours: Mapping[str, Any], given: Mapping[str, Any], unit: Unit) -> Iterator[str]:
    """Say so where networks were not trained to their end, by their collector's word or by better generated ones."""
    if "own_gain" in ours:
        enough = ours["own_gain"] < LITTLE
        told = "they are trained to their end" if enough else "the zoo is under-trained, and its networks no ceiling"
        yield f"twice the steps add {unit.difference(ours['own_gain'], '+')} to the tasks' own networks: {told}"
    if "class_gain" in ours:
        told = "" if ours["class_gain"] < LITTLE else ": give it more (rival_steps)"
        added = unit.difference(ours["class_gain"], "+")
        yield f"{WHOLE}: twice the steps changed its accuracy on all classes by {added}{told}"
    seen = {name: each["seen"] for name, each in (given | ours["beside"]).items() if each.get("seen")}
    if len(set(seen.values())) > 1:
        by_count = [
            f"{count:,}: " + " / ".join(n for n in seen if seen[n] == count) for count in sorted(set(seen.values()))
        ]
        yield f"training examples that rows have learnt from, be it through networks: {'; '.join(by_count)}"
    above = [source for source, each in given.items() if source != ORIGINAL and each["mean"] > given[ORIGINAL]["mean"]]
    if not ours["by_task"]:
        yield "all networks are scored alike, whatever they were asked for: no score tells whether conditions are used"
    elif above:
        yield (
            f"{', '.join(above)}: a mean above that of the tasks' own networks "
            f"({unit.text(given[ORIGINAL]['mean'])}); where that is no chance, {no_ceiling(ours.get('own_gain'))}"
        )


def _gates(ours: Mapping[str, Any], given: Mapping[str, Any], unit: Unit) -> Iterator[str]:
    """Say what codecs, and the span of all learnt networks, leave of the tasks' own networks."""
    kept = {source: each["gate"] for source, each in given.items() if each["gate"] is not None}
    gates = [f"the codec of {source} {unit.text(score)}" for source, score in kept.items()]
    if "span" in ours:
        gates.insert(0, f"the span of all learnt networks leaves {unit.text(ours['span'])}")
    if gates:
        yield f"Of the tasks' own networks ({unit.text(given[ORIGINAL]['mean'])}), {', '.join(gates)}"
    errors = [f"{source} {each['leave_one_out']:.2f}" for source, each in given.items() if "leave_one_out" in each]
    if errors:
        yield (
            "Error in the weights of learnt networks left out, as a share of their variance (1: conditions tell "
            f"nothing of weights): {', '.join(errors)}"
        )


def _samples(given: Mapping[str, Any], unit: Unit) -> Iterator[str]:
    for source, each in given.items():
        if several := each.get("samples"):
            outputs = f", of their outputs {unit.text(several['outputs'])}" if "outputs" in several else ""
            yield (
                f"{source}: one sample of a condition {unit.text(several['one'])}, the mean of {several['count']} "
                f"samples' weights {unit.text(several['weights'])}{outputs}"
            )


def _adapted(ours: Mapping[str, Any], unit: Unit) -> Iterator[str]:
    if trained := ours.get("adapted"):
        steps = ", ".join(map(str, trained["steps"]))
        each = [f"{start} {', '.join(map(unit.text, scores))}" for start, scores in trained["starts"].items()]
        yield f"After {steps} steps of training on {trained['tasks']} tasks: {'; '.join(each)}"
