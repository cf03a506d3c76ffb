"""What the evaluator says below the table; reads JSON only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pdiff.components import Finding
from pdiff.results.scores import given_by

NAMED = 3
"""Rows that a sentence names."""
CONVERGED = 1.05
"""R-hat up to which chains are said to draw from one distribution."""


def findings(scores: Mapping[str, Any]) -> Iterator[Finding]:
    """Say who wins, what the method's ensemble is worth, and what a lone network does at its cost."""
    whole, given = scores["uncertainty"], given_by(scores, "uncertainty")
    method = scores["method"]
    if broken := whole.get("broken"):
        yield Finding(
            f"uncertainty: answers of {', '.join(broken)} hold no numbers on some examples, so there is no row of "
            f"{'it' if len(broken) == 1 else 'them'}",
            headline=method in broken, note=True,
        )  # fmt: skip
    if "gains" not in whole:
        return
    yield Finding(plain(whole, given[method], method), headline=True)
    for line in compared(whole["gains"], method):
        yield Finding(f"uncertainty: {line}", note=True)
    for line in (*worth(whole, given, method), *notes(scores)):
        yield Finding(f"uncertainty: {line}", note=True)


def plain(whole: Mapping[str, Any], ours: Mapping[str, Any], method: str) -> str:
    """Say it for who reads such a table for the first time."""
    has, they = ("have", "they are") if ours["members"] > 1 else ("has", "it is")
    said = [f"{_together(ours)} {method} {has} a calibrated NLL of {ours['calibrated_nll']:.4f} on the test split"]
    if "equivalent_text" in ours and whole["references"].get("ensemble") != method:
        cost = f", at the cost of {trainings(ours['cost'])}" if ours.get("cost") is not None else ""
        said.append(f"{they} worth {as_many(ours)} trained one by one{cost}")
    gains = dict(whole["gains"])
    if alone := ours.get("lone"):
        said.append(f"{_at_cost(alone)} {_does(alone)}")
        gains.pop(alone["name"], None)
    ahead = [name for name, gain in gains.items() if gain["said"] == "worse"]
    level = [name for name, gain in gains.items() if not gain["said"]]
    if ahead:
        more = f", as {'does' if len(ahead) == 2 else 'do'} {len(ahead) - 1} more" if len(ahead) > 1 else ""
        said.append(f"{ahead[0]} does better (by {-gains[ahead[0]]['mean']:.4f}){more}")
    elif level:
        tried = f" where {len(whole['gains'])} rows are compared" if len(whole["gains"]) > 1 else ""
        said.append(f"{level[0]} {_does(gains[level[0]])}{tried}")
    elif gains:
        said.append("nothing else in the table does as well")
    return "; ".join(said)


def compared(gains: Mapping[str, Any], method: str) -> Iterator[str]:
    """Set the method beside every other row, a sentence for those that it is better than, worse than, and neither."""
    words = {"worse": "worse than", "": "not told apart from", "better": "better than"}
    for said, word in words.items():
        rows = {name: gain for name, gain in gains.items() if gain["said"] == said}
        if rows:
            named = [f"{name} ({_ends(gain)})" for name, gain in list(rows.items())[:NAMED]]
            more = f"; and {len(rows) - len(named)} more" if len(rows) > len(named) else ""
            beside = not said and any(gain["low"] > 0 or gain["high"] < 0 for gain in rows.values())
            tried = (
                f" (of {len(gains)} intervals some may leave out 0 by chance alone; what is claimed allows for that)"
                if beside else ""
            )  # fmt: skip
            yield f"in calibrated NLL, {method} is {word} {'; '.join(named)}{more}{tried}"


def worth(whole: Mapping[str, Any], given: Mapping[str, Any], method: str) -> Iterator[str]:
    """Say what the method and the rows that do better are worth, at what cost, and beside which lone network."""
    ahead = [name for name, gain in whole["gains"].items() if gain["said"] == "worse" and name in given]
    for source in dict.fromkeys((method, *ahead[:NAMED])):
        row, said = given[source], list[str]()
        if source == whole["references"].get("ensemble") != method:
            continue
        if row.get("equivalent_interval"):
            interval = f" (95 % interval {row['equivalent_interval']})" if "to" in row["equivalent_interval"] else ""
            said.append(f"is worth {as_many(row)} trained one by one{interval}")
        if row.get("cost") is not None:
            said.append(f"costs {trainings(row['cost'])}")
        if alone := row.get("lone"):
            said.append(f"{alone['name']}, of {trainings(alone['cost'])}, {_does(alone)} ({_ends(alone)})")
        if said:
            yield f"{source} {'; '.join(said)}"


def notes(scores: Mapping[str, Any]) -> Iterator[str]:
    """Say what a reader of the table must know: also what fits found, as that a prior is none to choose."""
    whole, given = scores["uncertainty"], given_by(scores, "uncertainty")
    yield from filter(None, (facts.get("worse") for facts in scores.get("facts", {}).values()))
    reference = whole["references"].get("reference", "")
    known = scores.get("facts", {}).get(reference, {})
    mixing = max(known.get("rhat", {}).get("largest", 1.0), known.get("rhat_log_posterior", 1.0))
    if mixing > CONVERGED:
        yield f"the reference {reference} has not converged (R-hat {mixing:.2f} at its largest), and is no yardstick"
    if whole["halves"]:
        yield (
            "temperatures are those of the other half of the test split, as networks and epochs were selected on it; "
            "no claim about new data"
        )
    if whole["gains"]:
        yield (
            "intervals are of other networks from this run's fits, and of other test examples; what a method fitted "
            "anew would give, runs with other seeds tell (pdiff sweep)"
        )
    if unknown := whole.get("no_temperature"):
        yield (
            f"ensembles of {', '.join(unknown)} are right in all examples that a temperature could be fitted on, and "
            "keep 1: their calibrated numbers are those that they give"
        )
    lucky = [source for source in whole["lone"] if given.get(source, {}).get("equivalent_text", "").startswith(">")]
    if lucky:
        yield (
            f"a lone network is worth as much ({', '.join(lucky)}): the deep ensemble's networks are not at the end of "
            "their training, or that one was lucky; equivalents are not to be relied on"
        )
    dear = [source for source in whole["no_lone"] if source != whole["references"].get("ensemble")]
    if dear:
        yield f"no lone network was trained for as much as {', '.join(dear)} cost"
    few = [f"{source} ({row['members']})" for source, row in given.items() if row["members"] < _most(given)]
    if few:
        yield f"rows of fewer than {_most(given)} networks: {', '.join(few)}"


def _most(given: Mapping[str, Any]) -> int:
    return max(int(row["members"]) for row in given.values())


def _together(row: Mapping[str, Any]) -> str:
    return f"{row['members']} networks of" if row["members"] > 1 else "one network of"


def as_many(row: Mapping[str, Any]) -> str:
    """Return a deep-ensemble equivalent in words."""
    text = row["equivalent_text"].replace("< ", "less than ").replace("> ", "more than ")
    return f"{text} network{'' if text in ('1', '1.0', 'less than 1') else 's'}"


def trainings(cost: float) -> str:
    """Return a cost in words."""
    number = f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"
    return "no training" if not cost else f"{number} training{'' if number == '1' else 's'}"


def _at_cost(alone: Mapping[str, Any]) -> str:
    return f"a lone network at no less cost ({alone['name']})"


def _does(alone: Mapping[str, Any]) -> str:
    """Say how a lone network does; the gain is that of the ensemble over it."""
    by = f"{abs(alone['mean']):.4f}"
    if alone["said"]:
        return f"does {'worse' if alone['said'] == 'better' else 'better'} by {by}"
    return f"is {by} {'behind' if alone['mean'] > 0 else 'ahead'}, which may be chance"


def _ends(gain: Mapping[str, Any]) -> str:
    """Return a gain in log-likelihood with its interval; what is better is above 0."""
    one = "one network, " if gain["networks"] == 1 else ""
    return f"{one}{gain['mean']:+.4f}, 95 % interval {gain['low']:+.4f} to {gain['high']:+.4f}"
