"""Control: networks that are policies. The cart-pole's data set and task."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveFloat, model_validator

from pdiff.components import Dataset

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.data import DatasetSplits, TensorSplit


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
