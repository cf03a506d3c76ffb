"""The page of the audit: its verdict, every source in one table, and the figures that bear on it. Reads JSON only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pdiff_plugins.drawing import page
from pdiff_plugins.reports.findings import ran, score_key

if TYPE_CHECKING:
    from pdiff.view import View
    from pdiff_plugins.reports.figures import Picture

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
ENSEMBLES = "Score and NLL of the mean of so many networks' probabilities."


def audit_page(view: View, shown: Sequence[Picture]) -> str:
    """Return the page."""
    from pdiff_plugins.drawing.style import looks

    scores = view.scores
    colours = {source: look.colour for source, look in looks(list(scores["networks"]), view.method).items()}
    own = [picture for name in FIGURES for picture in shown if picture.name == name]
    tables = (table(scores), ensembles(scores), novel(scores))
    every, groups, curve = (page.table(*found, view.method, colours) for found in tables)
    bar = f"The bar is {scores['audit']['bar']:.2%}, the originals' median on the test split; x is a distance `ratio`."
    return page.page(f"{view.name}: audit", f"{scores['audit']['verdict']}.", f"{ran(scores)}.", {
        "Every source": f"{every}\n<p>{page.text(READING)}</p>",
        "Ensembles": f"{groups}\n<p>{page.text(ENSEMBLES)}</p>" if groups else "",
        "Novel and performant": f"{curve}\n<p>{page.text(bar)}</p>",
        "Figures": "\n".join(page.figure(picture) for picture in own),
    })  # fmt: skip


def table(scores: dict[str, Any]) -> Table:
    """Return (head, rows) with the columns for which the run has numbers."""
    main = score_key(scores)
    columns = [(title, evaluator or main, key, spec) for title, evaluator, key, spec in COLUMNS]
    networks = scores["networks"]
    kept = [c for c in columns if any(own.get(c[1], {}).get(c[2]) is not None for own in networks.values())]
    rows = [
        [source, str(own["count"]), *(_cell(own.get(evaluator, {}).get(key), spec) for _, evaluator, key, spec in kept)]
        for source, own in networks.items()
    ]
    return ["networks", "n", *(title for title, *_ in kept)], rows


def ensembles(scores: dict[str, Any]) -> Table:
    """Return (head, rows) of the score and the likelihood of ensembles, by size."""
    found = {source: own["audit"].get("ensembles", {}) for source, own in scores["networks"].items()}
    sizes = sorted({int(size) for own in found.values() for size in own})
    rows = [
        [source, *(_cell(own.get(str(size), {}).get(key), spec)
                   for size in sizes for key, spec in (("score", ".2%"), ("nll", ".4f")))]
        for source, own in found.items() if own
    ]  # fmt: skip
    return ["networks", *(f"{size}{word}" for size in sizes for word in ("", " NLL"))], rows


def novel(scores: dict[str, Any]) -> Table:
    """Return (head, rows) of the share of networks that are novel and performant, by multiple of the distance."""
    rows = [
        [source, *(f"{share:.0%}" for share in own["audit"]["np"])]
        for source, own in scores["networks"].items() if "np" in own["audit"]
    ]  # fmt: skip
    return ["networks", *(f"{k:g}x" for k in scores["audit"]["multiples"])], rows


def _cell(value: Any, spec: str) -> str:
    return "" if value is None else format(value, spec)
