"""What the evaluator `predict_property` gives."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from pdiff_plugins.maths import crossed


class Nearness(TypedDict):
    """How near numbers that were read are to the true ones."""

    r2: Annotated[float | None, "share of the variance that is explained; None where there is none"]
    tau: Annotated[float | None, "Kendall's tau-b of both orders; None where one is no order"]
    error: Annotated[float, "mean absolute error"]


class Saving(TypedDict):
    """What evaluating networks in the order of what was read saves."""

    tried: Annotated[int, "networks evaluated in that order until the best is found, of equally good ones the first"]
    chance: Annotated[float, "the same in a random order, on average"]
    first: Annotated[float, "true value of the network that comes first"]
    mean: Annotated[float, "mean over the networks: of one that is chosen at random"]
    best: Annotated[float, "of the best network"]


class Gain(crossed.Gain):
    """Mean squared error of a control less that of a reader, on the networks judged.

    Runs are drawn anew; Holm's correction is over the controls of all readers.
    """


class Judged(Nearness):
    """What a reader made of networks that it has not seen."""

    gains: NotRequired[Annotated[dict[str, Gain], "by control, what its squared error is more than the reader's"]]


class Transfer(TypedDict):
    """Another run's zoo, read by what was learnt here: nothing of it was learnt."""

    run: Annotated[str, "name of that run"]
    networks: Annotated[int, "checkpoints of its zoo"]
    property: Annotated[list[float], "mean and standard deviation of the property over them"]
    readers: Annotated[dict[str, Judged], "by reader"]
    controls: Annotated[dict[str, Nearness], "by control"]
    cannot: Annotated[dict[str, str], "readers and controls that cannot read them, and why"]


class SourceReading(Nearness, Saving):
    """A source's networks in the order of what the best reader tells: evaluations are of the selection split.

    Of the checkpoints they are those judged.
    """

    networks: Annotated[int, "so many"]


class RunReading(TypedDict):
    """What weights tell of networks of this zoo that no reader has seen."""

    property: Annotated[str, "what is read: `score`, a measure, or a setting of runs"]
    lower: Annotated[bool, "whether the best value is the lowest"]
    values: Annotated[list[float], "the property of each checkpoint of the zoo"]
    learnt: Annotated[int, "checkpoints learnt"]
    judged: Annotated[int, "checkpoints judged"]
    apart: Annotated[bool, "whether checkpoints of one run are all learnt or all judged; not where there is one run"]
    readers: Annotated[dict[str, Judged], "by reader"]
    controls: Annotated[dict[str, Nearness], "by control, which reads no weights"]
    cannot: Annotated[dict[str, str], "readers and controls that cannot read this zoo, and why"]
    best: Annotated[str, "the reader that explains most of the variance; empty where none reads"]
    beside: Annotated[dict[str, Nearness], "the same numbers, as rows of the table"]
    true: Annotated[list[float], "the property of each network judged"]
    read: Annotated[dict[str, list[float]], "by reader and control, what was read of each network judged"]
    transfer: NotRequired[Annotated[Transfer, "another run's zoo"]]
