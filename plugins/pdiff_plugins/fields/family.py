"""Families of shapes and scenes: each network is one of those that a dataset describes. S shapes, E examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pdiff.components import Family
from pdiff.errors import UserError
from pdiff_plugins.conditions.families.dealing import dealt

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.data import About, DatasetSplits

SHAPE, WORDINGS = "shape", "wordings"
"""Of what a network is about: the shape's number in its dataset, and further sentences that say the same."""


class OfShapes(Family):
    """A network for each shape of a dataset that describes them; itself no family.

    The dataset's splits hold what all shapes are at the same examples, targets `[E, S, ...]`; where shapes are seen at
    examples of their own, inputs are `[E, S, ...]`, too. Its train split says what each shape is, `abouts`: numbers and
    words by name, `label`, `text`, and `wordings`, other sentences for the same.
    """

    def tasks(
        self, counts: Mapping[str, int], data: DatasetSplits, generator: torch.Generator
    ) -> dict[str, list[dict[str, Any]]]:
        """See `Family.tasks`. Raises UserError where the dataset describes no shapes."""
        described = getattr(data.train, "abouts", None)
        if not described:
            raise UserError(
                f"task {self.name!r}: asks for shapes that the dataset describes, and it describes none; take one such "
                "as scenes3d or shapes3d"
            )
        numbered = [{SHAPE: number, **about} for number, about in enumerate(described)]
        hard = [about for about in numbered if about.get("hard")]
        plain = [about for about in numbered if not about.get("hard")]
        return dealt(self.name, plain, hard, counts, generator, "this dataset names none")

    def check(self, about: About, data: DatasetSplits) -> None:
        """See `Family.check`."""
        count = len(getattr(data.train, "abouts", None) or ())
        number = about.get(SHAPE)
        if not isinstance(number, int) or not 0 <= number < count:
            raise UserError(f'{SHAPE} = {number!r}: the dataset has shapes 0 to {count - 1}; write {{"{SHAPE}": 0}}')

    def asks(self, about: About) -> bool:
        """See `Family.asks`: what is described in words or numbers alone is no shape of the dataset."""
        return SHAPE in about

    def again(self, about: About, number: int) -> About:
        """See `Family.again`: the same in another sentence."""
        wordings = about.get(WORDINGS)
        return {**about, "text": wordings[number % len(wordings)]} if wordings else about

    def inputs(self, inputs: Any, about: About) -> Any:
        """See `Family.inputs`: the shape's own examples, where each has its own."""
        return inputs if inputs.ndim == 2 else inputs[:, about[SHAPE]]

    def targets(self, targets: Tensor, about: About) -> Tensor:
        """See `Family.targets`: those of the network's own shape, `[E, ...]`."""
        return targets[:, about[SHAPE]]
