"""Recalibration: BatchNorm statistics of sampled networks, taken anew from training examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pdiff.components import Family, Transform

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Recalibration(Transform):
    """Take BatchNorm statistics of sampled networks anew from training examples.

    Those of baselines, too: what averages and generators give for them fits no network in particular.
    """

    name = "recalibration"
    source = "SANE, arXiv 2406.09997; REPAIR, arXiv 2211.08403"
    examples: int = Field(ge=2, examples=[1000], description="training examples that each network sees")

    def foresee(self, ahead: Ahead) -> None:
        if isinstance(task := ahead.recipe.task, Family) and not task.same_inputs:
            ahead.lacks(
                f"{ahead.key}: recalibration shows all networks the same examples, and of task {task.name} each has "
                "its own; leave the step out"
            )

    def samples(self, theta_MD: Tensor, zoo: Zoo, bench: Bench, ctx: Context) -> Tensor:
        from pdiff_plugins.transforms.batch_norms import recalibrated

        objective = bench.objective
        return recalibrated(theta_MD, objective.model, zoo.layout, objective.split, self.examples, ctx)
