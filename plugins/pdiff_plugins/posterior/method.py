"""Posterior: Gaussians over parameters that begin at the checkpoints and are then trained by the task itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pdiff.components import IF_SET, Family, Generator, Method

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Posterior(Method):
    """Gaussians of low rank, begun at the checkpoints and trained by the task.

    theta = centre + factors z, z ~ N(0, I). The factors begin as the checkpoints' principal components. Each step draws
    some networks and minimises, on one batch of training examples, their mean loss and, weighted by `together`, the
    loss of their ensemble. The second is what lets them differ: with together = 1 a network may err where the others
    do not. `volume` rewards the size of the Gaussians, as the entropy does in a variational bound, each tensor's in
    units of its own size in the centre: that weights are larger is no volume.

    With `within = "span"` networks stay mixtures of the checkpoints: what is trained are the weights of each, some
    thousand numbers, and nothing as long as a network is held or stored. So it is done for networks of many millions
    of parameters. Running statistics, which no loss can train, follow the weights.

    With `begin = "one"` nothing of the checkpoints is read: the centre is the base network, the directions are random,
    and a twentieth of each tensor's own size in it stands for the checkpoints' deviation, as the unit of `spread` and
    `lr`. With `begin = "new"` it is `centres` new networks, each of an initialisation of its own, that are trained from
    the first step on, together: what is compared with a deep ensemble of them.

    The members of a step are computed one after the other, and with `together` twice where they are large, as the
    gradient of each depends on what the others answer. In all parameters each direction and each centre is held four
    times, with its gradient and Adam's two moments.
    """

    name = "posterior"
    version = 4  # 4: facts count examples
    source: ClassVar[str] = (
        "variational inference with a Gaussian of low rank, begun as in SWAG (arXiv 1902.02476, eq. 1) or, with "
        "several centres, MultiSWAG (arXiv 2002.08791); members and ensemble: Jeffares et al. 2023, arXiv 2301.11323"
    )
    centres: int = Field(
        0,
        ge=0,
        description="Gaussians, each begun at a checkpoint, evenly spaced in the zoo, or at a new network; 0: one, "
        "at their average",
    )
    rank: int = Field(
        32, ge=0, description="directions in which the networks of a Gaussian differ; 0: none, so that training gives "
        "one network for each centre",
    )  # fmt: skip
    spread: float = Field(
        1.0, gt=0, description="factor on the checkpoints' deviation, or on its stand-in, to begin with"
    )
    steps: int = Field(1000, ge=0, description="training steps; 0: the Gaussians as they begin")
    lr: float = Field(0.01, gt=0, description="learning rate of Adam, in units of the checkpoints' deviation")
    networks: int = Field(8, gt=0, description="networks drawn per step")
    batch_size: int = Field(64, gt=0, description="training examples per step, which all of them see")
    augment: bool = Field(False, description="with the training transform; else as examples are evaluated")
    together: float = Field(0.5, ge=0, description="weight of the ensemble's loss; the members' has 1 minus it")
    volume: float = Field(
        0.0, ge=0, description="weight of the mean logarithm of the Gaussians' axes, relative to their tensors' sizes"
    )

    within: Literal["all", "span"] = Field(
        "all", json_schema_extra=IF_SET, description="where networks are looked for: in all parameters, or in the span "
        "of the checkpoints, which takes little memory however large they are",
    )  # fmt: skip
    begin: Literal["checkpoints", "one", "new"] = Field(
        "checkpoints", json_schema_extra=IF_SET, description="where the Gaussians begin: at the checkpoints; one: at "
        "the base network alone, with random directions; new: at new networks, with such directions",
    )  # fmt: skip

    @model_validator(mode="after")
    def _axes(self) -> Posterior:
        if self.volume and not self.rank:
            raise PydanticCustomError(
                "volume", "volume = {volume} needs axes; set rank to at least 1", self.model_dump()
            )
        if self.begin != "checkpoints" and self.within == "span":
            raise PydanticCustomError(
                "span", "begin = '{begin}' has no checkpoints to span anything; set within = 'all'", self.model_dump()
            )
        if self.begin == "one" and self.centres:
            raise PydanticCustomError(
                "centres", "begin = 'one' has one centre, the base network; set centres = 0, not {centres}",
                self.model_dump(),
            )  # fmt: skip
        if self.begin == "new" and not self.centres:
            raise PydanticCustomError("centres", "begin = 'new' needs new networks; set centres to at least 1")
        return self

    def foresee(self, ahead: Ahead) -> None:
        if isinstance(ahead.recipe.task, Family):
            ahead.lacks(
                f"{ahead.key}: posterior trains all networks for one thing, and of task {ahead.recipe.task.name} each "
                "has its own; leave it out, or use 'hypernetwork'"
            )
        elif self.together and self.steps and not ahead.recipe.task.has_classes:
            ahead.lacks(
                f"{ahead.key}: task {ahead.recipe.task.name} gives no class probabilities to take an ensemble of; set "
                "together = 0, or leave posterior out"
            )

    def variants(self) -> dict[str, Method]:
        """Return itself; without directions it is no posterior, and named for what it is."""
        if self.begin == "one":
            return {"posterior from one" if self.rank else "trained one": self}
        if self.begin == "new":
            return {f"posterior from {self.centres} new" if self.rank else f"trained {self.centres} new": self}
        alone = f"trained {self.centres}" if self.centres else "trained soup"
        return {self.name if self.rank else alone: self}

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.posterior import low_rank, mixtures

        return (mixtures if self.within == "span" else low_rank).fit(self, zoo, bench, ctx)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.posterior import low_rank, mixtures

        return (mixtures if self.within == "span" else low_rank).load(tensors, zoo)
