"""A training that is looked at after some steps, and ends once more of it adds little."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pdiff.files import below

TENTH = 9
"""The average of the weights is of the last tenth of the steps, about: step s counts in it as s ** 8."""


class Ended(Exception):
    """A training is at its end before its last step."""


class Watched:
    """Keeps the average of a module's weights, and asks how good it is after some steps. See `training.Observer`.

    So a training at a constant rate can be looked at after any number of steps, as if it had been meant to end there.
    """

    def __init__(self, module: nn.Module, ends: Sequence[int], look: Callable[[], float], little: float):
        """`look()` returns how good the module is, more being better; `little`: what must be added to go on."""
        self.ends, self.look, self.little = list(ends), look, little
        self.learnt = {name: value for name, value in module.named_parameters() if value.requires_grad}
        self.average = {name: value.detach().clone() for name, value in self.learnt.items()}
        self.scores: list[float] = []
        self.kept: list[dict[str, Tensor]] = []
        """The average after each of the ends."""

    @torch.no_grad()
    def after(self, step: int) -> dict[str, float]:
        """See `Observer.after`. Raises Ended."""
        torch._foreach_lerp_(list(self.average.values()), list(self.learnt.values()), TENTH / (TENTH + step))
        if step not in self.ends[len(self.scores) :]:
            return {}
        raw = {name: value.detach().clone() for name, value in self.learnt.items()}
        self.kept.append({name: value.clone() for name, value in self.average.items()})
        self.take(len(self.kept) - 1)
        self.scores.append(self.look())
        self._set(raw)
        if any(after - before < self.little for before, after in itertools.pairwise(self.scores)):
            raise Ended
        return {}

    def take(self, stage: int) -> None:
        """Put the weights of an end into the module."""
        self._set(self.kept[stage])

    @torch.no_grad()
    def _set(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.learnt.items():
            parameter.copy_(values[name])

    def tensors(self) -> dict[str, Tensor]:
        """See `Observer.tensors`."""
        kept = {f"kept/{stage}/{name}": value for stage, each in enumerate(self.kept) for name, value in each.items()}
        average = {f"average/{name}": value for name, value in self.average.items()}
        return kept | average | {"scores": torch.tensor(self.scores, dtype=torch.float64)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """See `Observer.restore`."""
        self.scores = tensors["scores"].tolist()
        device = next(iter(self.average.values())).device
        self.average = {name: value.to(device) for name, value in below(tensors, "average/").items()}
        stages = range(len(self.scores))
        self.kept = [{n: v.to(device) for n, v in below(tensors, f"kept/{stage}/").items()} for stage in stages]
