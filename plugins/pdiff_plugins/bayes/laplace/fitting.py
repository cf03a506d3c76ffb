"""Fitting, choosing the prior, and members; see `laplace`. G precisions, M members, P random numbers, C of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pdiff.bench import Bench
from pdiff.components import Generator
from pdiff.context import Context
from pdiff.data import Split, evaluation_batches, some
from pdiff.errors import UserError
from pdiff.files import below
from pdiff.mapped import mean_of
from pdiff.objective import Objective
from pdiff.training.loop import threads_for
from pdiff.zoo import Entry, Zoo
from pdiff_plugins.bayes.laplace.choice import best, likelihoods
from pdiff_plugins.bayes.laplace.curvature import Curvature, curvature_of
from pdiff_plugins.bayes.laplace.method import Laplace
from pdiff_plugins.bayes.laplace.varied import Varied, entries_of, network_of
from pdiff_plugins.bayes.likelihood import odd_loss

INSTEAD = "leave it out"
Answers = Callable[[Any], Tensor]
"""From inputs to log-probabilities `[M, B, K]`."""


class Approximation(Generator):
    """A Gaussian over some entries of a network."""

    def __init__(
        self, zoo: Zoo, begin_D: Tensor, entries: list[int], curvature: Curvature, prior: float, linearised: bool
    ):
        """`linearised`: see `Laplace.linearised`."""
        super().__init__()
        self.zoo, self.begin_D, self.numbers = zoo, begin_D, entries
        self.curvature, self.prior, self.linearised = curvature, prior, linearised

    @property
    def entries(self) -> list[Entry]:
        return [self.zoo.layout.entries[number] for number in self.numbers]

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        theta_MD = ctx.empty(count, self.zoo.layout.dim)
        draws = self.curvature.draws(count, self.prior, ctx.generator("sample"))
        for theta_D, delta_P in zip(theta_MD, draws, strict=True):
            theta_D.copy_(moved(self.begin_D, self.entries, delta_P))
        return theta_MD

    def answers(self, examples: Split, count: int, bench: Bench, ctx: Context) -> Tensor | None:
        if not self.linearised:
            return None
        delta_MP = torch.stack([*self.curvature.draws(count, self.prior, ctx.generator("sample"))]).to(ctx.device)
        varied = self.varied(bench.objective, ctx.device)
        with threads_for(varied.model, ctx.threads):
            return answered(lambda inputs: varied.linearised(delta_MP, inputs), examples, ctx)

    def varied(self, objective: Objective, device: torch.device) -> Varied:
        """Return the network as a function of what is random."""
        return Varied(network_of(objective, self.zoo.state_dict(self.begin_D), device), self.entries)

    def warnings(self) -> list[str]:
        return [self.facts["worse"]] if self.facts.get("worse") else []

    def tensors(self) -> dict[str, Tensor]:
        curvature = {f"curvature.{key}": value for key, value in self.curvature.tensors.items()}
        numbers, prior = torch.tensor(self.numbers), torch.tensor([self.prior], dtype=torch.float64)
        return {"begin": self.begin_D, "entries": numbers, "prior": prior} | curvature


def moved(begin_D: Tensor, entries: list[Entry], delta_P: Tensor) -> Tensor:
    """Return a network whose random entries are moved."""
    theta_D = begin_D.clone()
    for entry, part in zip(entries, delta_P.split([e.stop - e.start for e in entries]), strict=True):
        theta_D[entry.columns] += part
    return theta_D


def answered(answers: Answers, split: Split, ctx: Context) -> Tensor:
    """Return log-probabilities `[M, E, K]` of a split, on the CPU."""
    batches = evaluation_batches(split, 0, ctx.device)  # as large as is usual, whatever a run asks of its evaluations
    return torch.cat([answers(batch.inputs).float().cpu() for batch in batches], dim=1)


def fit(method: Laplace, zoo: Zoo, bench: Bench, ctx: Context) -> Approximation:
    """Take the curvature and choose the prior. Raises UserError where the network or the task is not of the kind."""
    objective, (weights,), (structure,), label = bench.objective, method.weights, method.structure, [*method.variants()]
    begin_D = zoo.base if method.begin == "base" else mean_of(zoo.theta_ND)
    model = network_of(objective, zoo.state_dict(begin_D), ctx.device)
    inputs = objective.split.batch(torch.zeros(1, dtype=torch.int64), ctx.device).inputs
    if not isinstance(inputs, Tensor):
        raise UserError("laplace: the library reads one tensor for each example, and here are several; leave it out")
    numbers, still = entries_of(model, zoo.layout, inputs, weights, structure)
    smoothed = getattr(objective.task, "label_smoothing", 0)  # of which the curvature is the same
    if (odd := odd_loss(objective, "laplace", INSTEAD)) and not smoothed:
        raise UserError(
            f"laplace: the loss of task {objective.task.name} ({odd[0]:.4g}) is not the cross-entropy of its log-"
            f"probabilities ({odd[1]:.4g}), of which the library takes the curvature; {INSTEAD}"
        )
    if still:
        ctx.warn(
            f"{label[0]}: Kronecker factors are of linear layers and convolutions alone; {len(still)} other parameters "
            f"stay as they are ({still[0]}, ...), which structure = 'diag' would vary"
        )
    keys = [zoo.layout.entries[number].key for number in numbers]
    with threads_for(model, ctx.threads):
        curvature, evidence_G = curvature_of(model, keys, structure, objective.split, method.grid, ctx.device)
        fitted = Approximation(zoo, begin_D, numbers, curvature, method.grid[0], method.linearised)
        told = _chosen(method, fitted, bench, evidence_G, ctx)
    examples = len(objective.split) * model(inputs).shape[1]
    begins = "one" if method.begin == "base" else "checkpoints"
    size = sum(e.stop - e.start for e in fitted.entries)
    fitted.facts |= {"examples": examples, "begins": begins, "random": size, "still": still} | told
    if worse := _worse(label[0], method, told):
        fitted.facts["worse"] = worse
        ctx.warn(worse)
    return fitted


def _chosen(method: Laplace, fitted: Approximation, bench: Bench, evidence_G: list[float], ctx: Context) -> Any:
    """Set the prior's precision; return it with the likelihoods of the grid, and of the plain network."""
    split = some(bench.examples(""), method.examples, ctx.generator("examples"))
    varied = fitted.varied(bench.objective, ctx.device)
    linear = method.linearised or method.weights == ("last_layer",)  # in which networks are, and all in one pass

    def of(prior: float) -> tuple[float, float]:
        draws = fitted.curvature.draws(method.members, prior, ctx.generator("prior"))
        if linear:
            delta_MP = torch.stack([*draws]).to(ctx.device)
            return _likelihoods(lambda inputs: varied.linearised(delta_MP, inputs), split, ctx)
        theta_MD = torch.stack([moved(fitted.begin_D, fitted.entries, delta_P) for delta_P in draws])
        return _likelihoods(lambda inputs: _networks(bench.objective, theta_MD, inputs), split, ctx)

    raw_G, calibrated_G = zip(*(of(prior) for prior in method.grid), strict=True)
    plain = _likelihoods(lambda inputs: varied.model(inputs)[None], split, ctx)
    by = [-value for value in evidence_G] if method.prior == "marglik" else calibrated_G if method.calibrated else raw_G
    place = best([*by])
    fitted.prior = method.grid[place]
    rows = zip(method.grid, raw_G, calibrated_G, evidence_G, strict=True)
    names = ("prior", "nll", "calibrated_nll", "evidence")
    return {
        "prior": fitted.prior, "nll": raw_G[place], "calibrated_nll": calibrated_G[place], "plain_nll": plain[0],
        "plain_calibrated_nll": plain[1], "grid": [dict(zip(names, row, strict=True)) for row in rows],
    }  # fmt: skip


def _networks(objective: Objective, theta_MD: Tensor, inputs: Any) -> Tensor:
    logp_MBK = objective.log_probabilities(theta_MD.to(inputs.device), inputs)
    assert logp_MBK is not None
    return logp_MBK


@torch.no_grad()
def _likelihoods(answers: Answers, split: Split, ctx: Context) -> tuple[float, float]:
    """Return (plain, calibrated) negative log-likelihood of the mean of the members' probabilities."""
    logp_MEK = answered(answers, split, ctx)
    return likelihoods(logp_MEK.logsumexp(dim=0) - math.log(len(logp_MEK)), split.targets)


def _worse(label: str, method: Laplace, told: dict[str, Any]) -> str:
    """Return what is to be said where the plain network has the better likelihood."""
    kind = "calibrated_nll" if method.calibrated else "nll"
    if told[kind] <= told[f"plain_{kind}"]:
        return ""
    word = "calibrated NLL" if method.calibrated else "NLL"
    return (
        f"{label}: no better than the network it is around: {word} on the selection split {told[kind]:.4f}, "
        f"alone {told[f'plain_{kind}']:.4f}, with the prior's precision {told['prior']:g}"
    )


def load(method: Laplace, tensors: dict[str, Tensor], zoo: Zoo) -> Approximation:
    """Rebuild what `fit` returned."""
    curvature, numbers = Curvature(below(tensors, "curvature.")), tensors["entries"].tolist()
    return Approximation(zoo, tensors["begin"], numbers, curvature, float(tensors["prior"]), method.linearised)
