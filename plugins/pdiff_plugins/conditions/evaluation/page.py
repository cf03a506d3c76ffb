"""The page of conditions: the verdict, every row in one table, gates, curves. Reads JSON only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pdiff.components import Figure, Page
from pdiff.results.scores import given_by, unit_of
from pdiff.results.summary import SCORE, cell
from pdiff_plugins.conditions.evaluation.curve import curve
from pdiff_plugins.conditions.evaluation.verdict import WHOLE
from pdiff_plugins.drawing import page

if TYPE_CHECKING:
    from pdiff.view import View

Table = tuple[list[str], list[list[str]]]
COLUMNS = (
    ("learnt", "learnt", SCORE), ("held out", "held_out", SCORE), ("worst", "worst", SCORE), ("hard", "hard", SCORE),
    ("worst hard", "hard_worst", SCORE), ("shuffled", "shuffled", SCORE), ("random text", "random_text", SCORE),
    ("gate", "gate", SCORE),
    ("left out", "leave_one_out", ".2f"), ("examples", "seen", ",d"),
)  # fmt: skip
FIGURES = ("", "_distance", "_adapted")
"""Behind the evaluator's name, the figures that the page shows."""
READING = (
    "Mean scores on the test split, not used to select. `learnt`: tasks that methods learnt from; `held out`: "
    "tasks that none has seen, `worst` the worst of them; `hard`: unseen ones that are harder by design. `shuffled`: "
    "networks that were asked for another task; `random text`: that were asked in random words. `gate`: the tasks' own "
    "networks once the method's codec has had them. `left out`: error in the weights of learnt networks left out, as a "
    "share of their variance. `original` is each task's own network; below the sources stand ways without a generated "
    "network. `examples`: how many training examples a row has learnt from, counted each time; what learns from "
    "networks has all that these have seen."
)
PLAIN_ROWS = {
    "larger class": "a task's more frequent class, whatever is seen",
    "mean of all networks": "one network for all tasks, the mean of those learnt",
    WHOLE: "the dataset's classes learnt by one network, and tasks read from its answers",
    "no adapter": "the frozen network as it is",
    "one adapter": "one for all tasks, of the selector's rank (`rank x N`: of so many times that), trained on all "
    "learnt tasks together; its rate is the best of several on the selection split",
    "told the condition": "the condition, mapped linearly, is added to the outputs of its layers",
    "trained on": "the same once more examples add under half a point, or after the most that was allowed",
    "inversion": "of each task the best coefficients in the zoo's principal directions, by some of its training "
    "examples, which only its own network has seen beside",
}
"""What is meant by a row that is no source, or by a part of its name."""
GAINS = (
    "Score of the method less that of each row. The interval of 95 % takes tasks, with their networks, and examples as "
    "crossed random effects: it is of what other tasks, and other examples, would give. Better and worse are said by "
    "Holm's correction over all controls."
)
SAMPLES = (
    "Of several samples of one condition: each by itself, the mean of their weights, the mean of their probabilities."
)
COMMON = (
    "One network that is trained on all learnt tasks together: its mean score on them, on the selection split, after "
    "so many training examples. It is trained to its end where the last doubling added under half a point; where it is "
    "not, more training may take it above what it is compared with."
)
ABOUT = "Whether networks do what they are asked for, beside every plain way"


def conditions_page(view: View, figures: Sequence[Figure], name: str = "conditions") -> Page:
    """Return the page of the evaluator of that name."""
    from pdiff_plugins.conditions.evaluation.figures import every_look

    scores, ours = view.scores, view.scores["conditions"]
    colours = {row: look.colour for row, look in every_look(view).items()}
    drawn = [figure for end in FIGURES for figure in figures if figure.name == name + end]

    def table(made: Table, said: str) -> str:
        body = page.table(*made, view.method, colours)
        return f"{body}\n<p>{page.text(said)}</p>" if body else ""

    sections = {
        "Verdict": page.listing([ours["plain"], *ours["verdict"]]),
        "Every row": table(rows(scores), f"{READING}{_plain_rows(ours)}{_span(scores)}"),
        "One network for all tasks": table(common(scores), COMMON),
        "Beside every control": table(gains(scores, "gains"), GAINS),
        "On hard tasks": table(gains(scores, "hard_gains"), GAINS),
        "By distance from the nearest learnt task": table(distances(scores), _distance(ours)),
        "Several samples": table(samples(scores), SAMPLES),
        "Trained on": table(adapted(scores), _adapted(ours)),
        "Figures": "\n".join(map(page.figure, drawn)),
    }
    return Page(name, f"What {view.method} gives when asked for a task.", ABOUT, sections)


def _plain_rows(ours: Mapping[str, Any]) -> str:
    """Say what the rows are that stand below the sources."""
    said = [f"`{what}`: {meant}" for what, meant in PLAIN_ROWS.items() if any(what in row for row in ours["beside"])]
    return f" {'; '.join(said)}." if said else ""


def _span(scores: Mapping[str, Any]) -> str:
    span = scores["conditions"].get("span")
    said = " As mixtures of learnt networks, what all their principal components leave of them, own ones have a mean of"
    return "" if span is None else f"{said} {unit_of(scores).text(span)}."


def _adapted(ours: Mapping[str, Any]) -> str:
    count = ours.get("adapted", {}).get("tasks", 0)
    return (
        f"Mean score over {count} of the tasks after so many steps on its training examples, by start; of several "
        "rates, each number is of the one that is best on the selection split."
    )


def _distance(ours: Mapping[str, Any]) -> str:
    kind = "How many bits differ" if ours["bits"] else "Euclidean distance of conditions"
    return f"{kind}; mean score of the tasks that are so far from every learnt one."


def rows(scores: Mapping[str, Any]) -> Table:
    """Return (head, rows) of every source and what stands beside them, with the columns that have numbers."""
    unit, every = unit_of(scores), given_by(scores, "conditions") | scores["conditions"]["beside"]
    columns = [each for each in COLUMNS if any(row.get(each[1]) is not None for row in every.values())]
    body = [[name, *(cell(row.get(key), spec, unit) for _, key, spec in columns)] for name, row in every.items()]
    return ["", *(title for title, *_ in columns)], body


def gains(scores: Mapping[str, Any], which: str) -> Table:
    """Return (head, rows) of what the method gains over each row."""
    unit = unit_of(scores)
    body = [
        [
            row, unit.bare(gain["mean"], "+"), f"{unit.bare(gain['low'], '+')} to {unit.bare(gain['high'], '+')}",
            gain["said"] or "not told apart",
        ]
        for row, gain in scores["conditions"][which].items()
    ]  # fmt: skip
    return ["", f"gain ({'points' if unit.name == '%' else unit.name or scores['main']})", "95 % interval", ""], body


def distances(scores: Mapping[str, Any]) -> Table:
    """Return (head, rows) of mean scores by distance."""
    unit, bins = unit_of(scores), curve(scores)
    body = [[each.name, str(each.count), *map(unit.text, each.scores.values())] for each in bins]
    return ["distance", "tasks", *(bins[0].scores if bins else ())], body


def samples(scores: Mapping[str, Any]) -> Table:
    """Return (head, rows) of what several samples of one condition are worth."""
    unit = unit_of(scores)
    several = {source: each["samples"] for source, each in given_by(scores, "conditions").items() if "samples" in each}
    body = [
        [source, str(each["count"]), *(cell(each.get(key), SCORE, unit) for key in ("one", "weights", "outputs"))]
        for source, each in several.items()
    ]
    return ["", "n", "one", "mean of weights", "mean of outputs"], body


def adapted(scores: Mapping[str, Any]) -> Table:
    """Return (head, rows) of scores after steps of training."""
    trained, unit = scores["conditions"].get("adapted"), unit_of(scores)
    if not trained:
        return [], []
    body = [[start, *map(unit.text, values)] for start, values in trained["starts"].items()]
    return ["start", *(f"{step} steps" for step in trained["steps"])], body


def common(scores: Mapping[str, Any]) -> Table:
    """Return (head, rows) of how networks for all tasks were trained, those that were trained on alone."""
    unit, known = unit_of(scores), scores["conditions"].get("common", {})
    body = [
        [
            row,
            f"{each['lr']:g}",
            f"{count:,}",
            unit.text(score),
            "" if before is None else unit.bare(score - before, "+"),
            ("yes" if each["ended"] else "no") if count == each["examples"][-1] else "",
        ]
        for row, each in known.items()
        for count, score, before in zip(
            each["examples"], each["selection"], [None, *each["selection"][:-1]], strict=True
        )
        if len(each["examples"]) > 1
    ]
    return ["", "rate", "examples", "score on learnt tasks", "added", "at its end"], body
