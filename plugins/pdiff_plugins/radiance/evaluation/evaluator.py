"""The evaluator of scenes in colour: whether they look as real ones do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NotRequired, TypedDict

from pydantic import Field

from pdiff.components import IF_SET, Evaluator, Finding
from pdiff.errors import UserError
from pdiff.results.scores import given_by
from pdiff_plugins.maths.crossed import Gain

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.view import View


class SceneScores(TypedDict):
    """What a source's scenes are beside those held out.

    As sets, where conditions leave scenes open; each by itself, where they say which it is; the other numbers are None.
    """

    precision: Annotated[float | None, "share of scenes that lie among those held out; None for fewer than five"]
    recall: Annotated[float | None, "share of scenes held out that lie among them"]
    one_nna: Annotated[
        float | None, "share whose nearest other is of their own set; 0.5 where they cannot be told apart"
    ]
    coverage: Annotated[float | None, "share of scenes held out that are nearest to some scene"]
    mmd: Annotated[float | None, "mean distance of a scene held out to the nearest scene, of colours"]
    to_learnt: Annotated[float | None, "median PSNR to the nearest learnt scene, in decibels"]
    copies: Annotated[float | None, "share that nearly equal a learnt scene; None of the networks of these"]
    right_class: Annotated[
        float | None, "share, asked for labels, whose nearest learnt scene has the label; None: not asked"
    ]
    ssim: Annotated[float | None, "mean over scenes and views; None of pictures smaller than its window"]
    ssim_views: Annotated[list[float] | None, "mean SSIM of each view"]
    lpips: Annotated[float | None, "mean over scenes and views; None without its weights"]


class RunScenes(TypedDict):
    """What the scores of scenes have to be seen beside."""

    kind: Annotated[str, "`sets`, `pictures`, or empty where nothing can be compared"]
    count: Annotated[int, "scenes held out"]
    missing: Annotated[list[str], "what could not be done, a line each"]
    beside: NotRequired[Annotated[dict[str, SceneScores], "real scenes in place of a source's"]]
    gains: NotRequired[Annotated[dict[str, Gain], "SSIM of the method less that of every other source, by scene"]]


class Scenes(Evaluator):
    """Whether scenes look as real ones do, by pictures from unseen views.

    Where conditions leave open which scene it is (a class, or none at all), scenes that sources give are compared as
    sets with the pictures of scenes held out, and with those of scenes that were learnt. Beside them stands what as
    many learnt scenes, drawn at random, give in their place: the best that can be asked for. The distance is the root
    mean squared difference of colours in the views of the test split. Copies are scenes nearer to a learnt one, or
    to what its network shows, than a quarter of what scenes held out are to learnt ones in the median.

    Where conditions say which scene it is, sources are asked for each scene that was held out, and each of its
    pictures is compared by SSIM (Gaussian window of 11 pixels, deviation 1.5), and by LPIPS where its weights are at
    hand. The task's own score, PSNR, is what the evaluator `conditions` tells.
    """

    name = "radiance"
    of_families: ClassVar[bool] = True
    source: ClassVar[str] = (
        "Achlioptas et al. 2018, arXiv 1707.02392; Yang et al. 2019, arXiv 1906.12320; Kynkäänniemi et al. 2019, "
        "arXiv 1904.06991; SSIM: Wang et al. 2004, IEEE TIP 13(4); LPIPS: Zhang et al. 2018, arXiv 1801.03924"
    )
    first_columns: ClassVar[tuple[str, ...]] = ("precision", "recall", "1-NNA", "copies", "SSIM", "LPIPS")
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("precision", "precision", ".2f"), ("recall", "recall", ".2f"), ("1-NNA", "one_nna", ".3f"),
        ("coverage", "coverage", ".2f"), ("MMD", "mmd", ".4f"), ("to learnt", "to_learnt", ".1f"),
        ("copies", "copies", ".0%"), ("right class", "right_class", ".0%"), ("SSIM", "ssim", ".4f"),
        ("LPIPS", "lpips", ".4f"),
    )  # fmt: skip
    legend: ClassVar[str] = (
        "precision: share of scenes that lie among those held out; recall: share of those held out that lie among "
        "them; 1-NNA: how well the two are told apart, 0.5 is not at all; coverage, MMD: of those held out by them; "
        "to learnt: median PSNR to the nearest learnt scene; copies: share that nearly equal one; right class: share, "
        "asked for the labels of scenes held out, whose nearest learnt scene has the label; SSIM, LPIPS: of the "
        "pictures of scenes held out that networks were asked for, 1 and 0 where they are equal"
    )
    source_scores: ClassVar[type] = SceneScores
    run_scores: ClassVar[type] = RunScenes
    lpips: str = Field(
        "",
        json_schema_extra=IF_SET,
        description="folder of LPIPS' weights, alexnet-owt-7be5be79.pth as torchvision has it and the authors' "
        "alex.pth; empty: where torch and torchmetrics keep them",
    )

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        if ahead.recipe.task.name != "radiance":
            ahead.lacks(f"{ahead.key}: radiance is for task radiance, found {ahead.recipe.task.name}; leave it out")
        if self.lpips:
            from pdiff_plugins.radiance.evaluation.files import files, missing

            if lacking := missing(files(self.lpips)):
                ahead.lacks(f"{ahead.key}.lpips = {self.lpips!r}: {lacking}; put it there, or leave lpips out")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        """See `Evaluator.evaluate`. Raises UserError where the run has no scenes."""
        from pdiff_plugins.radiance.evaluation.scoring import scores_of

        if view.recipe.task.name != "radiance":
            raise UserError(f"evaluate radiance: is for task radiance, found {view.recipe.task.name}; leave it out")
        return scores_of(view, self.lpips, ctx)

    def findings(self, scores: Mapping[str, Any]) -> Iterator[Finding]:
        from pdiff_plugins.radiance.evaluation import findings

        networks, ours, method = given_by(scores, self.name), scores[self.name], scores["method"]
        if line := findings.headline(method, networks, ours):
            yield Finding(line, headline=True)
        for note in findings.notes(ours):
            yield Finding(note, note=True)
