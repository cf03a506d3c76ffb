"""What the audit gives."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict


class Ensembles(TypedDict):
    """Means over ensembles of one size."""

    score: Annotated[float, "of the mean of the networks' probabilities"]
    nll: Annotated[float, "of the mean of the networks' probabilities"]


class SourceAudit(TypedDict):
    """The audit of a source; a key is absent where the run does not have what it needs."""

    selection: Annotated[float, "mean score on the selection split"]
    differs: Annotated[float, "mean share of test examples on which a network differs from its nearest checkpoint"]
    novelty: NotRequired[Annotated[float, "median distance to the nearest checkpoint over the checkpoints' own"]]
    aligned: NotRequired[Annotated[float, "the same after hidden units are matched to the first checkpoint's"]]
    np: NotRequired[Annotated[list[float], "share of networks that are novel and performant, by multiple of distance"]]
    np_1: NotRequired[Annotated[float, "that share at the checkpoints' own distance"]]
    np_3: NotRequired[Annotated[float, "that share at three times the checkpoints' own distance"]]
    nll: NotRequired[Annotated[float, "negative log-likelihood, mean over networks"]]
    ece: NotRequired[Annotated[float, "expected calibration error, mean over networks"]]
    ensembles: NotRequired[Annotated[dict[str, Ensembles], "by the number of networks in an ensemble"]]
    ensemble_score: NotRequired[Annotated[float, "score of ensembles of 16"]]
    ensemble_nll: NotRequired[Annotated[float, "negative log-likelihood of ensembles of 16"]]
    precision: NotRequired[Annotated[float, "against checkpoints held out"]]
    recall: NotRequired[Annotated[float, "against checkpoints held out"]]


class Gain(TypedDict):
    """Share of right test answers of the method less that of its rival, with a bootstrap interval of 95 %."""

    mean: Annotated[float, "the difference"]
    low: Annotated[float, "lower end of the interval"]
    high: Annotated[float, "upper end of the interval"]


class AuditScores(TypedDict):
    """What the audit says of the run's method."""

    bar: Annotated[float, "the originals' median score on the test split"]
    multiples: Annotated[list[float], "of the checkpoints' own distance, for the shares `np` of each source"]
    rival: Annotated[str, "the best baseline on the selection split; empty where there is none"]
    gain: NotRequired[Annotated[Gain, "of the method over its rival"]]
    kind: Annotated[str, "whether the method copies, averages, or neither"]
    verdict: Annotated[list[str], "all of it in words, a sentence each, without full stops"]
