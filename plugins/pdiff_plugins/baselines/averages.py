"""Baselines that average checkpoints: weighted means of some or all of them. See `baselines`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt

from pdiff import hookimpl
from pdiff.components import Generator, Method
from pdiff_plugins.baselines.plain import Baseline

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Zoo

ZENG = "Generative Modeling of Weights: Generalization or Memorization?, arXiv 2506.07998, section 4"


def combined(zoo: Zoo, chosen_MK: Tensor, weight_MK: Tensor, ctx: Context) -> Tensor:
    """Return theta_MD: for each row the checkpoints `chosen`, summed with `weight` (float64, rows of sum 1)."""
    import torch

    from pdiff.mapped import windows

    theta_MD = ctx.empty(len(chosen_MK), zoo.layout.dim)
    for _, theta_NW, into_MW in windows(zoo.theta_ND, theta_MD):
        for into_W, k_K, w_K in zip(into_MW, chosen_MK, weight_MK, strict=True):
            into_W.copy_(torch.einsum("k,kd->d", w_K, theta_NW[k_K].double()))
    return theta_MD


def some(count: int, of: int, checkpoints: int, generator: Any) -> Tensor:
    """Return `[count, of]` indices, each row without repetition; no more than there are checkpoints."""
    import torch

    return torch.rand(count, checkpoints, generator=generator).topk(min(of, checkpoints), dim=1).indices


class Average(Baseline):
    """Plain averages of checkpoints drawn at random."""

    name = "average"
    source: ClassVar[str] = ZENG
    of: tuple[PositiveInt, ...] = Field((16,), min_length=1, description="checkpoints in each; one population for each")

    def variants(self) -> dict[str, Method]:
        return {f"average {of}": Average(of=(of,)) for of in self.of}

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        chosen_MK = some(count, self.of[0], len(zoo), ctx.generator("average"))
        return combined(zoo, chosen_MK, torch.full(chosen_MK.shape, 1 / chosen_MK.shape[1], dtype=torch.float64), ctx)


class Mixture(Baseline):
    """Averages of random checkpoints with random weights (flat Dirichlet)."""

    name = "mixture"
    of: tuple[PositiveInt, ...] = Field(
        (5, 20), min_length=1, description="checkpoints in each; one population for each"
    )

    def variants(self) -> dict[str, Method]:
        return {f"mixture {of}": Mixture(of=(of,)) for of in self.of}

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        generator = ctx.generator("mixture")
        chosen_MK = some(count, self.of[0], len(zoo), generator)
        # Shares of exponential variables are Dirichlet(1, ..., 1).
        parts_MK = -(1 - torch.rand(chosen_MK.shape, generator=generator, dtype=torch.float64)).log()
        return combined(zoo, chosen_MK, parts_MK / parts_MK.sum(dim=1, keepdim=True), ctx)


class GreedySoup(Method):
    """Average of those checkpoints that help, tried best first (one network).

    One is kept if the score of the average does not fall.

    Scores are those of the selection split, so under `protocol = "paper"` it is fitted to the test split.
    """

    name = "greedy_soup"
    version = 2
    source: ClassVar[str] = "Wortsman et al. 2022, Model soups, arXiv 2203.05482, recipe 1"

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        import torch

        from pdiff.mapped import release

        first, *others = bench.score(zoo.theta_ND).argsort(descending=True, stable=True).tolist()
        members, sum_D = [first], zoo.theta_ND[first].double()
        best = float(bench.score(zoo.theta_ND[first][None])[0])
        for index in others:
            sum_D += zoo.theta_ND[index]
            score = float(bench.score((sum_D / (len(members) + 1)).float()[None])[0])
            if score >= best:
                members, best = [*members, index], score
            else:
                sum_D -= zoo.theta_ND[index]
            release(zoo.theta_ND)
        return Members(torch.tensor(members), zoo)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        return Members(tensors["members"], zoo)


class Members(Generator):
    """The average of some checkpoints."""

    def __init__(self, members: Tensor, zoo: Zoo):
        super().__init__(facts={"members": len(members)})
        self.members, self.zoo = members, zoo

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        from pdiff.mapped import windows

        theta_1D = ctx.empty(1, self.zoo.layout.dim)
        for _, theta_NW, into_1W in windows(self.zoo.theta_ND, theta_1D):
            into_1W.copy_(theta_NW[self.members].double().mean(dim=0))
        return theta_1D

    def tensors(self) -> dict[str, Tensor]:
        return {"members": self.members}


@hookimpl
def register_methods(register: Any) -> None:
    for method in (Average, Mixture, GreedySoup):
        register(method)
