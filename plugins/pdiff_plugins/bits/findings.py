"""What the evaluator `bits` says below the table; reads JSON only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pdiff.components import Finding
from pdiff.results.scores import Unit, given_by, scored, unit_of
from pdiff.view import ORIGINAL
from pdiff_plugins.evaluators.words import interval, listed

SAME = 1.02
"""How many times the method's bytes another source's networks may take, to be a control at equal size."""
FEW = 0.9
"""Of a dense network's bytes, that a network in few bits takes at most."""
WORDS = {"better": "better than", "": "not told apart from", "worse": "worse than"}
NAMED = 4
"""Sources that a sentence names."""


def findings(scores: Mapping[str, Any]) -> Iterator[Finding]:
    """Say what the method's networks take and score, beside their checkpoints and every control of no greater size.

    Also where the run can tell nothing of a distribution: what noise does to floats, it does not at this size.
    """
    whole, given, method = scores["bits"], given_by(scores, "bits"), scores["method"]
    if method not in given:
        return
    if given[method]["bytes"] > FEW * whole["dense"]:
        yield Finding(
            f"bits: networks of {method} lie on no grid of few bits and have no weights cut, and take "
            f"{given[method]['bytes']:,.0f} bytes each, as floats do",
            note=True,
        )
        return
    unit, means, gains = unit_of(scores), scored(scores), whole.get("gains", {})
    factor = whole["dense"] / given[method]["bytes"]
    said = f"A network of {method} takes {_size(given[method])}, where floats take {factor:.1f} times as much"
    if method not in means:
        yield Finding(said, headline=True)
        return
    said += f", and scores {unit.text(means[method]['mean'])}"
    if ORIGINAL in gains:
        beside = f"the checkpoints, of {_size(given[ORIGINAL])}, {unit.text(means[ORIGINAL]['mean'])}"
        said += f"; {beside} (difference {interval(gains[ORIGINAL], unit)})"
    controls = {source: gain for source, gain in gains.items() if source != ORIGINAL and gain["bytes"] <= SAME}
    yield Finding(f"{said}; {_verdict(controls, method)}", headline=True)
    yield from (Finding(line) for line in _compared(controls, method, unit))
    larger = {source: gain for source, gain in gains.items() if source != ORIGINAL and gain["bytes"] > SAME}
    if larger:
        named = "; ".join(
            f"{source} ({gain['bytes']:.1f} times the bytes, {interval(gain, unit)})"
            for source, gain in list(larger.items())[:NAMED]
        )
        yield Finding(f"What {method} scores more than larger networks: {named}")
    yield Finding(
        "bits: intervals are of 95 %, of other networks from these fits and of other test examples; a step counts 16 "
        "bits for each row, a mask by its entropy, of which a file takes a bit for each weight",
        note=True,
    )


def _size(row: Mapping[str, Any]) -> str:
    return f"{row['bytes']:,.0f} bytes ({row['bits']:.2f} bits per parameter)"


def _compared(controls: Mapping[str, Any], method: str, unit: Unit) -> Iterator[str]:
    """Set the method beside each control, a sentence for those that it is better than, worse than, and neither."""
    for said, words in WORDS.items():
        rows = {source: gain for source, gain in controls.items() if gain["said"] == said}
        if rows:
            named = "; ".join(f"{source} ({interval(gain, unit)})" for source, gain in list(rows.items())[:NAMED])
            more = f"; and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
            yield f"At no more bytes {method} is {words} {named}{more}"


def _verdict(controls: Mapping[str, Any], method: str) -> str:
    """Say whether a control does as well, which then is reason enough to do without a generator."""
    if not controls:
        return "no other source has networks as small, so that there is no control"
    ahead = [source for source, gain in controls.items() if gain["said"] == "worse"]
    level = [source for source, gain in controls.items() if not gain["said"]]
    if ahead:
        return f"a control wins: {listed(ahead)} {'scores' if len(ahead) == 1 else 'score'} more at no more bytes"
    if level:
        does = "does" if len(level) == 1 else "do"
        return f"of controls, {listed(level)} {does} as well at no more bytes, as far as this run can tell"
    return "no control of that size does as well"
