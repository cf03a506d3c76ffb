"""What learns a zoo, and what it has learnt."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components.base import Component

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.data import Split
    from pdiff.zoo import Zoo


class Method(Component):
    """Learns a zoo and samples new parameter vectors."""

    kind: ClassVar[str] = "method"
    sampling: ClassVar[tuple[str, ...]] = ()
    """Options that are read when sampling only, of a method whose fit is worth keeping: they fit nothing again.

    `pdiff sample -o` and `Run.drawing` take these.
    """

    @abstractmethod
    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        """Learn the zoo. Resumes from `ctx.snapshot`."""

    @abstractmethod
    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        """Rebuild the generator from what `Generator.tensors` gave."""

    def asked(self) -> dict[str, float]:
        """Return the measures that sampled networks are asked to have, where the method takes prompts."""
        return {}

    def variants(self) -> dict[str, Method]:
        """Return the methods that this table stands for, by label: one, unless an option lists several settings."""
        return {self.name: self}


class Generator:
    """A fitted method."""

    log: list[dict[str, float]]
    """Training curve: rows of `step` and losses; `part` tells curves apart."""
    facts: dict[str, Any]
    """What the fit found worth telling, JSON-ready (the codec gate, for one).

    `examples`: how many training examples it read, each as often as a network was moved by it, or a derivative taken
    of it; absent: none. `begins`: what it began from: `checkpoints` (where absent), `one` network, the base or the last
    checkpoint, or `nothing`.
    """
    metric: str = ""
    """The task's measure that networks can be asked for, where `prompted` is there."""

    conditional: bool = False
    """Whether it gives the network of a condition: `sample` reads `condition_MC`."""

    def __init__(self, log: list[dict[str, float]] | None = None, facts: dict[str, Any] | None = None):
        self.log, self.facts = log or [], facts or {}

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        """Return up to `count` vectors theta_MD in the original scale (fewer where a method has fewer to give).

        `condition_MC`: of `count` networks, what each is for, where `conditional` says that it is read; where it is
        None they are for what checkpoints are for, drawn at random.
        Scores that `bench` gives are of networks after the recipe's steps on samples, so that what is chosen is best.
        """
        raise TypeError(f"{type(self).__name__} has no sample()")

    def through(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor | None:
        """Return what the method's codec leaves of networks that it need not have seen, or None if it has none."""
        return None

    def answers(self, examples: Split, count: int, bench: Bench, ctx: Context) -> Tensor | None:
        """Return log-probabilities of classes `[M, E, K]` that up to `count` members of its ensemble give.

        For methods whose members are no parameter vectors, such as a linearised network's or those that dropout makes;
        their `sample` returns what is nearest to them. None, unless overridden: the members are the networks drawn.
        """
        return None

    def prompted(self, start_MD: Tensor, measure_M: Tensor, wanted_M: Tensor, ctx: Context) -> Tensor:
        """Return networks theta_MD asked to have `metric` = wanted, each from a start whose metric is given."""
        raise TypeError(f"{type(self).__name__} takes no prompt")

    def warnings(self) -> list[str]:
        """Return what is to be told whenever samples with the method's options are used, a line each."""
        return []

    def tensors(self) -> dict[str, Tensor]:
        """Return what `Method.load` needs beside the zoo."""
        return {}

    def path(self, count: int, points: int, ctx: Context) -> tuple[list[float], torch.Tensor] | None:
        """Return (progress in 0..1, theta `[points, count, D]`) along the way from noise, or None if there is none."""
        return None

    def film(self, count: int, frames: int, ctx: Context) -> tuple[list[float], torch.Tensor, torch.Tensor] | None:
        """Return at most `frames` moments of the way from noise that show as much change each, or None.

        They are (share of signal in 0..1, theta, the clean theta predicted from it), theta as `[frames, count, D]`.
        """
        return None
