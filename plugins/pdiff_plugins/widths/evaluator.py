"""The evaluator of widths: ask for networks of a width that no checkpoint has, beside what is to be had without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveFloat

from pdiff.components import Evaluator, Figure, Finding
from pdiff.results.summary import SCORE
from pdiff_plugins.widths.scores import SourceWidths, WidthsRun

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.view import View


class WidthScores(Evaluator):
    """Whether networks of unseen widths are as good as those trained there.

    Sources that take conditions are asked for every width that was learnt or held out. At those held out, controls
    that need no generator stand beside them: networks of the nearest learnt width above, whose units that are read
    least are cut; of the nearest below, whose units are split, which changes no function; both after a few steps of
    Adam; and new networks after as many. Differences have intervals of 95 %, networks and examples being crossed random
    effects; a claim of better or worse has Holm's correction over all.
    """

    name = "widths"
    source: ClassVar[str] = (
        "split: Chen et al. 2016, Net2Net, arXiv 1511.05641; cut: Li et al. 2017, Pruning Filters, arXiv 1608.08710"
    )
    first_columns: ClassVar[tuple[str, ...]] = ("inside", "outside")
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("learnt widths", "learnt", SCORE), ("inside", "inside", SCORE), ("outside", "outside", SCORE),
    )  # fmt: skip
    legend: ClassVar[str] = (
        "learnt widths: mean score of networks of widths that were learnt; inside, outside: of unseen widths between "
        "those, and beyond them; original: networks trained at these widths"
    )
    source_scores: ClassVar[type] = SourceWidths
    run_scores: ClassVar[type] = WidthsRun
    samples: int = Field(50, gt=1, description="networks of each width and source")
    controls: int = Field(20, gt=1, description="networks of each control")
    steps: int = Field(10, gt=0, description="training steps of the controls that are trained")
    rates: tuple[PositiveFloat, ...] = Field(
        (1e-3, 3e-3, 1e-2, 3e-2), min_length=1,
        description="learning rates of those steps; the best on the selection split counts",
    )  # fmt: skip
    batch_size: int = Field(64, gt=0, description="examples of each of those steps")

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        if getattr(ahead.recipe.collect, "name", "") != "widths":
            ahead.lacks(f"{ahead.key}: compares networks of several widths; use the collector 'widths'")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        """See `Evaluator.evaluate`. Raises UserError where no source takes conditions."""
        from pdiff_plugins.widths.asking import Asker

        return Asker(self, view, ctx).scores()

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.drawing.style import figures
        from pdiff_plugins.widths.figures import by_width

        return figures(view, ("widths", "Score by width", by_width), order=10)

    def findings(self, scores: Mapping[str, Any]) -> Iterator[Finding]:
        from pdiff_plugins.widths.findings import findings

        return findings(scores["widths"], scores["method"], scores["facts"])
