"""What the evaluator of conditions gives."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from pdiff.results.scores import Spread
from pdiff_plugins.maths.crossed import Gain


class Samples(TypedDict):
    """What several samples of one condition are worth, mean score over the judged tasks."""

    count: Annotated[int, "samples of a condition"]
    one: Annotated[float, "of one sample, mean over all"]
    weights: Annotated[float, "of the mean of the samples' weights"]
    outputs: NotRequired[Annotated[float, "of the mean of their probabilities"]]


class RowConditions(Spread):
    """Scores on tasks; mean, spread and ends are over the judged tasks: held out, where there are any."""

    learnt: Annotated[float | None, "mean score on learnt tasks"]
    held_out: Annotated[float | None, "mean score on tasks held out"]
    worst: Annotated[float | None, "on the worst of these"]
    hard: Annotated[float | None, "mean score on hard tasks"]
    hard_worst: Annotated[float | None, "on the worst of these"]
    tasks: Annotated[dict[str, list[float]], "score on each task, by part, in the order of `distances`"]
    seen: Annotated[int | None, "training examples it learnt from, each time; be it through networks that saw them"]


class SourceConditions(RowConditions):
    """The same of a source of networks."""

    conditional: Annotated[bool, "whether it gives networks for conditions; else one network stands for all tasks"]
    shuffled: Annotated[float | None, "mean score of networks that were asked for another of the judged tasks"]
    random_text: Annotated[float | None, "mean score of networks that were asked in random words"]
    samples: NotRequired[Annotated[Samples, "several samples of one condition; absent where all are the same"]]
    gate: Annotated[float | None, "mean score of the tasks' own networks once its codec has had them"]
    leave_one_out: NotRequired[Annotated[float, "error of learnt networks left out, as a share of their variance"]]


class Copies(TypedDict):
    """Median distances in parameters to the nearest learnt network."""

    generated: Annotated[float, "of the method's networks for the judged tasks"]
    own: Annotated[float, "of those tasks' own networks"]


class Adapted(TypedDict):
    """Training on the task's training examples, from several starts; mean scores over some of the judged tasks."""

    tasks: Annotated[int, "how many of them"]
    steps: Annotated[list[int], "of training"]
    starts: Annotated[dict[str, list[float]], "start -> score after so many steps; `shared start` is the base network"]


class Common(TypedDict):
    """How one network for all tasks was trained: in the end, and after fewer examples by halves."""

    examples: Annotated[list[int], "training examples after which it was looked at, each twice as many"]
    selection: Annotated[list[float], "its mean score then on learnt tasks, of the selection split"]
    lr: Annotated[float, "the rate, the best of several on the selection split"]
    times: Annotated[
        float | None, "its examples over those that the method has learnt from; null where that is not known"
    ]
    ended: Annotated[bool, "whether it is trained to its end: twice the examples added under half a point"]


class ConditionScores(TypedDict):
    """What `conditions` gives for the run."""

    unit: Annotated[str, "of the scores: % for shares of 1, else that of plain numbers"]
    counts: Annotated[dict[str, int], "tasks by part: learnt (those asked for), held out, hard"]
    known: Annotated[int, "checkpoints held out whose tasks are learnt ones: not asked for"]
    judged: Annotated[str, "the part that the verdict, and every mean, is about"]
    right: Annotated[bool, "whether scores are shares of right answers"]
    by_task: Annotated[bool, "whether scores depend on the task; else all networks are scored alike"]
    bits: Annotated[bool, "whether distances count bits that differ; else they are Euclidean"]
    distances: Annotated[dict[str, list[float]], "by part, each task's distance from the nearest one learnt"]
    asked: Annotated[dict[str, list[dict[str, Any]]], "by part, what each task is about"]
    beside: Annotated[dict[str, RowConditions], "ways without a generated network, by name"]
    gains: Annotated[dict[str, Gain], "score of the method less that of every other row on the judged tasks, the "
                                      "strongest first; tasks, with their networks, and examples are drawn anew, and "
                                      "Holm's correction is over all controls"]  # fmt: skip
    hard_gains: Annotated[dict[str, Gain], "the same on hard tasks"]
    groups: Annotated[dict[str, list[float]], "by row, mean scores on groups of examples, over the judged tasks"]
    examples: Annotated[str, "digest of the examples' targets"]
    used: NotRequired[Annotated[Gain, "of the method over itself, asked for other tasks"]]
    copies: NotRequired[Annotated[Copies, "whether its networks are those learnt"]]
    common: NotRequired[
        Annotated[dict[str, Common], "of those beside that are one network for all tasks: its training"]
    ]
    span: NotRequired[Annotated[float, "mean score of own networks once they are mixtures of those learnt"]]
    class_gain: NotRequired[
        Annotated[float, "what its second half of the steps adds to the network of all classes, in accuracy"]
    ]
    own_gain: NotRequired[
        Annotated[float, "what twice the steps add to the tasks' own networks, as their collector says"]
    ]
    adapted: NotRequired[Annotated[Adapted, "what training adds to generated networks"]]
    plain: Annotated[str, "the verdict for who reads such a table for the first time"]
    verdict: Annotated[list[str], "all of it in words, a sentence each, without full stops"]
