"""The page of the evaluator: every number in tables, and how to read them. Reads JSON only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pdiff.components import Figure, Page
from pdiff.results.scores import given_by
from pdiff_plugins.drawing import page
from pdiff_plugins.uncertainty.findings import compared, notes, worth

if TYPE_CHECKING:
    from pdiff.view import View

Rows = tuple[list[str], list[list[str]]]
FIGURES = ("equivalent", "reliability", "risk", "corruptions")
ABOUT = "What ensembles are worth: likelihood, calibration, foreign examples, and cost"
LIKELY = (
    "Means over a row's ensembles, no two of which share a network; `n` is the networks of one, `of` the number of "
    "ensembles. NLL: negative log-likelihood of the mean of probabilities; Brier: squared distance from what is so, 0 "
    "to 2; ECE: expected calibration error, 15 bins. `cal.`: after one temperature `T` for each ensemble, fitted on "
    "other examples than it is scored on; NLL and ECE without it are not comparable between methods."
)
WORTH = (
    "`DEE`: deep ensembles of so many networks have the same calibrated NLL, by linear interpolation between sizes, "
    "with the interval of 95 % of those sizes whose difference may be chance. `cost` and `trainings`: of one network, "
    "its examples times its epochs; published weights cost nothing here. `seconds` are of this machine. `lone`: the "
    "cheapest lone network that cost no less, and what the row has more than it in calibrated log-likelihood; better "
    "and worse are said with Holm's correction. All of it is of this run's base network, and of one fit of each row: "
    "what others would give, runs with other seeds tell, by `pdiff sweep`."
)
GAINS = (
    "Calibrated log-likelihood of the method less that of each other row, per test example: above 0 the method is "
    "better. The interval of 95 % takes networks and examples as crossed random effects; of one network it is of that "
    "network. Networks are drawn anew as this run's fit of each row gives them: members around the same centres, or "
    "one base network, are no new trainings, and what a new fit would give may lie farther off than the interval says. "
    "Runs with other seeds tell, by `pdiff sweep`. Better and worse are said with Holm's correction over all rows."
)
SELECTIVE = (
    "Accuracy where only the surest answers are given, by their largest probability; `area`: under the curve of the "
    "share of wrong answers against coverage, in per cent. `entropy` of the mean answer, and `information`, mutual "
    "information of answer and member: how much members differ; both in nats."
)
FOREIGN = (
    "How foreign examples are told from the test split's. AUROC: 0.5 is chance; FPR: share of test examples taken for "
    "foreign where 95 % of the foreign are found. By the entropy of the mean answer; `inf.`: by mutual information."
)
CORRUPTED = "Calibrated NLL and accuracy under corruptions of the test split; temperatures are the selection split's."
AGREES = (
    "Share of test examples with the same likeliest class as the reference, and the mean total variation distance of "
    "the two answers: the nearer, the better the row stands for the posterior."
)


def uncertainty_page(view: View, figures: Sequence[Figure]) -> Page:
    """Return the page."""
    from pdiff_plugins.drawing.style import looks

    scores, whole = view.scores, view.scores["uncertainty"]
    given = given_by(scores, "uncertainty")
    colours = {source: look.colour for source, look in looks(list(scores["networks"]), view.method).items()}

    def section(rows: Rows, reading: str) -> str:
        return f"{page.table(*rows, view.method, colours)}\n<p>{page.text(reading)}</p>" if rows[1] else ""

    said = [*compared(whole["gains"], view.method), *worth(whole, given, view.method), *notes(scores)]
    shown = [figure for name in FIGURES for figure in figures if figure.name == name]
    sections = {
        "Verdict": page.listing(said),
        "Likelihood and calibration": section(likely(given | whole.get("beside", {})), LIKELY),
        "Worth and cost": section(worths(scores, given), WORTH),
        "Beside every other row": section(gains(whole["gains"]), GAINS),
        "Deep ensembles by size": section(by_size(whole), "Means over sub-ensembles, each at its own temperature."),
        "Which answers can be trusted": section(selective(given), SELECTIVE),
        "Foreign examples": section(foreign(given), FOREIGN),
        "Under corruption": section(corrupted(given), CORRUPTED),
        "Agreement": section(agreement(given), f"Reference: {whole['references'].get('reference', '')}. {AGREES}"),
        "Figures": "\n".join(map(page.figure, shown)),
    }
    return Page("uncertainty", f"What networks of {view.method} are worth together.", ABOUT, sections)


def likely(rows: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return (head, rows) of likelihood and calibration."""
    keys = ("nll", "brier", "ece", "calibrated_nll", "calibrated_brier", "calibrated_ece")
    body = [
        [source, str(row.get("members", 1)), str(row.get("ensembles", "")), f"{row['accuracy']:.2%}",
         *(f"{row[key]:.4f}" for key in keys[:3]), f"{row['temperature']:.3f}",
         *(f"{row[key]:.4f}" for key in keys[3:])]
        for source, row in rows.items()
    ]  # fmt: skip
    titles = ["NLL", "Brier", "ECE", "T", "cal. NLL", "cal. Brier", "cal. ECE"]
    return ["row", "n", "of", "accuracy", *titles], body


def worths(scores: Mapping[str, Any], given: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return (head, rows) of what rows are worth and cost."""
    from pdiff_plugins.uncertainty.cost import seconds

    took, body = seconds(scores), []
    for source, row in given.items():
        alone = row.get("lone")
        body.append([
            source, row.get("equivalent_text", ""), row.get("equivalent_interval", ""),
            "" if row.get("cost") is None else f"{row['cost']:.2f}", f"{took[source]:.1f}" if source in took else "",
            f"{alone['name']} ({alone['cost']:.2f})" if alone else "", _signed(alone), alone["said"] if alone else "",
            row.get("cost_why", ""),
        ])  # fmt: skip
    return ["row", "DEE", "95 % interval", "cost", "seconds", "lone (trainings)", "gain over it", "", "why"], body


def _signed(gain: Mapping[str, Any] | None) -> str:
    return f"{gain['mean']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})" if gain else ""


def gains(rows: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return (head, rows) of what the method gains over every other row."""
    body = [
        [name, str(gain["networks"]), f"{gain['mean']:+.4f}", f"{gain['low']:+.4f} to {gain['high']:+.4f}",
         f"{gain['chance']:.2g}", gain["said"]]
        for name, gain in rows.items()
    ]  # fmt: skip
    return ["row", "n", "gain", "95 % interval", "chance", ""], body


def by_size(whole: Mapping[str, Any]) -> Rows:
    """Return (head, rows) of the calibrated likelihood of deep ensembles."""
    curve = whole.get("curve", [])
    return ["networks", *(str(each["size"]) for each in curve)], (
        [["cal. NLL", *(f"{each['calibrated_nll']:.4f}" for each in curve)]] if curve else []
    )


def selective(given: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return (head, rows) of accuracy by coverage, and of uncertainty by itself."""
    coverages = list(next(iter(given.values()))["selective"])
    body = [
        [source, *(f"{row['selective'][c]:.2%}" for c in coverages), f"{100 * row['risk_area']:.3f}",
         f"{row['entropy']:.4f}", f"{row['information']:.4f}"]
        for source, row in given.items()
    ]  # fmt: skip
    return ["row", *(f"{float(c):.0%}" for c in coverages), "area", "entropy", "information"], body


def foreign(given: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return (head, rows) of how foreign examples are told."""
    rows = {source: row["foreign"] for source, row in given.items() if "foreign" in row}
    sets = list(next(iter(rows.values()), {}))
    keys = {"auroc": "AUROC", "fpr": "FPR", "information_auroc": "inf. AUROC", "information_fpr": "inf. FPR"}
    body = [
        [source, *(f"{row[name][key]:.3f}" if key in row[name] else "" for name in sets for key in keys)]
        for source, row in rows.items()
    ]
    return ["row", *(f"{name}: {title}" for name in sets for title in keys.values())], body


def corrupted(given: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return (head, rows) of likelihood and accuracy by corruption and strength."""
    rows = {source: row["corrupted"] for source, row in given.items() if "corrupted" in row}
    body = [
        [source, kind, *(f"{each['calibrated_nll']:.3f}; {each['accuracy']:.1%}" for each in by_strength)]
        for source, row in rows.items() for kind, by_strength in row.items()
    ]  # fmt: skip
    most = max((len(row) for row in body), default=2) - 2
    return ["row", "corruption", *(f"strength {place + 1}" for place in range(most))], body


def agreement(given: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return (head, rows) of the agreement with the reference, the nearest first."""
    rows = {source: row for source, row in given.items() if "agreement" in row}
    nearest = sorted(rows, key=lambda source: rows[source]["variation"])
    body = [[source, f"{rows[source]['agreement']:.2%}", f"{rows[source]['variation']:.4f}"] for source in nearest]
    return ["row", "same class", "total variation"], body
