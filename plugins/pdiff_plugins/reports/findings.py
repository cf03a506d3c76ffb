"""What is said of every run, whatever was evaluated: settings, times, and what codecs keep; reads JSON only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pdiff.results.scores import scored, unit_of
from pdiff.results.shown import Showing
from pdiff.results.summary import headline as warning
from pdiff.view import ORIGINAL

ENOUGH = 0.9
"""Share of their score that own networks must keep."""


def findings(showing: Showing, scores: Mapping[str, Any]) -> list[str]:
    """Return what the numbers say; the first sentence is the headline, an evaluator's where one gives it.

    Of a run that can tell nothing it is that.
    """
    headline, sentences = showing.findings(scores)
    first = warning(scores)
    first = first[:1].upper() + first[1:]
    return [
        *filter(None, [first]),
        headline or _headline(scores),
        *sentences,
        *filter(None, [codec(scores), held(scores)]),
    ]


def _headline(scores: Mapping[str, Any]) -> str:
    score = scored(scores).get(scores["method"])
    if score is None:
        return f"{scores['method']}: no evaluator of the {scores['main']} ran"
    return f"Networks drawn by {scores['method']} have a mean {scores['main']} of {unit_of(scores).text(score['mean'])}"


def codec(scores: Mapping[str, Any]) -> str:
    """Say so where the codec of the method keeps nothing of what differs between checkpoints."""
    gate = scores["facts"].get(scores["method"], {}).get("codec", {})
    if gate.get("explained", 1.0) >= 0.1:
        return ""
    kept = f"only {gate['explained']:.1%}" if gate["explained"] > 0 else "none"
    return f"The codec keeps {kept} of the variance between checkpoints: it does no better than their average"


def ran(scores: Mapping[str, Any]) -> str:
    """Return one line: what was run."""
    recipe, networks = scores["recipe"], scores["networks"]
    where = "the test split itself" if scores["selection"] == "test" else f"the {scores['selection']} split"
    total = sum(scores["seconds"].values())
    return (
        f"{recipe['architecture']['name']} on {recipe['dataset']['name']}: {networks[ORIGINAL]['count']:,} checkpoints "
        f"of {scores['parameters']:,} parameters (selector {recipe['selector']['name']}), "
        f"{networks[scores['method']]['count']:,} networks drawn by {scores['method']}. "
        f"Protocol {scores['protocol']} (selects on {where}), seed {recipe['seed']}, device {scores['device']}, "
        f"{duration(total)}"
    )


def duration(seconds: float) -> str:
    """Return seconds as a person says them."""
    for limit, unit, spec in ((60, 1, "{:.1f} s"), (3600, 60, "{:.1f} min")):
        if seconds < limit:
            return spec.format(seconds / unit)
    return f"{seconds / 3600:.1f} h"


def stages(scores: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return (head, rows): the time of each stage, in the order of the run; quick ones are counted together."""
    slow = {what: seconds for what, seconds in scores["seconds"].items() if seconds >= 0.1}
    rows = [[what, duration(seconds)] for what, seconds in slow.items()]
    if quick := len(scores["seconds"]) - len(slow):
        rows.append([f"{quick} other stages", duration(sum(scores["seconds"].values()) - sum(slow.values()))])
    return ["stage", "time"], rows


def held(scores: Mapping[str, Any]) -> str:
    """Say which sources hold too little of the own networks of held-out tasks to have networks for unseen ones."""
    known = {source: facts["gate"] for source, facts in scores["facts"].items() if "gate" in facts}
    few = {source: gate for source, gate in known.items() if gate["share"] < ENOUGH}
    unit = unit_of(scores)
    said = [f"{source} {unit.text(gate['through'])} of {unit.text(gate['own'])}" for source, gate in few.items()]
    where = f"on the {scores['selection']} split"
    return (
        f"Own networks of held-out tasks, put through what a method can hold, lose more than a tenth of their score "
        f"{where}: {', '.join(said)}. No network that these sample for an unseen task can be expected to do better; "
        "learn by the tasks' loss (hypernetwork), or let networks lie nearer together (collect.start, collect.steps)"
        if said
        else ""
    )


def gates(scores: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return (head, rows): for each codec, what decode(encode(w)) keeps."""
    head = ["codec of", "latent", "squared error", "variance", "kept", "originals", "decoded", "average"]
    rows = []
    for source, facts in scores["facts"].items():
        if gate := facts.get("codec"):
            kinds = ("score_original", "score_decoded", "score_average")
            unit = unit_of(scores)
            shown = [unit.text(gate[kind]) if kind in gate else "" for kind in kinds]
            kept = f"{gate['explained']:.1%}" if gate["explained"] > 0 else "none"
            numbers = [str(gate["latent"]), f"{gate['error']:.3g}", f"{gate['variance']:.3g}", kept]
            rows.append([source, *numbers, *shown])
    return head, rows
