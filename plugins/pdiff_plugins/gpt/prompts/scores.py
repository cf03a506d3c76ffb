"""What the evaluator of prompts gives."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict


class SourcePrompts(TypedDict):
    """Of a source that takes prompts, what the table shows; None for what is not finite."""

    r2: Annotated[float | None, "of the metric got against the metric asked for, mean over starts"]
    pearson: Annotated[float | None, "correlation of the two over all starts and prompts"]
    best: Annotated[float | None, "mean metric of networks that were asked for the zoo's best"]


class Asked(TypedDict):
    """What a source was asked for and gave; metrics are means over networks, None for what is not finite."""

    metric: Annotated[str, "the task's measure that networks are asked for"]
    better: Annotated[str, "`lower` or `higher`"]
    range: Annotated[list[float], "of the metric over the zoo, on the selection split"]
    best: Annotated[float, "the better end of the range"]
    prompt_split: Annotated[str, "on which starts are measured"]
    scored_split: Annotated[str, "on which networks are measured"]
    test: Annotated[dict[str, Any], "agreement on the test split: r2, r2_median, pearson, spearman, diverged, left_out"]
    selection: Annotated[dict[str, Any], "the same on the selection split"]
    within: Annotated[float | None, "share of prompts whose networks have what was asked for, to a tenth of it"]
    real: Annotated[dict[str, Any], "agreement of checkpoints that have what was asked for, and their means by prompt"]
    shuffled: Annotated[float | None, "correlation with the prompts that were to be given, when others were"]
    groups: Annotated[dict[str, dict[str, Any]], "by group of starts: agreement, and what each was asked for and gave"]
    best_prompt: Annotated[dict[str, Any], "metric and score at the best prompt, of the zoo's best and of the starts"]
    recursion: Annotated[dict[str, Any], "metric after each of several updates at the best prompt, and the best number"]
    foreign: Annotated[dict[str, Any], "the same from starts with doubled weights"]
    outside: Annotated[list[dict[str, Any]], "prompts beyond the zoo, and the metric they gave"]
    repeats: Annotated[dict[str, Any], "samples from one start and prompt: how far apart, and from the start"]
    gradient: Annotated[dict[str, dict[str, Any]], "one step along the gradient and its sign: rate, metric, examples"]
    curves: NotRequired[Annotated[dict[str, Any], "SGD and Adam from the same starts, by step"]]
    nearest: NotRequired[Annotated[dict[str, Any], "distances to training runs' last checkpoints, also matched"]]
    plane: NotRequired[Annotated[dict[str, Any] | None, "two principal directions of parameters, and the metric there"]]


class PromptScores(TypedDict):
    """What `prompts` gives for the run."""

    of: Annotated[dict[str, Asked], "by source that takes prompts, the recipe's method first"]
