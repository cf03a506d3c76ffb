"""What the evaluator `uncertainty` gives."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from pdiff_plugins.maths import crossed


class Gain(crossed.Gain):
    """Calibrated log-likelihood of the method less that of another row, per test example in nats.

    Networks and examples are drawn anew; Holm's correction is over all rows.
    """

    networks: Annotated[int, "of the other row; 1: the claim is about that network"]


class Lone(Gain):
    """Calibrated log-likelihood of a row less that of the cheapest lone network that costs no less."""

    name: Annotated[str, "of the lone network's row"]
    cost: Annotated[float, "of that network, in trainings"]


class Foreign(TypedDict):
    """How examples of a foreign set are told from the test split's."""

    auroc: Annotated[float, "by the entropy of the mean answer"]
    fpr: Annotated[float, "share of test examples taken for foreign where 95 % of the foreign are found, by entropy"]
    information_auroc: NotRequired[Annotated[float, "by the mutual information of answer and member"]]
    information_fpr: NotRequired[Annotated[float, "share of test examples taken for foreign, by mutual information"]]


class Corrupted(TypedDict):
    """An ensemble on the test split under a corruption of one strength."""

    accuracy: Annotated[float, "share of right answers"]
    nll: Annotated[float, "negative log-likelihood"]
    calibrated_nll: Annotated[float, "the same at the temperature of the selection split"]
    calibrated_ece: Annotated[float, "expected calibration error at that temperature"]


class Ensemble(TypedDict):
    """How good the probabilities of an ensemble are; means over the ensembles of a row."""

    accuracy: Annotated[float, "share of right answers"]
    nll: Annotated[float, "negative log-likelihood, at temperature 1"]
    brier: Annotated[float, "Brier's score, 0 to 2, at temperature 1"]
    ece: Annotated[float, "expected calibration error, 15 bins, at temperature 1"]
    temperature: Annotated[float, "fitted on the selection split; by halves of the test split where that is the same"]
    calibrated_nll: Annotated[float, "negative log-likelihood at that temperature"]
    calibrated_brier: Annotated[float, "Brier's score at that temperature"]
    calibrated_ece: Annotated[float, "expected calibration error at that temperature"]
    reliability: Annotated[list[list[float]], "by bin: share of answers, their mean probability, their accuracy"]
    calibrated_reliability: Annotated[list[list[float]], "the same at the fitted temperature"]


class SourceUncertainty(Ensemble):
    """The row of a source; a key is absent where the run does not have what it needs."""

    members: Annotated[int, "networks, or other members, of one ensemble"]
    ensembles: Annotated[int, "ensembles without a member in common, of which numbers are means"]
    selective: Annotated[dict[str, float], "accuracy by the share of answers that are given, the surest first"]
    risk: Annotated[list[float], "share of wrong answers where the surest 2 %, 4 %, ... 100 % are given"]
    risk_area: Annotated[float, "area under the curve of that share against coverage"]
    entropy: Annotated[float, "of the mean answer in nats, mean over the test split"]
    information: Annotated[float, "mutual information of answer and member in nats, mean over the test split"]
    equivalent: NotRequired[Annotated[float, "deep ensembles of so many networks are as good; at an end of the curve "
                                             "where it lies beyond"]]  # fmt: skip
    equivalent_low: NotRequired[Annotated[float, "lower end of its interval of 95 %, within the curve"]]
    equivalent_high: NotRequired[Annotated[float, "upper end of its interval of 95 %, within the curve"]]
    equivalent_text: NotRequired[Annotated[str, "that number, or that it is less or more than the curve has"]]
    equivalent_interval: NotRequired[Annotated[str, "the interval in words; empty where there is none"]]
    cost: NotRequired[Annotated[float, "in trainings of one network"]]
    cost_why: NotRequired[Annotated[str, "what makes the cost, or why it is not known"]]
    lone: NotRequired[Annotated[Lone, "the row beside the cheapest lone network that costs no less"]]
    agreement: NotRequired[Annotated[float, "share of test examples with the reference's class"]]
    variation: NotRequired[Annotated[float, "mean total variation distance to the reference's answer"]]
    foreign: NotRequired[Annotated[dict[str, Foreign], "by foreign set"]]
    auroc: NotRequired[Annotated[float, "by entropy, mean over foreign sets"]]
    corrupted: NotRequired[Annotated[dict[str, list[Corrupted]], "by corruption, in strengths of 1 to 5"]]
    corrupted_nll: NotRequired[Annotated[float, "calibrated, mean over corruptions and strengths"]]


class Beside(Ensemble):
    """A network of the deep ensemble by itself: means over all of them."""

    equivalent_text: Annotated[str, "1, as it is"]
    cost: NotRequired[Annotated[float, "in trainings: one, and what it begins from"]]
    cost_why: NotRequired[Annotated[str, "what makes the cost, or why it is not known"]]


class Size(TypedDict):
    """Deep ensembles of one size."""

    size: Annotated[int, "networks"]
    calibrated_nll: Annotated[float, "mean over sub-ensembles, each at its own temperature"]


class UncertaintyScores(TypedDict, total=False):
    """What is said of the run as a whole; empty where the task has no classes."""

    measure: Annotated[str, "what `groups` and `gains` are of"]
    gains: Annotated[dict[str, Gain], "of the method over each other row, the strongest first"]
    groups: Annotated[dict[str, list[float]], "by row, calibrated log-likelihoods on groups of test examples"]
    examples: Annotated[str, "digest of the test examples' targets"]
    beside: Annotated[dict[str, Beside], "a network of the deep ensemble by itself"]
    curve: Annotated[list[Size], "deep ensembles by size"]
    halves: Annotated[bool, "whether temperatures are those of the other half of the test split"]
    references: Annotated[dict[str, str], "the sources that are the deep ensemble, and the reference, where there are"]
    lone: Annotated[list[str], "the rows that are lone networks, the cheapest first"]
    coverages: Annotated[list[float], "of the curve of risk"]
    no_lone: Annotated[list[str], "rows whose cost no lone network has"]
    no_temperature: Annotated[list[str], "rows with an ensemble that no error tells a temperature of, which is then 1"]
    broken: Annotated[list[str], "sources without a row, as their answers hold no numbers on some examples"]
