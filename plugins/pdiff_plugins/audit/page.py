"""The page of the audit: its verdict, every source in one table, and the figures that bear on it. Reads JSON only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pdiff.components import Figure, Page
from pdiff.results.scores import given_by
from pdiff_plugins.drawing import page

if TYPE_CHECKING:
    from pdiff.view import View

Table = tuple[list[str], list[list[str]]]
COLUMNS = (
    ("selection", "audit", "selection", ".2%"), ("best", "", "best", ".2%"), ("mean", "", "mean", ".2%"),
    ("std", "", "std", ".2%"), ("NLL", "audit", "nll", ".4f"), ("ECE", "audit", "ece", ".3f"),
    ("IoU in", "similarity", "within", ".3f"), ("IoU to", "similarity", "to_original", ".3f"),
    ("IoU max", "similarity", "max", ".3f"), ("ratio", "audit", "novelty", ".3g"),
    ("aligned", "audit", "aligned", ".3g"), ("differs", "audit", "differs", ".1%"),
    ("precision", "audit", "precision", ".2f"), ("recall", "audit", "recall", ".2f"),
)  # fmt: skip
"""(title, evaluator, key, format); no evaluator: the one of the main score."""
FIGURES = ("novel_and_performant", "score_similarity", "front", "map")
READING = (
    "`selection` is the mean score on the split that anything was chosen on; `best`, `mean` and `std` are of the test "
    "split. NLL and ECE: means over networks. IoU: overlap of wrong answers within the source, with the originals, "
    "and with the most similar one. `ratio`: median distance to the nearest checkpoint, in units of the checkpoints' "
    "own; `aligned`: the same after hidden units are matched to the first checkpoint's. `differs`: share of test "
    "examples on which a network predicts otherwise than its nearest checkpoint. `precision`, `recall`: against "
    "held-out checkpoints."
)
ABOUT = "Every source in one table, ensembles, and the verdict"
ENSEMBLES = "Score and NLL of the mean of so many networks' probabilities."


def audit_page(view: View, figures: Sequence[Figure]) -> Page:
    """Return the page."""
    from pdiff_plugins.drawing.style import looks

    scores = view.scores
    colours = {source: look.colour for source, look in looks(list(scores["networks"]), view.method).items()}
    shown = [figure for name in FIGURES for figure in figures if figure.name == name]
    tables = (table(scores), ensembles(scores), novel(scores))
    every, groups, curve = (page.table(*rows, view.method, colours) for rows in tables)
    bar = f"The bar is {scores['audit']['bar']:.2%}, the originals' median on the test split; x is a distance `ratio`."
    sections = {
        "Every source": f"{every}\n<p>{page.text(READING)}</p>",
        "Ensembles": f"{groups}\n<p>{page.text(ENSEMBLES)}</p>" if groups else "",
        "Novel and performant": f"{curve}\n<p>{page.text(bar)}</p>",
        "Figures": "\n".join(map(page.figure, shown)),
    }
    return Page("audit", f"{'. '.join(scores['audit']['verdict'])}.", ABOUT, sections)


def table(scores: Mapping[str, Any]) -> Table:
    """Return (head, rows) with the columns for which the run has numbers."""
    columns = [(title, evaluator or scores["scored_by"], key, spec) for title, evaluator, key, spec in COLUMNS]
    networks = scores["networks"]
    shown_columns = [
        c for c in columns if any(scored.get(c[1], {}).get(c[2]) is not None for scored in networks.values())
    ]
    rows = [
        [
            source,
            str(scored["count"]),
            *(_cell(scored.get(evaluator, {}).get(key), spec) for _, evaluator, key, spec in shown_columns),
        ]
        for source, scored in networks.items()
    ]
    return ["networks", "n", *(title for title, *_ in shown_columns)], rows


def ensembles(scores: Mapping[str, Any]) -> Table:
    """Return (head, rows) of the score and the likelihood of ensembles, by size."""
    groups = {source: audit.get("ensembles", {}) for source, audit in given_by(scores, "audit").items()}
    sizes = sorted({int(size) for scored in groups.values() for size in scored})
    rows = [
        [source, *(_cell(scored.get(str(size), {}).get(key), spec)
                   for size in sizes for key, spec in (("score", ".2%"), ("nll", ".4f")))]
        for source, scored in groups.items() if scored
    ]  # fmt: skip
    return ["networks", *(f"{size}{word}" for size in sizes for word in ("", " NLL"))], rows


def novel(scores: Mapping[str, Any]) -> Table:
    """Return (head, rows) of the share of networks that are novel and performant, by multiple of the distance."""
    rows = [
        [source, *(f"{share:.0%}" for share in audit["np"])]
        for source, audit in given_by(scores, "audit").items() if "np" in audit
    ]  # fmt: skip
    return ["networks", *(f"{k:g}x" for k in scores["audit"]["multiples"])], rows


def _cell(value: Any, spec: str) -> str:
    return "" if value is None else format(value, spec)
