"""How networks are trained once more: what methods of such share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from pdiff.components import Family, Method
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead, Generator, Train
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Settings(NamedTuple):
    """How a network is trained, every option known."""

    epochs: int
    lr: float
    weight_decay: float
    batch_size: int
    optimizer: Literal["adamw", "adam", "sgd"]
    schedule: Literal["cosine", "constant"]


class TrainedAgain(Method):
    """Trains networks as the base network was, or otherwise; itself no method."""

    epochs: int | None = Field(None, gt=0, description="passes over the train split; left out: as [train] has it")
    lr: float | None = Field(None, gt=0, description="learning rate, at the start; left out: as [train] has it")
    weight_decay: float | None = Field(None, ge=0, description="decoupled (L2 for adam and sgd); left out: as [train]")
    batch_size: int | None = Field(None, gt=0, description="examples per step; left out: as [train] has it")
    optimizer: Literal["adamw", "adam", "sgd"] | None = Field(
        None, description="sgd has momentum 0.9; left out: as [train] has it"
    )
    schedule: Literal["cosine", "constant"] | None = Field(
        None, description="cosine falls to 0 epoch by epoch; left out: as [train] has it"
    )
    start: Literal["new", "base"] = Field(
        "new",
        description="where a network begins: new: at its own initialisation, which asks for a selector that takes "
        "everything, or adds adapters; base: at the base network, with an order of its own, and what is selected is "
        "trained",
    )

    def foresee(self, ahead: Ahead) -> None:
        task = ahead.recipe.task
        if isinstance(task, Family):
            ahead.lacks(
                f"{ahead.key}: {self.name} trains all networks for one thing, and of task {task.name} each has its "
                "own; leave it out"
            )
        if self.epochs is None and not ahead.recipe.train.epochs:
            ahead.lacks(_no_epochs(ahead.key))
        if self.start == "new" and ahead.recipe.architecture.weights:
            ahead.note(
                f"{ahead.key}: {self.name} begins at random, not at architecture.weights; start = 'base' begins there"
            )

    def settings(self, train: Train, times: float = 1.0) -> Settings:
        """Return how networks are trained, for so many times the epochs. Raises UserError where no epochs are known."""
        known = {key: value for key in Settings._fields if (value := getattr(self, key)) is not None}
        settings = Settings(**{key: getattr(train, key) for key in Settings._fields} | known)
        if not settings.epochs:
            raise UserError(_no_epochs("method"))
        return settings._replace(epochs=max(1, round(times * settings.epochs)))

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.bayes.trainings.training import Trained

        return Trained(tensors["theta"])


def _no_epochs(key: str) -> str:
    return f"{key}.epochs is not given, and [train] trains for no epochs that it could be taken from; give one of them"
