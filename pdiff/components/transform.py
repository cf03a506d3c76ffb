"""Steps on a zoo, and on samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pdiff.components.base import Component

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Transform(Component):
    """Changes a zoo before methods see it, or networks after they are sampled; a recipe lists steps in their order."""

    kind: ClassVar[str] = "transform"
    exact: ClassVar[bool] = False
    """Of a step on a zoo: every row computes the same function as the checkpoint that its `of` names, as it always does
    where checkpoints are chosen or reordered; stored predictions are then used again."""
    baselines: ClassVar[bool] = True
    """Of a step on samples: networks of baselines go through it too."""

    def zoo(self, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
        """Return the zoo after this step; what `zoo` holds is not changed. Raises UserError.

        Rows keep their `of`, those of copies the `of` and `run` of what they copy, and a `copy` from 1 on.
        """
        raise TypeError(f"{self.name} is no step on a zoo")

    def samples(self, theta_MD: Tensor, zoo: Zoo, bench: Bench, ctx: Context) -> Tensor:
        """Return sampled networks after this step, `[M, D]` in the original scale. Raises UserError."""
        raise TypeError(f"{self.name} is no step on samples")

    @classmethod
    def takes(cls, what: str) -> bool:
        """True where there is a step on `what`: `zoo` or `samples`."""
        return getattr(cls, what) is not getattr(Transform, what)
