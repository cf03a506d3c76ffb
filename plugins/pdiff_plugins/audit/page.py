"""The page of the audit: its verdict, every source in one table, and the figures that bear on it. Reads JSON only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pdiff.components import Figure, Page
from pdiff.results.scores import given_by, unit_of
from pdiff.results.summary import SCORE, cell
from pdiff_plugins.drawing import page

if TYPE_CHECKING:
    from pdiff.view import View

Table = tuple[list[str], list[list[str]]]
COLUMNS = (
    ("selection", "audit", "selection", SCORE), ("best", "", "best", SCORE), ("mean", "", "mean", SCORE),
    ("std", "", "std", SCORE), ("NLL", "audit", "nll", ".4f"), ("ECE", "audit", "ece", ".3f"),
    ("IoU in", "similarity", "within", ".3f"), ("IoU to", "similarity", "to_original", ".3f"),
    ("IoU max", "similarity", "max", ".3f"), ("ratio", "audit", "novelty", ".3g"),
    ("aligned", "audit", "aligned", ".3g"), ("differs", "audit", "differs", ".1%"),
    ("precision", "audit", "precision", ".2f"), ("recall", "audit", "recall", ".2f"),
    ("outside", "audit", "outside", ".1%"), ("outside gain", "audit", "outside_gain", SCORE),
)  # fmt: skip
"""(title, evaluator, key, format); no evaluator: the one of the main score."""
FIGURES = ("novel_and_performant", "score_similarity", "front", "map")
READING = (
    "`selection` is the mean score on the split that anything was chosen on; `best`, `mean` and `std` are of the test "
    "split. NLL and ECE: means over networks. IoU: overlap of wrong answers within the source, with the originals, "
    "and with the most similar one. `ratio`: median distance to the nearest checkpoint, in units of the checkpoints' "
    "own; `aligned`: the same after symmetries, hidden units being scaled and matched to the checkpoint's. `differs`: "
    "share of test examples on which a network predicts otherwise than its nearest checkpoint. `precision`, `recall`: "
    "against held-out checkpoints. `outside`: median share of a network's deviation from the checkpoints' mean that "
    "lies outside what they span (of a checkpoint: the others); `outside gain`: score with it, less that without."
)
ABOUT = "Every source in one table, ensembles, and the verdict"
ENSEMBLES = (
    "Score and NLL of the mean of so many networks' probabilities: means over ensembles drawn at random from a "
    "source's networks, with the standard errors that the number of draws leaves."
)
GAINS = (
    "Score of the method less that of each baseline on the test split. The interval of 95 % takes networks and "
    "examples as crossed random effects: it is of what other networks, and other examples, would give. Of one network "
    "it is of that network. Better is said only where the method is better than every baseline; worse by Holm's "
    "correction over all."
)
NOISE = (
    "Of at most 100 networks of a source, evenly spaced. `apart`: share of test examples on which two of them answer "
    "otherwise; `NLL std`: standard deviation of the likelihood over them. `noise`: around the average, as long as the "
    "checkpoints' own spread, in even directions. Where a source differs no more than that, its overlaps and N&P tell "
    "nothing of what it has learnt."
)


def audit_page(view: View, figures: Sequence[Figure]) -> Page:
    """Return the page."""
    from pdiff_plugins.drawing.style import looks

    scores = view.scores
    colours = {source: look.colour for source, look in looks(list(scores["networks"]), view.method).items()}
    shown = [figure for name in FIGURES for figure in figures if figure.name == name]
    tables = (table(scores), gains(scores), behaviour(scores), ensembles(scores), novel(scores))
    every, gained, behaves, groups, curve = (page.table(*rows, view.method, colours) for rows in tables)
    distance = "distance after symmetries" if scores["audit"]["quotient"] else "distance `ratio`"
    distance += ", of adapters' products" if scores["audit"].get("products") else ""
    bar = (
        f"The bar is {unit_of(scores).text(scores['audit']['bar'])}, the originals' median on the test split; x is a "
        f"{distance}. `noise`: checkpoints with plain noise of that length: what it passes is no merit."
    )
    sections = {
        "Verdict": page.listing(scores["audit"]["verdict"]),
        "Every source": f"{every}\n<p>{page.text(READING)}</p>",
        "Beside every baseline": f"{gained}\n<p>{page.text(GAINS)}</p>" if scores["audit"]["gains"] else "",
        "Behaviour": f"{behaves}\n<p>{page.text(NOISE)}</p>",
        "Ensembles": f"{groups}\n<p>{page.text(ENSEMBLES)}</p>" if groups else "",
        "Novel and performant": f"{curve}\n<p>{page.text(bar)}</p>",
        "Figures": "\n".join(map(page.figure, shown)),
    }
    return Page("audit", f"What {view.method} gives beside averages, noise and copies.", ABOUT, sections)


def table(scores: Mapping[str, Any]) -> Table:
    """Return (head, rows) with the columns for which the run has numbers."""
    columns = [(title, evaluator or scores["scored_by"], key, spec) for title, evaluator, key, spec in COLUMNS]
    networks, unit = scores["networks"], unit_of(scores)
    shown_columns = [
        c for c in columns if any(scored.get(c[1], {}).get(c[2]) is not None for scored in networks.values())
    ]
    rows = [
        [
            source,
            str(scored["count"]),
            *(cell(scored.get(evaluator, {}).get(key), spec, unit) for _, evaluator, key, spec in shown_columns),
        ]
        for source, scored in networks.items()
    ]
    return ["networks", "n", *(title for title, *_ in shown_columns)], rows


def ensembles(scores: Mapping[str, Any]) -> Table:
    """Return (head, rows) of the score and the likelihood of ensembles, by size."""
    groups = {source: audit.get("ensembles", {}) for source, audit in given_by(scores, "audit").items()}
    sizes = sorted({int(size) for scored in groups.values() for size in scored})
    rows = [
        [source, *(text for size in sizes for text in _with_errors(scored.get(str(size))))]
        for source, scored in groups.items() if scored
    ]  # fmt: skip
    return ["networks", *(f"{size}{word}" for size in sizes for word in ("", " NLL"))], rows


def novel(scores: Mapping[str, Any]) -> Table:
    """Return (head, rows) of the share of networks that are novel and performant, by multiple of the distance."""
    curves = {source: audit["np"] for source, audit in given_by(scores, "audit").items() if "np" in audit}
    if curves and "np_noise" in scores["audit"]:
        curves["noise"] = scores["audit"]["np_noise"]
    rows = [[source, *(f"{share:.0%}" for share in curve)] for source, curve in curves.items()]
    return ["networks", *(f"{k:g}x" for k in scores["audit"]["multiples"])], rows


def gains(scores: Mapping[str, Any]) -> Table:
    """Return (head, rows) of what the method gains over each baseline."""
    unit = unit_of(scores)
    rows = [
        [
            source, str(gain["networks"]), unit.bare(gain["mean"], "+"),
            f"{unit.bare(gain['low'], '+')} to {unit.bare(gain['high'], '+')}",
            "worse" if gain["worse"] else "better" if gain["low"] > 0 else "",
        ]
        for source, gain in scores["audit"]["gains"].items()
    ]  # fmt: skip
    return [
        "baseline",
        "n",
        f"gain ({'points' if unit.name == '%' else unit.name or scores['main']})",
        "95 % interval",
        "",
    ], rows


def behaviour(scores: Mapping[str, Any]) -> Table:
    """Return (head, rows) of how networks of a source differ from one another, noise of the zoo's own length last."""
    spreads = {source: audit["spread"] for source, audit in given_by(scores, "audit").items() if "spread" in audit}
    unit = unit_of(scores)
    rows = [
        [source, unit.text(spread["score"]), f"{spread['apart']:.2%}",
         *(cell(spread.get(key), ".4f", unit) for key in ("nll", "nll_std"))]
        for source, spread in [*spreads.items(), ("noise", scores["audit"]["noise"])]
    ]  # fmt: skip
    return ["networks", scores["main"], "apart", "NLL", "NLL std"], rows


def _with_errors(drawn: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return score and likelihood of ensembles, each with its standard error where there is one."""
    if drawn is None:
        return "", ""
    score, nll = f"{drawn['score']:.2%}", f"{drawn['nll']:.4f}"
    if drawn["draws"] < 2:
        return score, nll
    return f"{score} ± {100 * drawn['score_error']:.2f}", f"{nll} ± {drawn['nll_error']:.4f}"
