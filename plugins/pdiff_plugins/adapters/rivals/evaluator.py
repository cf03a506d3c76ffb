"""The evaluator of adapters: that of conditions, with the rivals that only adapters have."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveFloat

from pdiff.components import Family
from pdiff_plugins.conditions.evaluation.evaluator import OfTasks

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff_plugins.conditions.evaluation.asking import Asker
    from pdiff_plugins.conditions.evaluation.rivals import Beside


class Adapters(OfTasks):
    """Whether generated adapters are worth it, beside one adapter for all tasks.

    All that `conditions` asks, and in the same table and verdict: no adapter at all; one adapter of the selector's
    rank, and of several times the rank, trained on all learnt tasks together, with and without the condition, of which
    a linear map is then added to the outputs of the network's layers, as to their biases; and for each task the
    coefficients in the zoo's principal directions that are best for some of its training examples, which no generator
    has seen.

    One adapter is trained on as many examples as the method has learnt from, and then on twice as many, until that adds
    under half a point to its score on learnt tasks. Its rate is constant, of several the best on the selection split,
    and its weights are the average of the last steps'. A verdict names the row where one adapter wins.
    """

    name = "adapters"
    source: ClassVar[str] = (
        "one adapter: Hu et al. 2021, LoRA, arXiv 2106.09685; inversion: Dravid et al. 2024, weights2weights, "
        "arXiv 2406.09413, section 4.3"
    )
    wider: int = Field(4, gt=1, description="times the rank of the wider adapter, as far as layers allow")
    rival_images: int = Field(
        614_400, gt=0,
        description="training examples of one adapter where the method does not learn from examples itself",
    )  # fmt: skip
    rival_most: int = Field(2, ge=0, description="how often they are doubled at most; 0: equal examples alone")
    rival_batch: int = Field(128, gt=0, description="examples per step of one adapter, of all tasks")
    rival_rates: tuple[PositiveFloat, ...] = Field(
        (1e-3, 3e-3, 1e-2), min_length=1,
        description="its learning rates, tried on an eighth of the examples; the best on the selection split counts",
    )  # fmt: skip
    inversion_examples: int = Field(
        100, ge=0, description="training examples of each task that inversion is told; 0: leave it out"
    )
    inversion_steps: int = Field(60, gt=0, description="steps of inversion")
    inversion_directions: int = Field(64, gt=0, description="principal directions of the zoo for inversion")

    def foresee(self, ahead: Ahead) -> None:
        selector, task = ahead.recipe.selector, ahead.recipe.task
        if not isinstance(task, Family):
            ahead.lacks(
                f"{ahead.key}: adapters compares with one adapter for many tasks, and task {task.name} is none of a "
                "family; take a [task] such as name = 'shifts'"
            )
        if not (selector.extends and hasattr(selector, "widened")):
            ahead.lacks(
                f"{ahead.key}: adapters compares with one adapter for all tasks, and selector {selector.name} makes "
                "none; use selector.name = 'lora', or the evaluator 'conditions'"
            )
        super().foresee(ahead)

    def further(self, asker: Asker, examples: int) -> dict[str, Beside]:
        """See `OfTasks.further`."""
        from pdiff_plugins.adapters.rivals.inversion import inverted
        from pdiff_plugins.adapters.rivals.rows import Rivals

        rows = Rivals(self, asker).rows(examples)
        return rows if not self.inversion_examples else rows | inverted(self, asker)
