"""What the scores of prompts say, in words; reads JSON only."""

from __future__ import annotations

from typing import Any

STRONG, FAIR = 0.9, 0.5
"""R2 from which networks are what was asked for, and from which nearly."""
UNRELATED = 0.2
"""Largest correlation of the shuffled control that is called none."""
COPIES = 0.9
"""Share of the distance between an unseen run and the nearest training run, below which networks are near-copies.

Between it and 1 they are a little nearer.
"""


def headline(source: str, scores: dict[str, Any]) -> str:
    """Say whether networks are what was asked for, what that saves, and what speaks against it."""
    test, metric = scores["test"], scores["metric"]
    r2, pearson = (_shown(test[key], ".2f") for key in ("r2", "pearson"))
    verdict = "are" if (test["r2"] or 0) >= STRONG else "are nearly" if (test["r2"] or 0) >= FAIR else "are not"
    said = (
        f"Networks of {source} {verdict} what they were asked to be: from unseen starts, {metric} on the test split "
        f"against {metric} asked for has R2 {r2} and correlation {pearson}{_real(scores)}"
    )
    return "; ".join([said, *_saved(scores), *_apart(scores), *warnings(scores)])


def _real(scores: dict[str, Any]) -> str:
    if scores["prompt_split"] == scores["scored_split"]:
        return ""
    r2, pearson = (_shown(scores["real"][key], ".2f") for key in ("r2", "pearson"))
    return f" (of real checkpoints that have it on the {scores['prompt_split']} split {r2} and {pearson})"


def _saved(scores: dict[str, Any]) -> list[str]:
    """Say what one update at the best prompt is worth in steps of SGD."""
    best = scores["best_prompt"]
    said = (
        f"asked for the zoo's best, one update takes {scores['metric']} from {_shown(best['starts']['metric'])} to "
        f"{_shown(best['metric'])} (best checkpoint {_shown(best['zoo']['metric'])})"
    )
    curves = scores.get("curves")
    if not curves or curves["prompted"] is None:
        return [said]
    sgd = curves["sgd"]
    if sgd["reached"]:
        return [f"{said}, which takes SGD about {_steps(sgd['reached'])}"]
    return [f"{said}, which SGD does not reach in {_steps(curves['steps'][-1])}"]


def warnings(scores: dict[str, Any]) -> list[str]:
    """Return what speaks against the method."""
    checks = (_diverged, _worse_than_gradient, _copies, _control)
    return [said for check in checks if (said := check(scores))]


def _diverged(scores: dict[str, Any]) -> str:
    count, without = (scores["test"].get(key) for key in ("diverged", "left_out"))
    if not count:
        return ""
    starts = [len(group["asked"][0]) for group in scores["groups"].values() for _ in group["asked"]]
    return (
        f"warning: {count} of {sum(starts)} networks diverged; {without} of {len(starts)} starts, which have them, are "
        "left out of R2"
    )


def _worse_than_gradient(scores: dict[str, Any]) -> str:
    best = scores["best_prompt"]["metric"]
    name, step = min(scores["gradient"].items(), key=lambda pair: _cost(scores, pair[1]["metric"]))
    if _cost(scores, best) <= _cost(scores, step["metric"]):
        return ""
    how = "along the gradient" if name == "gradient" else "along the gradient's sign"
    return f"warning: a single step {how} does better ({_shown(step['metric'])})"


def _distances(scores: dict[str, Any]) -> tuple[float, float, float | None] | None:
    """Return how far prompted networks and unseen runs lie from training, and the latter's standard deviation."""
    near = scores.get("nearest") or {}
    kind = "matched" if near.get("matched") else "raw"
    if "unseen" not in near or near["prompted"][kind] is None:
        return None
    return near["prompted"][kind], near["unseen"][kind], near["unseen"].get(f"{kind}_std")


def _apart(scores: dict[str, Any]) -> list[str]:
    """Say how near to training networks lie, where they are no near-copies."""
    distances = _distances(scores)
    if not distances or distances[0] < COPIES * distances[1]:
        return []
    how = (
        "a little nearer to a training network than"
        if distances[0] < distances[1]
        else "as far from training networks as"
    )
    return [f"prompted networks lie {how} unseen runs do ({_beside(*distances)})"]


def _copies(scores: dict[str, Any]) -> str:
    distances = _distances(scores)
    if not distances or distances[0] >= COPIES * distances[1]:
        return ""
    return (
        "warning: prompted networks are near-copies: they lie nearer to a training network than unseen runs do "
        f"({_beside(*distances)})"
    )


def _beside(prompted: float, unseen: float, std: float | None) -> str:
    spread = "" if std is None else f", standard deviation {std:.2g}"
    return f"{prompted:.3g} against {unseen:.3g}{spread}"


def _control(scores: dict[str, Any]) -> str:
    if scores["shuffled"] is None or abs(scores["shuffled"]) < UNRELATED:
        return ""
    return (
        f"warning: given the prompts in a shuffled order, what comes still goes with those that were to be given "
        f"(correlation {scores['shuffled']:.2f})"
    )


def notes(source: str, scores: dict[str, Any]) -> list[str]:
    """Return the rest, a line each."""
    parts = (_splits, _groups, _scores, _step, _curves, _nearest, _spread, _outside, _foreign, _recursion)
    return [f"prompts of {source}: {said}" for part in parts if (said := part(scores))]


def _splits(scores: dict[str, Any]) -> str:
    where = "on the test split itself (protocol = \"paper\")" if scores["prompt_split"] == scores["scored_split"] else (
        f"on the {scores['prompt_split']} split, networks on the {scores['scored_split']} split"
    )  # fmt: skip
    return (
        f"starts are measured {where}; the metric got lies within a tenth of the metric asked for at "
        f"{scores['within']:.0%} of the prompts; with prompts in a shuffled order the correlation is "
        f"{_shown(scores['shuffled'], '.2f')}"
    )


def _groups(scores: dict[str, Any]) -> str:
    each = []
    for name, group in scores["groups"].items():
        r2, pearson = (_shown(group["test"][key], ".3f") for key in ("r2", "pearson"))
        said = f"{name} ({group['count']}) R2 {r2}, correlation {pearson}"
        if scores["prompt_split"] != scores["scored_split"]:
            r2, pearson = (_shown(group["selection"][key], ".3f") for key in ("r2", "pearson"))
            said += f" (on the {scores['prompt_split']} split {r2}, {pearson})"
        if group["test"].get("diverged"):
            said += f", {group['test']['diverged']} networks diverged"
        each.append(said)
    return "; ".join(each)


def _scores(scores: dict[str, Any]) -> str:
    best = scores["best_prompt"]
    each = ((best, "networks of the best prompt"), (best["zoo"], "the zoo's best"), (best["starts"], "starts"))
    return "mean score: " + ", ".join(f"{name} {_shown(row['score'])}" for row, name in each)


def _step(scores: dict[str, Any]) -> str:
    each = {name: f"{_shown(step['metric'])} (rate {step['rate']:.2g})" for name, step in scores["gradient"].items()}
    return (
        f"one step along the gradient gives {each['gradient']}, along its sign {each['sign']}, the best prompt "
        f"{_shown(scores['best_prompt']['metric'])}"
    )


def _curves(scores: dict[str, Any]) -> str:
    curves = scores.get("curves")
    if not curves or curves["prompted"] is None:
        return ""
    last = curves["steps"][-1]
    each = [
        f"{title} (rate {curves[name]['rate']:g}) "
        + (f"needs {_steps(curves[name]['reached'])}" if curves[name]["reached"] else f"needs more than {_steps(last)}")
        for name, title in (("sgd", "SGD"), ("adam", "Adam"))
    ]
    return f"to get where one update gets from the same {curves['networks']} starts, {' and '.join(each)}"


def _nearest(scores: dict[str, Any]) -> str:
    near = scores.get("nearest")
    if not near:
        return ""
    kinds = ("raw", "matched") if near["matched"] else ("raw",)
    named = {"raw": "as they are", "matched": "with hidden units matched"}
    others = {name: title for name, title in (("prompted", "prompted"), ("unseen", "unseen runs")) if name in near}
    each = [
        ", ".join(f"{title} {_shown(near[name][kind])}" for name, title in others.items()) + f" {named[kind]}"
        for kind in kinds
    ]
    said = f"distance to the nearest last checkpoint of {near['runs']} training runs: {'; '.join(each)}"
    own_run = near.get("own_run")
    if not own_run:
        return said
    return (
        f"{said}; to the last checkpoint of the start's own, unseen run: {_shown(own_run['prompted'])}, of the start "
        f"itself {_shown(own_run['starts'])}"
    )


def _spread(scores: dict[str, Any]) -> str:
    again = scores["repeats"]
    return (
        f"{again['count']} samples from one start and prompt lie {_shown(again['apart'])} apart, and "
        f"{_shown(again['moved'])} from the start"
    )


def _outside(scores: dict[str, Any]) -> str:
    each = [f"{_shown(row['asked'])} gives {_shown(row['metric'])}" for row in scores["outside"]]
    best = f"the best of it ({_shown(scores['best'])}) gives {_shown(scores['best_prompt']['metric'])}"
    return f"asking beyond the zoo: {', '.join(each)}; {best}"


def _foreign(scores: dict[str, Any]) -> str:
    before, *after = (_shown(row["metric"]) for row in scores["foreign"]["after"])
    return f"starts with doubled weights ({before}) become {after[0]} by one update and {after[1]} by two"


def _recursion(scores: dict[str, Any]) -> str:
    _, *after = (_shown(row["metric"]) for row in scores["recursion"]["after"])
    stop = scores["recursion"]["stop"]
    best = f"best after {stop}" if stop else "none is better than the start"
    return f"updates one after the other at the best prompt: {', '.join(after)} ({best})"


def _cost(scores: dict[str, Any], value: float | None) -> float:
    if value is None:
        return float("inf")
    return value if scores["better"] == "lower" else -value


def _shown(value: float | None, spec: str = ".3g") -> str:
    return "not finite" if value is None else format(value, spec)


def _steps(count: int) -> str:
    return f"{count} step{'s' if count > 1 else ''}"
