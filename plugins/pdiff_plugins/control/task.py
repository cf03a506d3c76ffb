"""Policies that are judged by their return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff.components import Task

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.data import Batch


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
    unit = "%"
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
