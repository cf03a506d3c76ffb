"""Hmc: the yardstick of approximate posteriors, for networks that are small enough."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import Family, Generator, Method

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Hmc(Method):
    """Hamiltonian Monte Carlo: networks from the posterior itself, by several chains.

    The posterior is that of the selected parameters, all others as the base network has them: a Gaussian prior, and
    the likelihood of all training examples, each once and as it is evaluated. Chains begin at new networks, one each,
    after some steps of plain optimisation, and run together. In the warm-up one step size is found for all of them.
    R-hat says whether they came to one distribution: its largest value over log-probabilities of examples of the
    validation split, of which one is told, should be at most 1.05. Parameters need not agree, as units can be
    exchanged.

    Each gradient is one of all training examples for all chains: some thousand parameters and some thousand examples
    take a minute or two on one core. Checkpoints are not read.
    """

    name = "hmc"
    source: ClassVar[str] = (
        "Neal 2011, arXiv 1206.1901, sections 2 and 3; step size: Hoffman and Gelman 2014, arXiv 1111.4246, eq. 6; on "
        "neural networks: Izmailov et al. 2021, arXiv 2104.14421; R-hat: Vehtari et al. 2021, arXiv 1903.08008"
    )
    chains: int = Field(8, gt=0, description="chains, which run together")
    draws: int = Field(500, ge=10, description="networks kept of each chain, one for each trajectory")
    warmup: int = Field(200, ge=0, description="trajectories before them, in which the step size is found")
    deviation: float = Field(
        3.0, gt=0, description="standard deviation of the prior: of biases and other vectors, and of weights times the "
        "root of their layer's inputs",
    )  # fmt: skip
    by_inputs: bool = Field(
        True, description="whether weights' deviations are divided by the root of their layer's inputs"
    )
    path: float = Field(
        math.pi / 2, gt=0, description="length of a trajectory in deviations of the prior: pi / 2 is what makes draws "
        "of the prior alone independent",
    )  # fmt: skip
    jitter: float = Field(0.5, ge=0, lt=1, description="lengths are drawn evenly from path * (1 - jitter, 1 + jitter)")
    accept: float = Field(0.8, gt=0, lt=1, description="mean probability of acceptance that the step size is found for")
    step: float = Field(0.02, gt=0, description="step size to begin with, in deviations of the prior")
    descent: int = Field(300, ge=0, description="steps of Adam before the warm-up, on the posterior; 0: none")

    def foresee(self, ahead: Ahead) -> None:
        task = ahead.recipe.task
        if isinstance(task, Family):
            ahead.lacks(
                f"{ahead.key}: hmc draws networks for one thing, and of task {task.name} each has its own; leave it out"
            )
        if not task.has_classes:
            ahead.lacks(f"{ahead.key}: hmc needs classes' likelihood, and task {task.name} has none; leave hmc out")
        if getattr(task, "label_smoothing", 0):
            ahead.lacks(
                f"{ahead.key}: hmc needs a likelihood, and task.label_smoothing = {task.label_smoothing:g} makes the "
                "loss another one; set it to 0, or leave hmc out"
            )

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.bayes.hmc import fitting

        return fitting.fit(self, zoo, bench, ctx)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.bayes.hmc.fitting import Draws

        return Draws(tensors["draws"])
