"""What the evaluator of widths gives."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from pdiff_plugins.maths.crossed import Gain


class SourceWidths(TypedDict):
    """Of a source that is asked for widths, mean test scores; None where there are no such widths."""

    learnt: Annotated[float | None, "of networks of widths that were learnt"]
    inside: Annotated[float | None, "of widths held out that lie between those"]
    outside: Annotated[float | None, "of widths held out that lie outside of those"]


class Row(TypedDict):
    """Networks of one width that have something in common."""

    mean: Annotated[float, "mean test score"]
    std: Annotated[float, "standard deviation over networks (of a population)"]
    count: Annotated[int, "networks"]
    of: NotRequired[Annotated[int, "the width that they were made of"]]
    rate: NotRequired[Annotated[float, "learning rate of the steps, the best on the selection split"]]


class AtWidth(TypedDict):
    """What there is at one width."""

    width: Annotated[int, "units of the widest layer"]
    part: Annotated[str, "`learnt`, `inside` or `outside`"]
    parameters: Annotated[int, "of a network of this width"]
    trained: Annotated[Row, "networks that were trained at this width"]
    sources: Annotated[dict[str, Row], "by source, networks that it was asked for"]
    controls: Annotated[dict[str, Row], "at widths that are held out, by control"]
    gains: Annotated[dict[str, dict[str, Gain]], "by source: what it scores more than `trained` and each control"]


class WidthsRun(TypedDict):
    """What `widths` gives for the run."""

    at: Annotated[list[AtWidth], "by width"]
    inside: Annotated[dict[str, dict[str, Gain]], "by source, the same over all unseen widths between learnt ones"]
    steps: Annotated[int, "training steps of those controls that are trained"]
    unit: Annotated[str, "of the scores"]
