"""What the evaluator `bits` gives."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from pdiff_plugins.maths import crossed


class SourceBits(TypedDict):
    """What a source's networks hold: means over networks, of the parameters that are selected."""

    bits: Annotated[float, "per parameter, all counted: codes, steps of 16, the masks' entropy, and what stays floats"]
    bytes: Annotated[float, "of a packed network, without the file's header; a mask takes a bit for each weight there"]
    width: Annotated[float, "bits of a weight that is kept: of the smallest grid on which its matrix lies exactly; 32: none"]  # fmt: skip  # noqa: E501
    kept: Annotated[float, "share of the matrices' weights that is stored"]
    codes: Annotated[float, "bits of the weights kept, per parameter"]
    steps: Annotated[float, "bits of the rows' steps, per parameter"]
    masks: Annotated[float, "entropy of masks, per parameter: the logarithm of how many there are that keep as many"]
    rest: Annotated[float, "bits of entries that are no matrices, per parameter"]


class Gain(crossed.Gain):
    """The method's score on the test split less that of another source; networks and examples are drawn anew."""

    bytes: Annotated[float, "of a network of the other source, over those of the method's"]


class RunBits(TypedDict):
    """What is said of the run as a whole."""

    dense: Annotated[int, "bytes of a network in floats"]
    parameters: Annotated[int, "that are weights of matrices"]
    gains: NotRequired[Annotated[dict[str, Gain], "of the method over each other source, where networks are scored"]]
