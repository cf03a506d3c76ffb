"""The deep ensemble, and the lone network beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveFloat

from pdiff_plugins.bayes.trainings.options import TrainedAgain

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.components import Generator, Method
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class DeepEnsemble(TrainedAgain):
    """Networks trained from new seeds, as the base network was (a deep ensemble).

    They are trained together, as many at a time as memory holds, where that can be; those that draw random numbers in
    training, as dropout does, and large ones, one after the other. A network is the same however many there are. Each
    is what the last epoch left, whatever `keep` of [train] says. Those that diverge are left out.
    """

    name = "deep_ensemble"
    source: ClassVar[str] = "Lakshminarayanan et al. 2017, Simple and scalable uncertainty, arXiv 1612.01474"
    count: int = Field(16, gt=0, description="networks")
    trainings: float = Field(1.0, gt=0, description="factor on the epochs, which are rounded")

    def variants(self) -> dict[str, Method]:
        """Return itself, named by its factor on the epochs where there is one."""
        return {self.name if self.trainings == 1 else f"{self.name} {self.trainings:g}x": self}

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        """Train the networks. Raises UserError where the selection has nothing to train, or fewer than two remain."""
        from pdiff_plugins.bayes.trainings.training import Trainings, several

        trainings = Trainings(self.name, self.settings(bench.training, self.trainings), self.start, zoo, bench, ctx)
        return several(trainings, self.count)


class Lone(TrainedAgain):
    """One network from a new seed, trained for so many times the epochs.

    It is trained as each network of `deep_ensemble` is, and is what else the cost of an ensemble could have bought.
    """

    name = "lone"
    trainings: tuple[PositiveFloat, ...] = Field(
        (1.0,), min_length=1, description="factors on the epochs, which are rounded; one network for each"
    )

    def variants(self) -> dict[str, Method]:
        """Return one method for each factor, named by it."""
        return {f"lone {times:g}x": self.model_copy(update={"trainings": (times,)}) for times in self.trainings}

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        """Train the network. Raises UserError where the selection has nothing to train, or it diverges."""
        from pdiff_plugins.bayes.trainings.training import Trainings, one

        return one(Trainings(self.name, self.settings(bench.training, self.trainings[0]), self.start, zoo, bench, ctx))
