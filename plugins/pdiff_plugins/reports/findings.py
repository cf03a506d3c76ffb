"""Findings: what a run's scores say, in sentences and small tables; reads JSON only."""

from __future__ import annotations

import statistics
from typing import Any

from pdiff.results.summary import spread
from pdiff.view import ORIGINAL

CLOSE = 0.001
"""Mean scores that differ by no more (0.1 points) are called equal: fewer test examples than anyone should bet on."""


def score_key(scores: dict[str, Any]) -> str:
    """Return the evaluator that gave the main score of every source, `""` where none did."""
    own = scores["networks"][ORIGINAL]
    return next((key for key in (scores["main"], "accuracy") if "values" in own.get(key, {})), "")


def findings(scores: dict[str, Any]) -> list[str]:
    """Return what the numbers say; the first sentence is the headline, an evaluator's own where one gives it."""
    parts = (_against_originals, _against_baselines, _best, _overlap, _newer, _distance, _repeats, _noise, _codec)
    own = (part["headline"] for part in scores.values() if isinstance(part, dict) and part.get("headline"))
    return [next(own, "") or _headline(scores), *(sentence for part in parts if (sentence := part(scores)))]


def _of(scores: dict[str, Any], evaluator: str) -> dict[str, dict[str, Any]]:
    """Return source -> scores of one evaluator, for sources that have them."""
    return {source: own[evaluator] for source, own in scores["networks"].items() if evaluator in own}


def _baselines(scores: dict[str, Any]) -> list[str]:
    return [source for source in scores["networks"] if source not in (ORIGINAL, scores["method"])]


def _named(source: str) -> str:
    return "soup, the plain average of the checkpoints" if source == "soup" else source


def _headline(scores: dict[str, Any]) -> str:
    if not (key := score_key(scores)):
        return f"{scores['method']}: no evaluator of the {scores['main']} ran"
    networks, method = _of(scores, key), scores["method"]
    own, original = networks[method], networks[ORIGINAL]
    how = "as good as" if _alike(own, original) else "worse than" if own["mean"] < original["mean"] else "better than"
    said = (
        f"Networks drawn by {method} are {how} the originals (mean {scores['main']} {own['mean']:.2%} against "
        f"{original['mean']:.2%})"
    )
    soup = networks.get("soup")
    if soup is None:
        return said
    if soup["mean"] < own["mean"] - CLOSE:
        return f"{said}; a plain average of the checkpoints is worse ({soup['mean']:.2%})"
    far = soup["mean"] > own["mean"] + max(own["std"], original["std"], CLOSE)
    return f"{said}; a plain average of the checkpoints is {'better' if far else 'no worse'} ({soup['mean']:.2%})"


def _alike(own: dict[str, Any], original: dict[str, Any]) -> bool:
    return abs(own["mean"] - original["mean"]) <= max(original["std"], CLOSE)


def _worse(scores: dict[str, Any]) -> bool:
    own = _of(scores, score_key(scores))
    method, original = own.get(scores["method"]), own.get(ORIGINAL)
    return bool(method and original and method["mean"] < original["mean"] and not _alike(method, original))


def _against_originals(scores: dict[str, Any]) -> str:
    """Compare means, unless networks are asked for a metric: then originals are whole trainings, from step 0."""
    key, facts = score_key(scores), scores.get("facts", {}).get(scores["method"], {})
    if not key or "metric" in facts:
        return ""
    own, original = (_of(scores, key)[source] for source in (scores["method"], ORIGINAL))
    word = "less" if _alike(own, original) else "more"
    return (
        f"The means of {scores['method']} and the originals differ by {100 * abs(own['mean'] - original['mean']):.2f} "
        f"points, {word} than the originals' own standard deviation of {100 * original['std']:.2f} points"
    )


def _against_baselines(scores: dict[str, Any]) -> str:
    key, baselines = score_key(scores), _baselines(scores)
    if not key or not baselines:
        return ""
    mean = {source: own["mean"] for source, own in _of(scores, key).items()}
    method = scores["method"]
    equal = [f"{s} ({mean[s]:.2%})" for s in baselines if mean[s] >= mean[method] - CLOSE]
    if equal:
        return (
            f"The score alone is no reason to prefer {method} ({mean[method]:.2%}): as much or more, to within "
            f"{100 * CLOSE:g} points, is reached without any generator by {_listed(equal)}"
        )
    nearest = max(baselines, key=lambda source: mean[source])
    return (
        f"No baseline reaches {method}'s mean of {mean[method]:.2%}; the nearest is {_named(nearest)} "
        f"({mean[nearest]:.2%})"
    )


def _best(scores: dict[str, Any]) -> str:
    if not (key := score_key(scores)):
        return ""
    best = {source: own["best"] for source, own in _of(scores, key).items()}
    rivals = sorted(_baselines(scores), key=lambda source: -best[source])[:1]
    shown = [f"{source} {best[source]:.2%}" for source in (scores["method"], ORIGINAL, *rivals)]
    also = ", the last being the best baseline" if rivals else ""
    return f"The single network chosen on the {scores['selection']} split scores: {_listed(shown)}{also}"


def _overlap(scores: dict[str, Any]) -> str:
    own = scores.get("similarity", {})
    if own.get("og_max") is None or own.get("oo_max") is None:
        return ""
    verdict = "generated networks are no newer than originals"
    if own["og_max"] <= own["oo_max"] - 0.02:
        verdict = "generated networks err in their own way" + (", being worse" if _worse(scores) else "")
    within = ""
    if own.get("gg") is not None and own.get("oo") is not None:
        word = "less" if own["gg"] > own["oo"] + 0.01 else "more" if own["gg"] < own["oo"] - 0.01 else "equally"
        within = f". Among themselves they are {word} varied (overlap {own['gg']:.3f}; originals {own['oo']:.3f})"
    return (
        f"The wrong answers of a generated network and its most similar original overlap by {own['og_max']:.3f} (IoU, "
        f"mean), those of an original and its most similar other original by {own['oo_max']:.3f}: "
        f"{verdict}{within}"
    )


def _newer(scores: dict[str, Any]) -> str:
    """Name baselines that are as good as the method and less like the originals: its claim to novelty (Fig. 4a)."""
    key, overlap = score_key(scores), _of(scores, "similarity")
    if not key or not overlap:
        return ""
    score, method = _of(scores, key), scores["method"]
    ahead = [
        f"{source} (overlap {overlap[source]['max']:.3f}, {score[source]['mean']:.2%})"
        for source in _baselines(scores)
        if score[source]["mean"] >= score[method]["mean"] - CLOSE
        and overlap[source]["max"] < overlap[method]["max"] - 0.01
    ]
    return f"No worse than {method}, and less like the originals: {_listed(ahead)}" if ahead else ""


def _distance(scores: dict[str, Any]) -> str:
    own, method = _of(scores, "distance"), scores["method"]
    ratio = own.get(method, {}).get("ratio")
    if ratio is None:
        return ""
    verdict = next(
        words
        for bound, words in (
            (0.1, "the generated networks are copies, or nearly"),
            (0.67, "closer than a checkpoint is to its neighbour"),
            (1.5, "about as far as a checkpoint is from its neighbour"),
            (float("inf"), "farther than a checkpoint is from its neighbour"),
        )
        if ratio < bound
    )
    return (
        f"In parameters, the nearest checkpoint is {ratio:.3g} times as far away as checkpoints are from their own "
        f"nearest: {verdict}"
    )


def _repeats(scores: dict[str, Any]) -> str:
    own, method = _of(scores, "distance"), scores["method"]
    repeats, usual = own.get(method, {}).get("repeats"), own.get(ORIGINAL, {}).get("repeats") or 0.0
    if repeats is None or repeats <= usual + 0.05:
        return ""
    return (
        f"{repeats:.0%} of the generated networks nearly equal another generated one (originals: {usual:.0%}), which "
        "averages do not show: there are fewer different ones than their number says"
    )


def _noise(scores: dict[str, Any]) -> str:
    """Say so where the codec alone makes good networks of noise, so that diffusion has nothing to add to the score."""
    path, key = scores.get("denoising", {}), score_key(scores)
    if not path.get("progress") or not key:
        return ""
    original = spread(originals_on(scores, path["split"]))
    noise = statistics.fmean(own[0] for own in path["scores"])
    if noise < original["mean"] - max(original["std"], CLOSE):
        return ""
    return (
        f"Pure noise, decoded, already scores {noise:.2%} on the {path['split']} split (originals "
        f"{original['mean']:.2%}): here the score does not come from denoising"
    )


def originals_on(scores: dict[str, Any], split: str) -> list[float]:
    """Return the originals' scores on the test or the selection split."""
    own = scores["networks"][ORIGINAL].get(score_key(scores), {})
    return own.get("values" if split == "test" else "selection_values", [])


def _codec(scores: dict[str, Any]) -> str:
    gate = scores.get("facts", {}).get(scores["method"], {}).get("codec", {})
    if gate.get("explained", 1.0) >= 0.1:
        return ""
    kept = f"only {gate['explained']:.1%}" if gate["explained"] > 0 else "none"
    return f"The codec keeps {kept} of the variance between checkpoints: it does no better than their average"


def ran(scores: dict[str, Any]) -> str:
    """Return one line: what was run."""
    recipe, networks = scores["recipe"], scores["networks"]
    where = "the test split itself" if scores["selection"] == "test" else f"the {scores['selection']} split"
    total = sum(scores.get("seconds", {}).values())
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


def stages(scores: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return (head, rows): the time of each stage, in the order of the run; quick ones are counted together."""
    slow = {what: seconds for what, seconds in scores.get("seconds", {}).items() if seconds >= 0.1}
    rows = [[what, duration(seconds)] for what, seconds in slow.items()]
    if quick := len(scores.get("seconds", {})) - len(slow):
        rows.append([f"{quick} other stages", duration(sum(scores["seconds"].values()) - sum(slow.values()))])
    return ["stage", "time"], rows


def gates(scores: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return (head, rows): for each codec, what decode(encode(w)) keeps."""
    head = ["codec of", "latent", "squared error", "variance", "kept", "originals", "decoded", "average"]
    rows = []
    for source, facts in scores.get("facts", {}).items():
        if gate := facts.get("codec"):
            kinds = ("score_original", "score_decoded", "score_average")
            shown = [format(gate[kind], ".2%") if kind in gate else "" for kind in kinds]
            kept = f"{gate['explained']:.1%}" if gate["explained"] > 0 else "none"
            numbers = [str(gate["latent"]), f"{gate['error']:.3g}", f"{gate['variance']:.3g}", kept]
            rows.append([source, *numbers, *shown])
    return head, rows


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
