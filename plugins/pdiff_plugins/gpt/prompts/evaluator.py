"""The evaluator of prompts: ask for a metric, see what comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff.components import Evaluator, Figure, Finding
from pdiff.errors import UserError
from pdiff_plugins.gpt.prompts.findings import headline, notes
from pdiff_plugins.gpt.prompts.scores import PromptScores, SourcePrompts

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View


class Prompts(Evaluator):
    """Whether networks are what was asked for, and what they would cost otherwise.

    Starts are what no method has seen: the first checkpoints of held-out runs, and new initialisations. Each is asked
    for evenly spaced values, from the zoo's best to its own. Starts are measured, and rates of the optimisers chosen,
    on the selection split; numbers are of the test split. Beside it: one step of the gradient, SGD and Adam from the
    same starts, prompts given in a shuffled order, prompts beyond the zoo, starts with doubled weights, repeated
    prompting, and how near networks lie to those of training, hidden units matched.
    """

    name = "prompts"
    version = 4
    source: ClassVar[str] = "Peebles et al. 2022, arXiv 2209.12892, section 4, and the authors' code (prompt alignment)"
    first_columns: ClassVar[tuple[str, ...]] = ("R2", "at best prompt")
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("R2", "r2", ".3f"), ("asked-got", "pearson", ".3f"), ("at best prompt", "best", ".4g"),
    )  # fmt: skip
    legend: ClassVar[str] = (
        "R2: of the metric got, against the metric asked for, mean over starts; asked-got: correlation over all of "
        "them; at best prompt: mean metric of networks that were asked for the zoo's best"
    )
    source_scores: ClassVar[type] = SourcePrompts
    run_scores: ClassVar[type] = PromptScores
    starts: int = Field(16, gt=0, description="starts of each group")
    prompts: int = Field(20, gt=1, description="values that each start is asked for")
    recursive: int = Field(3, gt=0, description="updates at the best prompt, one after the other")
    repeats: int = Field(8, gt=1, description="samples from one start and prompt")
    gradient_examples: int = Field(0, ge=0, description="training examples of the single gradient step; 0: all")
    optimizer_steps: int = Field(200, ge=0, description="steps of SGD and Adam; 0: leave them out")
    optimizer_starts: int = Field(16, gt=0, description="starts from which they are run")
    batch_size: int = Field(64, gt=0, description="examples per step of SGD and Adam")
    nearest: int = Field(1000, ge=0, description="training runs among which the nearest is sought; 0: none")
    grid: int = Field(25, ge=0, description="points along each side of the plane of parameters; 0: no plane")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        """See `Evaluator.evaluate`. Raises UserError where no method of the run takes prompts."""
        from pdiff_plugins.gpt.prompts.asking import Asker

        sources = [source for source, generator in view.generators.items() if generator.metric]
        if not sources:
            raise UserError("evaluate prompts: no method of this run takes prompts; use method gpt, or leave it out")
        sources.sort(key=lambda source: source != view.method)
        asked = {source: self._source(Asker.of(view, source), ctx) for source in sources}
        networks = {
            source: {
                "r2": scored["test"]["r2"],
                "pearson": scored["test"]["pearson"],
                "best": scored["best_prompt"]["metric"],
            }
            for source, scored in asked.items()
        }
        return {"networks": networks, "of": asked}

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.drawing.style import figures
        from pdiff_plugins.gpt.prompts.figures import asked_and_got, beside_gradients, plane, recursion

        return figures(
            view,
            ("prompts", "Asked for, and got", asked_and_got),
            ("prompts_gradients", "One update beside gradient descent", beside_gradients),
            ("prompts_plane", "Where prompts lead", plane),
            ("prompts_recursion", "One update after another", recursion),
            order=10,
        )

    def findings(self, scores: Mapping[str, Any]) -> Iterator[Finding]:
        asked = scores["prompts"]["of"]
        yield Finding(headline(*next(iter(asked.items()))), headline=True)
        yield from (Finding(note, note=True) for source, scored in asked.items() for note in notes(source, scored))

    def _source(self, asker: Any, ctx: Context) -> dict[str, Any]:
        from pdiff_plugins.gpt.prompts import distances, gradients, plane, probes, sweep
        from pdiff_plugins.gpt.prompts.starts import unseen

        starts = unseen(asker.view, self.starts, ctx)
        scores, best_MD = sweep.sweep(asker, starts, self.prompts, ctx)
        scores |= {"best_prompt": sweep.at_best(asker, starts.theta_MD, best_MD)}
        scores |= probes.probes(asker, starts.theta_MD, self.recursive, self.repeats, ctx)
        scores["gradient"] = gradients.one_step(asker, starts.theta_MD, self.gradient_examples, ctx)
        if self.optimizer_steps:
            scores["curves"] = gradients.curves(
                asker, starts.theta_MD, best_MD, self.optimizer_starts, self.optimizer_steps, self.batch_size, ctx
            )
        symmetry = distances.known_symmetry(asker.view, ctx)
        finite_M = best_MD.isfinite().all(dim=1)
        if self.nearest and finite_M.any():
            scores["nearest"] = distances.nearness(asker.view, starts, best_MD, self.nearest, symmetry, ctx)
        if self.grid and finite_M.any():
            scores["plane"] = plane.plane(asker, starts.theta_MD[finite_M], best_MD[finite_M], self.grid, symmetry, ctx)
        return scores
