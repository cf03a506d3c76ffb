"""What scores, overlaps, distances and paths say, in sentences; reads JSON only."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from pdiff.components import Finding
from pdiff.results.scores import TaskScore, given_by, nothing, scored, unit_of
from pdiff.results.summary import spread
from pdiff.view import ORIGINAL
from pdiff_plugins.evaluators.telling import emptied
from pdiff_plugins.evaluators.words import listed

Scores = Mapping[str, Any]
CLOSE = 0.001
"""Mean scores that differ by no more (0.1 points, or so much of the originals' mean) are called equal: fewer test
examples than anyone should bet on."""
ELSEWHERE = (
    "the {what} were made elsewhere: what was trained on examples of the {splits} looks better there than it is, and "
    "this run cannot know"
)

PRODUCTS = (
    "distances are of products, of what adapters add to each layer: factors that differ and add the same are at no "
    "distance"
)


def of_score(scores: Scores) -> Iterator[Finding]:
    """Compare the method's scores with those of the originals and of the baselines."""
    networks = given_by(scores, "accuracy")
    yield Finding(_headline(scores, networks), headline=True)
    if not nothing(scores):
        yield from _findings(_against_originals(scores, networks), _against_baselines(scores, networks))
    yield Finding(_best(scores, networks))
    yield from (Finding(note, note=True) for note in _degenerate(scores, networks))
    if made := scores.get("elsewhere"):
        splits = " or the ".join(f"{split} split" for split in dict.fromkeys((scores["selection"], "test")))
        yield Finding(ELSEWHERE.format(what=" and ".join(made), splits=splits), note=True)


def of_overlap(scores: Scores) -> Iterator[Finding]:
    """Say whether generated networks err as originals do, and which baselines do so less."""
    yield from _findings(_overlap(scores), _newer(scores))


def of_distance(scores: Scores) -> Iterator[Finding]:
    """Say how far from checkpoints, and from one another, generated networks lie."""
    yield from _findings(_distance(scores), _repeats(scores))
    if scores["distance"].get("products"):
        yield Finding(PRODUCTS, note=True)


def of_paths(scores: Scores) -> Iterator[Finding]:
    """Say so where noise alone does as well."""
    yield from _findings(_noise(scores))


def _findings(*sentences: str) -> Iterator[Finding]:
    return (Finding(sentence) for sentence in sentences if sentence)


def _headline(scores: Scores, networks: Scores) -> str:
    method = scores["method"]
    generated, original, unit, close = networks[method], networks[ORIGINAL], unit_of(scores), _close(scores)
    means = f"mean {scores['main']} {unit.text(generated['mean'])} against {unit.text(original['mean'])}"
    if nothing(scores):
        return f"Networks drawn by {method} beside the originals: {means}"
    better = "worse than" if generated["mean"] < original["mean"] else "better than"
    how = "as good as" if _alike(generated, original, close) else better
    said, soup = f"Networks drawn by {method} are {how} the originals ({means})", networks.get("soup")
    if soup is None:
        return said
    if soup["mean"] < generated["mean"] - close:
        return f"{said}; a plain average of the checkpoints is worse ({unit.text(soup['mean'])})"
    word = "better" if soup["mean"] > generated["mean"] + max(generated["std"], original["std"], close) else "no worse"
    return f"{said}; a plain average of the checkpoints is {word} ({unit.text(soup['mean'])})"


def _close(scores: Scores) -> float:
    """Return the difference of two mean scores up to which they are called equal."""
    unit, original = unit_of(scores), scored(scores).get(ORIGINAL)
    return CLOSE if unit.name == "%" or original is None else CLOSE * abs(original["mean"])


def _alike(generated: Scores | TaskScore, original: Scores | TaskScore, close: float) -> bool:
    return abs(generated["mean"] - original["mean"]) <= max(original["std"], close)


def _against_originals(scores: Scores, networks: Scores) -> str:
    """Compare means, unless networks are asked for a metric: then originals are whole trainings, from step 0."""
    if "metric" in scores["facts"].get(scores["method"], {}):
        return ""
    generated, original = (networks[source] for source in (scores["method"], ORIGINAL))
    unit, word = unit_of(scores), "less" if _alike(generated, original, _close(scores)) else "more"
    return (
        f"The means of {scores['method']} and the originals differ by "
        f"{unit.difference(abs(generated['mean'] - original['mean']))}, {word} than the originals' own standard "
        f"deviation of {unit.difference(original['std'])}"
    )


def _against_baselines(scores: Scores, networks: Scores) -> str:
    baselines = _baselines(scores)
    if not baselines:
        return ""
    mean = {source: score["mean"] for source, score in networks.items()}
    method, unit, close = scores["method"], unit_of(scores), _close(scores)
    equal = [f"{s} ({unit.text(mean[s])})" for s in baselines if mean[s] >= mean[method] - close]
    if equal:
        return (
            f"The score alone is no reason to prefer {method} ({unit.text(mean[method])}): as much or more, to within "
            f"{unit.difference(close)}, is reached without any generator by {listed(equal)}"
        )
    nearest = max(baselines, key=lambda source: mean[source])
    return (
        f"No baseline reaches {method}'s mean of {unit.text(mean[method])}; the nearest is {_named(nearest)} "
        f"({unit.text(mean[nearest])})"
    )


def _best(scores: Scores, networks: Scores) -> str:
    best = {source: score["best"] for source, score in networks.items()}
    rivals = sorted(_baselines(scores), key=lambda source: -best[source])[:1]
    unit = unit_of(scores)
    shown = [f"{source} {unit.text(best[source])}" for source in (scores["method"], ORIGINAL, *rivals)]
    also = ", the last being the best baseline" if rivals else ""
    return f"The single network chosen on the {scores['selection']} split scores: {listed(shown)}{also}"


def _degenerate(scores: Scores, networks: Scores) -> list[str]:
    """Say so where networks without information score as well as the originals."""
    constant, unit = scores["accuracy"].get("constant"), unit_of(scores)
    if not emptied(networks, constant):
        return []
    without, usual = (unit.text(networks[source]["mean"]) for source in (constant, ORIGINAL))
    return [
        f"A network whose every generated tensor is replaced by its mean scores {without}, the originals {usual}: on "
        "this task the score says nothing about a generator. Look at similarity and distance."
    ]


def _overlap(scores: Scores) -> str:
    overlap = scores["similarity"]
    if overlap["og_max"] is None or overlap["oo_max"] is None:
        return ""
    verdict = ": generated networks are no newer than originals"
    if nothing(scores):
        verdict = ""
    elif overlap["og_max"] <= overlap["oo_max"] - 0.02:
        verdict = ": generated networks err in their own way" + (", being worse" if _worse(scores) else "")
    within = ""
    if not nothing(scores) and overlap["gg"] is not None and overlap["oo"] is not None:
        word = (
            "less"
            if overlap["gg"] > overlap["oo"] + 0.01
            else "more"
            if overlap["gg"] < overlap["oo"] - 0.01
            else "equally"
        )
        within = (
            f". Among themselves they are {word} varied (overlap {overlap['gg']:.3f}; originals {overlap['oo']:.3f})"
        )
    return (
        f"The wrong answers of a generated network and its most similar original overlap by {overlap['og_max']:.3f} "
        f"(IoU, mean), those of an original and its most similar other original by {overlap['oo_max']:.3f}"
        f"{verdict}{within}"
    )


def _worse(scores: Scores) -> bool:
    score = scored(scores)
    method, original = score.get(scores["method"]), score.get(ORIGINAL)
    return bool(
        method and original and method["mean"] < original["mean"] and not _alike(method, original, _close(scores))
    )


def _newer(scores: Scores) -> str:
    """Name baselines that are as good as the method and less like the originals: its claim to novelty (Fig. 4a)."""
    overlap, score, method = given_by(scores, "similarity"), scored(scores), scores["method"]
    if not score or nothing(scores):
        return ""
    unit, close = unit_of(scores), _close(scores)
    ahead = [
        f"{source} (overlap {overlap[source]['max']:.3f}, {unit.text(score[source]['mean'])})"
        for source in _baselines(scores)
        if score[source]["mean"] >= score[method]["mean"] - close
        and overlap[source]["max"] < overlap[method]["max"] - 0.01
    ]
    return f"No worse than {method}, and less like the originals: {listed(ahead)}" if ahead else ""


def _distance(scores: Scores) -> str:
    ratio = given_by(scores, "distance")[scores["method"]]["ratio"]
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


def _repeats(scores: Scores) -> str:
    distances = given_by(scores, "distance")
    repeats, usual = distances[scores["method"]].get("repeats"), distances[ORIGINAL].get("repeats") or 0.0
    if repeats is None or repeats <= usual + 0.05:
        return ""
    return (
        f"{repeats:.0%} of the generated networks nearly equal another generated one (originals: {usual:.0%}), which "
        "averages do not show: there are fewer different ones than their number says"
    )


def _noise(scores: Scores) -> str:
    """Say so where the codec alone makes good networks of noise, so that diffusion has nothing to add to the score."""
    path = scores["denoising"]
    if not path["progress"] or not scores["scored_by"]:
        return ""
    original = spread(originals_on(scores, path["split"]))
    noise = statistics.fmean(network[0] for network in path["scores"])
    if noise < original["mean"] - max(original["std"], _close(scores)):
        return ""
    unit = unit_of(scores)
    return (
        f"Pure noise, decoded, already scores {unit.text(noise)} on the {path['split']} split (originals "
        f"{unit.text(original['mean'])}): here the score does not come from denoising"
    )


def originals_on(scores: Scores, split: str) -> list[float]:
    """Return the originals' scores on the test or the selection split."""
    score = scored(scores).get(ORIGINAL)
    return [] if score is None else score["values"] if split == "test" else score["selection_values"]


def _baselines(scores: Scores) -> list[str]:
    return [source for source in scores["networks"] if source not in (ORIGINAL, scores["method"])]


def _named(source: str) -> str:
    return "soup, the plain average of the checkpoints" if source == "soup" else source
