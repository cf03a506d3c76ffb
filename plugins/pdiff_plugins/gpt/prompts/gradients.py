"""What gradients make of the same starts: one step, and SGD and Adam. M networks, D parameters, R rates, S steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff.data import Batch, Split, evaluation_batches, some
from pdiff.objective import Objective
from pdiff.running.device import steady_attention
from pdiff.running.memory import in_chunks, ran_out
from pdiff_plugins.gpt.prompts.asking import SCORED, Asker, evenly_chosen, number, numbers

STEP_RATES = tuple(10.0 ** (power / 2) for power in range(-8, 5))
"""Of the single step, 1e-4 to 100."""
RATES = {"sgd": (0.01, 0.03, 0.1, 0.3, 1.0), "adam": (1e-3, 3e-3, 1e-2, 3e-2, 0.1)}
POINTS = 20
"""Steps after which networks on their way are measured."""
AT_ONCE = 2**26
"""Numbers that are kept at a time for gradients: parameters, and what is in between them and the losses."""


def gradients(objective: Objective, theta_MD: Tensor, batch: Batch) -> Tensor:
    """Return the gradient of each network's loss on the batch, `[M, D]`.

    Takes fewer networks at a time when memory runs out, and raises that error where one alone is too much.
    """

    def loss(theta_D: Tensor) -> Tensor:
        with steady_attention(theta_MD.device):
            return objective.losses(theta_D[None], batch)[0]

    gradient = torch.func.grad(loss)
    try:
        each = theta_MD.shape[1] + kept(objective, theta_MD[:1], batch)
        return in_chunks(torch.func.vmap(gradient), theta_MD, max(1, AT_ONCE // each))
    except RuntimeError as error:  # a network or a loss that torch.func.vmap does not take
        if ran_out(error):
            raise
        return torch.stack([gradient(theta_D) for theta_D in theta_MD])


def kept(objective: Objective, theta_MD: Tensor, batch: Batch) -> int:
    """Return how many numbers autograd keeps of the networks' losses on the batch, until their gradient is taken."""
    sizes = []

    def pack(saved: Tensor) -> Tensor:
        sizes.append(saved.numel())
        return saved

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        objective.losses(theta_MD.detach().requires_grad_(), batch)
    return sum(sizes)


def whole_gradients(objective: Objective, theta_MD: Tensor, split: Split, device: torch.device) -> Tensor:
    """Return the gradient of each network's mean loss over a split, `[M, D]` on the CPU, batch by batch."""
    theta_MD, total_MD = theta_MD.to(device), torch.zeros_like(theta_MD, device=device)
    for batch in evaluation_batches(split, 0, device):
        total_MD += len(batch.targets) / len(split) * gradients(objective, theta_MD, batch)
    return total_MD.cpu()


def one_step(asker: Asker, start_MD: Tensor, examples: int, ctx: Context) -> dict[str, Any]:
    """Return the best that one step along the gradient, or its sign, gives: rate, mean metric, number of examples."""
    objective = asker.view.bench.objective
    split = some(objective.split, examples, ctx.generator("gradient"))
    slope_MD = whole_gradients(objective, start_MD, split, ctx.device)
    ways = {"gradient": slope_MD, "sign": slope_MD.sign()}
    return {name: _best_step(asker, start_MD, way_MD) | {"examples": len(split)} for name, way_MD in ways.items()}


def _best_step(asker: Asker, start_MD: Tensor, slope_MD: Tensor) -> dict[str, float | None]:
    """Choose the rate on the selection split."""
    tried = [start_MD - rate * slope_MD for rate in STEP_RATES]
    cost_R = torch.stack([asker.cost(asker.measured(theta_MD)).mean() for theta_MD in tried])
    choice = int(cost_R.argmin())
    return {"rate": STEP_RATES[choice], "metric": number(asker.measured(tried[choice], SCORED).mean())}


def curves(
    asker: Asker, start_MD: Tensor, prompted_MD: Tensor, count: int, steps: int, batch_size: int, ctx: Context
) -> dict[str, Any]:
    """Return the mean metric of SGD (momentum 0.9) and Adam by step, and when each reaches what one update gives.

    From `count` of the starts, evenly chosen; `prompted_MD` are the same starts' networks of the best prompt. The rate
    is that which gets as far as these in the fewest steps, or else furthest in all of them, on the selection split.
    """
    chosen = evenly_chosen(len(start_MD), count)
    at = measured_steps(steps)
    paths = _train(asker, start_MD[chosen], at, batch_size, ctx)
    goal = asker.cost(asker.measured(prompted_MD[chosen]).mean())
    best = {name: _best_curve(asker, *both, RATES[name], goal) for name, both in paths.items()}
    prompted = number(asker.measured(prompted_MD[chosen], SCORED).mean())
    for curve in best.values():
        good = (step for step, metric in zip(at, curve["metric"], strict=True) if asker.as_good(metric, prompted))
        curve["reached"] = next(good, None)
    start = number(asker.measured(start_MD[chosen], SCORED).mean())
    return {"steps": at, "networks": len(chosen), "start": start, "prompted": prompted} | best


def measured_steps(steps: int) -> list[int]:
    """Return at most `POINTS` steps, geometrically spaced from 1 to the last."""
    growth = steps ** (1 / (POINTS - 1))
    return sorted({min(round(growth**power), steps) for power in range(POINTS)} | {steps})


def _train(
    asker: Asker, start_MD: Tensor, at: list[int], batch_size: int, ctx: Context
) -> dict[str, tuple[Tensor, Tensor]]:  # fmt: skip
    """Return optimizer -> mean metric after the steps `at`, `[R, S]`, on the selection split and on the test split.

    All are trained together, and measured on their way: of large networks there is no room for so many.
    """
    objective = asker.view.bench.objective
    optimizers, generator = _optimizers(start_MD.to(ctx.device)), ctx.generator("optimizers")
    parameters = [group["params"][0] for optimizer in optimizers.values() for group in optimizer.param_groups]
    means = []
    with ctx.progress.step("optimizers", at[-1]) as bar:
        for step in range(1, at[-1] + 1):
            batch = objective.batch(batch_size, generator, ctx.device)
            slopes = gradients(objective, torch.cat(parameters).detach(), batch).split(len(start_MD))
            for theta_MD, slope_MD in zip(parameters, slopes, strict=True):
                theta_MD.grad = slope_MD
            for optimizer in optimizers.values():
                optimizer.step()
            if step in at:
                means.append(_means(asker, torch.stack(parameters).detach().cpu()))
            bar.advance()
    by_optimizer = torch.stack(means, dim=2).split([len(rates) for rates in RATES.values()], dim=1)
    return {name: (selection_RS, test_RS) for name, (selection_RS, test_RS) in zip(RATES, by_optimizer, strict=True)}


def _optimizers(start_MD: Tensor) -> dict[str, torch.optim.Optimizer]:
    """Return one of each kind, with a copy of the starts for each of its rates."""

    def copies(rates: tuple[float, ...]) -> list[dict[str, Any]]:
        return [{"params": [torch.nn.Parameter(start_MD.clone())], "lr": rate} for rate in rates]

    return {"sgd": torch.optim.SGD(copies(RATES["sgd"]), momentum=0.9), "adam": torch.optim.Adam(copies(RATES["adam"]))}


def _best_curve(
    asker: Asker, selection_RS: Tensor, test_RS: Tensor, rates: tuple[float, ...], goal: Tensor
) -> dict[str, Any]:  # fmt: skip
    cost_RS = asker.cost(selection_RS)
    wanting_R = (cost_RS > goal).int().cumprod(dim=1).sum(dim=1)
    choice = min(range(len(rates)), key=lambda place: (int(wanting_R[place]), float(cost_RS[place, -1])))
    return {"rate": rates[choice], "metric": numbers(test_RS[choice])}


def _means(asker: Asker, theta_RMD: Tensor) -> Tensor:
    """Return the mean metric over networks on the selection split and on the test split, `[2, R]`."""
    both = (asker.measured(theta_RMD.flatten(0, 1), split) for split in (asker.view.selection, SCORED))
    return torch.stack([measure.view(theta_RMD.shape[:2]).mean(dim=1) for measure in both])
