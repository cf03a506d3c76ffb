"""The evaluator of few bits: how many a network takes, counted from its values, and what they are worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components import Evaluator, Figure, Finding
from pdiff_plugins.bits.scores import RunBits, SourceBits

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.bits.scores import Gain


class Bits(Evaluator):
    """Bits per parameter and bytes of networks, counted from their values.

    The weights of a matrix take the bits of the smallest grid, of 2 to 8 bits, on which all of its rows lie exactly, to
    the last bit of a float, and 32 where there is none; each row's step takes 16. Where weights are cut the mask's
    entropy is counted: the logarithm of how many masks keep as many. Everything else takes its floats. `bytes` is what
    `pdiff pack` writes, less the file's header.
    """

    name = "bits"
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("bits", "bits", ".2f"), ("bytes", "bytes", ",.0f"), ("kept", "kept", ".0%"),
    )  # fmt: skip
    first_columns: ClassVar[tuple[str, ...]] = ("bits", "bytes")
    legend: ClassVar[str] = (
        "bits: per parameter, with the rows' steps, the masks' entropy and all floats; bytes: of a packed network; "
        "kept: share of the matrices' weights"
    )
    source_scores: ClassVar[type] = SourceBits
    run_scores: ClassVar[type] = RunBits

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        from pdiff_plugins.bits.grid import matrices
        from pdiff_plugins.bits.packing import sizes

        layout, anchor = view.zoo.layout, view.zoo.anchor
        each = sizes(layout, anchor)
        networks = {source: _source(theta_MD, view, each) for source, theta_MD in view.theta.items()}
        dense = sum(each[entry.key] * (entry.stop - entry.start) for entry in layout.entries)
        run: RunBits = {
            "dense": dense, "parameters": sum(entry.stop - entry.start for entry in matrices(layout)),
            "gains": _gains(view, networks),
        }  # fmt: skip
        return {"networks": networks, **run}

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.bits.figures import score_against_bytes
        from pdiff_plugins.drawing.style import figures

        return figures(view, ("bytes", "Score and size", score_against_bytes), order=30)

    def findings(self, scores: Mapping[str, Any]) -> Iterator[Finding]:
        from pdiff_plugins.bits.findings import findings

        return findings(scores)


def _source(theta_MD: Tensor, view: View, sizes: Mapping[str, int]) -> SourceBits:
    from pdiff_plugins.bits.packing import counted

    count, dim = counted(theta_MD, view.zoo.layout, sizes), view.zoo.layout.dim

    def mean(bits_M: Tensor) -> float:
        return float(bits_M.double().mean())

    return {
        "bits": mean(count.bits_M) / dim, "bytes": mean(count.bytes_M), "width": mean(count.width_M),
        "kept": mean(count.kept_M), "codes": mean(count.codes_M) / dim, "steps": mean(count.steps_M) / dim,
        "masks": mean(count.masks_M) / dim, "rest": mean(count.rest_M) / dim,
    }  # fmt: skip


def _gains(view: View, networks: Mapping[str, SourceBits]) -> dict[str, Gain]:
    """Return what the method's networks score more than each other source's, those that come nearest first."""
    import math

    from pdiff_plugins.audit.comparison import per_example
    from pdiff_plugins.maths.crossed import difference, gain_of, holm

    values, method = {source: per_example(view, source) for source in view.theta}, view.method
    others = {source: difference(values[method], values[source]) for source in values if source != method}
    others = {source: gain for source, gain in others.items() if math.isfinite(gain.mean + gain.error)}
    told = dict(zip(others, holm([gain.chance for gain in others.values()]), strict=True))
    return {
        source: {**gain_of(gain, told[source]), "bytes": networks[source]["bytes"] / networks[method]["bytes"]}
        for source, gain in sorted(others.items(), key=lambda pair: pair[1].mean)
    }
