"""Control: networks that are policies. The cart-pole's data set and task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveFloat, model_validator

from pdiff import hookimpl
from pdiff.components import Dataset, Task

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.data import Batch, DatasetSplits, TensorSplit


class Cartpole(Dataset):
    """States in which a cart with a pole is let go.

    An example is (place in m, speed in m/s, angle from upright in radians, spin in radians/s). Starts fill their box
    evenly (Sobol points, scrambled by the seed), so that a network's mean return hardly depends on the split.
    """

    name = "cartpole"
    source: ClassVar[str] = "Barto, Sutton and Anderson 1983, IEEE SMC-13; constants of Gymnasium's CartPole"
    train: int = Field(512, gt=0, description="start states to train on")
    validation: int = Field(32, gt=0, description="start states of the validation split")
    test: int = Field(32, gt=0, description="start states of the test split, the same for every seed")
    spread: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        (1.0, 0.5, 0.2, 0.5), description="how far starts lie from rest in the middle: m, m/s, radians, radians/s"
    )

    @model_validator(mode="after")
    def _standing(self) -> Cartpole:
        if self.spread[0] >= 3 or self.spread[2] >= 1.5:
            raise ValueError(f"spread = {list(self.spread)} lets episodes begin beyond 3 m or 1.5 radians; lower it")
        return self

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. There are no targets: they are zeros."""
        from pdiff.context import derive
        from pdiff.data import DatasetSplits

        train = self._starts(self.train, derive(ctx.seed, "train"))
        validation = self._starts(self.validation, derive(ctx.seed, "validation"))
        return DatasetSplits(train, validation, self._starts(self.test, derive(0, "test")), input_shape=(4,), outputs=1)

    def _starts(self, count: int, seed: int) -> TensorSplit:
        import torch

        from pdiff.data import TensorSplit

        unit_E4 = torch.quasirandom.SobolEngine(4, scramble=True, seed=seed).draw(count)
        return TensorSplit((2 * unit_E4 - 1) * torch.tensor(self.spread), torch.zeros(count))


class Control(Task):
    """Networks as policies: keep the pole of a cart upright.

    The tanh of the network's output is the action, the force in units of 10 N; policies are deterministic, so there is
    no log-deviation of actions as in G.pt. A step's reward is 1 - angle² - 0.01 |speed| - 0.005 |spin|, that of
    failure -2: beyond 3 m or 90 degrees. The measure `return` is an episode's sum, the score its share of `steps`, the
    largest sum there can be; an example is wrong where its episode fails.

    Training differentiates the mean reward of the first `horizon` steps through the motion itself, where G.pt has PPO.
    """

    name = "control"
    metric = "relative return"
    measures = {"return": "higher"}
    source: ClassVar[str] = "reward and failure: Peebles et al. 2022, arXiv 2209.12892 (G.pt), and the authors' code"
    steps: int = Field(500, gt=0, description="steps of the longest episode, of 0.02 s each")
    horizon: int = Field(16, gt=0, description="steps whose mean reward is trained on")

    def loss(self, model: Any, batch: Batch) -> Tensor:
        from pdiff_plugins.control.cartpole import mean_reward

        return -mean_reward(model, batch.inputs, self.horizon)

    def predict(self, model: Any, inputs: Tensor) -> Tensor:
        """Return each episode's return and the steps that it lasted, `[B, 2]`. Raises UserError for other data."""
        from pdiff_plugins.control.cartpole import episodes

        return episodes(model, inputs, self.steps)

    def measured(self, examined: Tensor, targets: Tensor) -> Tensor:
        """See `Task.measured`: returns `[m, B, 1]`."""
        return examined[..., :1]

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return predictions[..., 0].double().mean(dim=1) / self.steps

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return predictions[..., 1] < self.steps


@hookimpl
def register_datasets(register: Any) -> None:
    register(Cartpole)


@hookimpl
def register_tasks(register: Any) -> None:
    register(Control)
