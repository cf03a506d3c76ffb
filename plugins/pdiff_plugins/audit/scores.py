"""What the audit gives."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict


class Ensembles(TypedDict):
    """Means over ensembles of one size, with the standard errors that the number of draws leaves."""

    score: Annotated[float, "of the mean of the networks' probabilities"]
    score_error: Annotated[float, "standard error of the score"]
    nll: Annotated[float, "of the mean of the networks' probabilities"]
    nll_error: Annotated[float, "standard error of the likelihood"]
    draws: Annotated[int, "ensembles that were drawn"]


class Spread(TypedDict):
    """How networks of a population differ from one another on the test split."""

    score: Annotated[float, "mean over networks"]
    apart: Annotated[float, "mean share of examples on which two networks answer otherwise"]
    nll: NotRequired[Annotated[float, "negative log-likelihood, mean over networks"]]
    nll_std: NotRequired[Annotated[float, "its standard deviation over networks"]]


class OutsideScores(TypedDict, total=False):
    """What a source has outside the span of the checkpoints, in free coordinates (logarithms of variances)."""

    outside: Annotated[float, "median share of a network's deviation that no mixture of (other) checkpoints gives"]
    outside_gain: Annotated[float, "mean score on the test split, less that of the same networks without that part"]
    outside_error: Annotated[float, "standard error of that gain over networks, at most 32"]


class SourceAudit(OutsideScores):
    """The audit of a source; a key is absent where the run does not have what it needs."""

    selection: Annotated[float, "mean score on the selection split"]
    differs: Annotated[float, "mean share of test examples on which a network differs from its nearest checkpoint"]
    novelty: NotRequired[Annotated[float, "median distance to the nearest checkpoint over the checkpoints' own"]]
    aligned: NotRequired[Annotated[float, "the same in the quotient: hidden units scaled, and matched to checkpoints'"]]
    np: NotRequired[Annotated[list[float], "share of networks that are novel and performant, by multiple of distance"]]
    np_1: NotRequired[Annotated[float, "that share at the checkpoints' own distance"]]
    np_3: NotRequired[Annotated[float, "that share at three times the checkpoints' own distance"]]
    nll: NotRequired[Annotated[float, "negative log-likelihood, mean over networks"]]
    ece: NotRequired[Annotated[float, "expected calibration error, mean over networks"]]
    ensembles: NotRequired[Annotated[dict[str, Ensembles], "by the number of networks in an ensemble"]]
    ensemble_score: NotRequired[Annotated[float, "score of ensembles of 16"]]
    ensemble_nll: NotRequired[Annotated[float, "negative log-likelihood of ensembles of 16"]]
    spread: NotRequired[Annotated[Spread, "how its networks differ from one another"]]
    precision: NotRequired[Annotated[float, "against checkpoints held out"]]
    recall: NotRequired[Annotated[float, "against checkpoints held out"]]


class Gain(TypedDict):
    """Score of the method less that of a baseline on the test split, with its interval of 95 %."""

    mean: Annotated[float, "the difference"]
    low: Annotated[float, "lower end of the interval"]
    high: Annotated[float, "upper end of the interval"]
    error: Annotated[float, "standard error: networks and examples as crossed random effects"]
    chance: Annotated[float, "probability of so large a difference where there is none"]
    networks: Annotated[int, "of the baseline; 1: the claim is about that network"]
    worse: Annotated[bool, "whether the method is worse, with Holm's correction over the baselines"]


class AuditScores(TypedDict):
    """What the audit says of the run's method."""

    bar: Annotated[float, "the originals' median score on the test split"]
    unit: Annotated[str, "of the scores: % for shares of 1, else that of plain numbers"]
    multiples: Annotated[list[float], "of the checkpoints' own distance, for the shares `np` of each source"]
    np_noise: NotRequired[Annotated[list[float], "share of noisy checkpoints, so far away, that pass the bar"]]
    outside_holdout: NotRequired[Annotated[float, "median share `outside` of checkpoints held out"]]
    quotient: Annotated[bool, "whether N&P's distances are those after symmetries"]
    products: NotRequired[Annotated[bool, "that distances are in the selector's coordinates: of adapters, of products"]]
    noise: NotRequired[Annotated[Spread, "noise around the average, as long as the checkpoints' own spread"]]
    matters: NotRequired[Annotated[bool, "whether the method's networks differ from one another more than that noise"]]
    nothing: Annotated[list[str], "why the run can tell nothing about a generator; empty where it can"]
    gains: Annotated[dict[str, Gain], "of the method over each baseline, the strongest first"]
    rival: Annotated[str, "the strongest baseline on the test split; empty where there is none"]
    gain: NotRequired[Annotated[Gain, "of the method over that one"]]
    kind: Annotated[str, "whether the method copies, averages, neither, or is too poor to tell"]
    plain: Annotated[str, "the verdict for who reads such a table for the first time"]
    verdict: Annotated[list[str], "all of it in words, a sentence each, without full stops"]
