"""What the networks of each source cost, in trainings of one network and in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pdiff.results.scores import given_by
from pdiff.view import ORIGINAL

if TYPE_CHECKING:
    from pdiff.view import View

CHECKPOINTS, ONE, NOTHING = "checkpoints", "one", "nothing"
"""What a method begins from; see `pdiff.components.Generator.facts`."""


class Cost(NamedTuple):
    """What a source's networks cost."""

    trainings: float | None
    """In trainings of one network; None: it cannot be known."""
    why: str
    """What the cost is made of, or why it is not known."""


def costs(view: View, members: Mapping[str, int] | None = None) -> dict[str, Cost]:
    """Return the cost of each source's networks; of those trained one by one of so many members alone.

    A training is what one network of the deep ensemble reads, where there is such a row of whole trainings, else what
    the base network read: examples, each as often as it moved the network. Evaluating networks, to choose among them,
    counts nothing.
    """
    setup, train = view.recipe, len(view.bench.examples("train"))
    base = setup.train.epochs * train
    deep = [(view.generators[s].facts.get("each"), m) for s, m in view.methods.items() if m.name == "deep_ensemble"]
    each = {getattr(method, "trainings", 1.0): float(examples) for examples, method in reversed(deep) if examples}
    one = each.get(1.0, base) or next((examples / trainings for trainings, examples in each.items()), 0)
    if not one:
        why = "the base network was not trained here, and without a deep ensemble no training is known to compare with"
        return {source: Cost(None, why) for source in view.theta}
    collected, elsewhere = setup.collect.examples(train), setup.collect.elsewhere
    free = "; published weights cost nothing here" if setup.architecture.weights else ""
    told = {source: view.generators[source].facts for source in view.theta if source != ORIGINAL}
    told[ORIGINAL] = {"begins": CHECKPOINTS}
    for source, count in (members or {}).items():
        told[source] = _of_members(told[source], count)
    return {source: _cost(told[source], one, base, collected, elsewhere, free) for source in view.theta}


def _of_members(facts: dict[str, Any], count: int) -> dict[str, Any]:
    """Return what is told of so many networks where each was trained by itself; those that diverged count, too."""
    if not facts.get("each"):
        return facts
    networks = facts.get("networks", facts["examples"] / facts["each"])
    return facts | {"examples": facts["examples"] * count / networks}


def _cost(
    facts: Mapping[str, Any], one: float, base: float, collected: int | None, elsewhere: bool, free: str
) -> Cost:  # fmt: skip
    begins, read = facts.get("begins", CHECKPOINTS), facts.get("examples", 0)
    if read is None:
        return Cost(None, "the method cannot tell how many examples it read")
    parts = {"its own": read / one}
    if begins == CHECKPOINTS:
        if collected is None:
            how = "were made elsewhere" if elsewhere else "do not tell how many examples they read"
            return Cost(None, f"the checkpoints {how}")
        parts = {"checkpoints": collected / one} | parts
    if begins != NOTHING:
        parts = {"base network": base / one} | parts
    known = [f"{name} {part:.3g}" for name, part in parts.items() if part]
    why = " + ".join(known) or "no training"
    return Cost(sum(parts.values()), why + (free if begins != NOTHING else ""))


def seconds(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return how long it took to make each source's networks, of a run's scores.

    It is the time of fitting, with that of the base network and of the checkpoints where the method begins from them.
    Of networks trained one by one it is, as their cost, that of one ensemble's. What was resumed, or trained where
    other work was done, took other times: they are of no result.
    """
    took, begun = scores["seconds"], {CHECKPOINTS: ("train", "collect"), ONE: ("train",), NOTHING: ()}
    facts, given = {ORIGINAL: {}} | scores["facts"], scores["networks"]

    def own(source: str) -> float:
        row = given[source]
        trained = facts[source].get("networks") or row["count"]
        share = row["uncertainty"]["members"] / trained if "each" in facts[source] else 1.0
        return float(took.get(f"fit {source}", 0.0) * share)

    return {
        source: sum(took.get(stage, 0.0) for stage in begun[facts[source].get("begins", CHECKPOINTS)]) + own(source)
        for source in given_by(scores, "uncertainty") if source in facts
    }  # fmt: skip
