"""Prompts from the zoo's best to the start's own metric. M starts, P prompts, D parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff_plugins.gpt.prompts.asking import SCORED, Asker, evenly_chosen, number, numbers, spread_of
from pdiff_plugins.gpt.prompts.starts import Starts
from pdiff_plugins.maths.median import median

NEAR = 0.1
"""Share of what was asked for, by which a mean may differ and still be said to reach it."""
CONTROLS = 16
"""Starts of the shuffled control."""
SHUFFLES = 20


def sweep(asker: Asker, starts: Starts, prompts: int, ctx: Context) -> tuple[dict[str, Any], Tensor]:
    """Return what was asked for and what came, and the networks theta_MD of the best prompt."""
    theta_MD = starts.theta_MD
    measure_M = asker.measured(theta_MD)
    wanted_MP = evenly(asker.best, measure_M, prompts)
    theta_MPD = _asked(asker, theta_MD, measure_M, wanted_MP, ctx.scope("sweep"))
    got = {split: _measured(asker, theta_MPD, split) for split in (asker.view.selection, SCORED)}
    scores = {
        "metric": asker.metric, "better": asker.better, "range": list(asker.range), "best": asker.best,
        "prompt_split": asker.view.selection, "scored_split": SCORED,
        "test": agreement(wanted_MP, got[SCORED]), "selection": agreement(wanted_MP, got[asker.view.selection]),
        "within": number(_within(wanted_MP, got[SCORED])), "real": real(asker, wanted_MP),
        "shuffled": shuffled(asker, theta_MD, measure_M, wanted_MP, ctx.scope("shuffled")),
        "groups": {
            name: _group(wanted_MP[rows], {split: got_MP[rows] for split, got_MP in got.items()}, asker)
            for name, rows in starts.parts().items()
        },
    }  # fmt: skip
    return scores, theta_MPD[:, 0].clone()  # a view would keep the networks of all prompts


def evenly(best: float, measure_M: Tensor, count: int) -> Tensor:
    """Return evenly spaced values from the best to each network's own, `[M, P]`."""
    share_P = torch.linspace(0, 1, count, dtype=torch.float64)
    return best + share_P * (measure_M[:, None] - best)


def _asked(asker: Asker, theta_MD: Tensor, measure_M: Tensor, wanted_MP: Tensor, ctx: Context) -> Tensor:
    """Return each start's networks, `[M, P, D]`."""
    each = wanted_MP.shape[1]
    got_KD = asker.ask(
        theta_MD.repeat_interleave(each, dim=0), wanted_MP.flatten(), ctx, measure_M.repeat_interleave(each)
    )
    return got_KD.unflatten(0, wanted_MP.shape)


def _measured(asker: Asker, theta_MPD: Tensor, split: str) -> Tensor:
    return asker.measured(theta_MPD.flatten(0, 1), split).unflatten(0, theta_MPD.shape[:2])


def _group(wanted_MP: Tensor, got: dict[str, Tensor], asker: Asker) -> dict[str, Any]:
    got_MP = got[SCORED]
    table = {"asked": wanted_MP.mean(dim=0), "mean": got_MP.mean(dim=0), "std": got_MP.std(dim=0, correction=0)}
    return {
        "count": len(wanted_MP), "test": agreement(wanted_MP, got_MP),
        "selection": agreement(wanted_MP, got[asker.view.selection]),
        "asked": numbers(wanted_MP), "got": numbers(got_MP),
        "table": {name: numbers(column_P) for name, column_P in table.items()},
    }  # fmt: skip


def agreement(asked_MP: Tensor, got_MP: Tensor) -> dict[str, Any]:
    """Return R2 (mean and median over starts), Pearson's and Spearman's correlation over all pairs.

    Of what is finite: `diverged` counts the networks that are not, `left_out` the starts without R2 because of them.
    """
    from scipy.stats import rankdata

    whole_M = got_MP.isfinite().all(dim=1)
    r2_M = r_squared(asked_MP[whole_M], got_MP[whole_M])
    r2_M = r2_M[~r2_M.isnan()]
    asked, got = _finite(asked_MP, got_MP)
    ranks = [torch.from_numpy(rankdata(values.numpy())) for values in (asked, got)]
    return {
        "r2": number(r2_M.mean()), "r2_median": number(median(r2_M)) if len(r2_M) else None,
        "pearson": correlation(asked, got), "spearman": correlation(*ranks),
        "diverged": int((~got_MP.isfinite()).sum()), "left_out": int((~whole_M).sum()),
    }  # fmt: skip


def _finite(asked_MP: Tensor, got_MP: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pairs whose network did not diverge, one row each."""
    finite_MP = got_MP.isfinite()
    return asked_MP[finite_MP], got_MP[finite_MP]


def r_squared(asked_MP: Tensor, got_MP: Tensor) -> Tensor:
    """Return 1 - SSE / SST of each network, `[M]`; the targets are what was asked. NaN where that does not vary.

    Peebles et al. 2022 call it prompt alignment.
    """
    error_M = (got_MP - asked_MP).square().sum(dim=1)
    total_M = (asked_MP - asked_MP.mean(dim=1, keepdim=True)).square().sum(dim=1)
    return torch.where(total_M > 0, 1 - error_M / total_M, torch.nan)


def correlation(a: Tensor, b: Tensor) -> float | None:
    """Return Pearson's correlation; None where one does not vary or is not finite."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    scale = float(a.norm() * b.norm())
    return number((a @ b) / scale) if scale > 0 else None


def shuffled(asker: Asker, theta_MD: Tensor, measure_M: Tensor, wanted_MP: Tensor, ctx: Context) -> float | None:
    """Return the correlation of what comes with the prompts that were to be given, when others were given.

    The others are the same prompts, shuffled over networks and places. What goes by its place and not by its prompt
    is told by a correlation that is not near 0. Of at most `CONTROLS` starts.
    """
    chosen = evenly_chosen(len(theta_MD), CONTROLS)
    theta_MD, measure_M, wanted_MP = theta_MD[chosen], measure_M[chosen], wanted_MP[chosen]
    other_MP = _unrelated(wanted_MP, ctx.generator("order"))
    theta_MPD = _asked(asker, theta_MD, measure_M, other_MP, ctx)
    return correlation(*_finite(wanted_MP, _measured(asker, theta_MPD, SCORED)))


def real(asker: Asker, wanted_MP: Tensor) -> dict[str, Any]:
    """Return the same of the zoo's own checkpoints, each time that which has nearest to the wanted metric.

    They have it on the selection split, where the zoo is measured, and on the test split what can be asked for at most.
    """
    measure_N, order_N = asker.view.bench.measures()[asker.metric].double().sort()
    right_MP = torch.searchsorted(measure_N, wanted_MP).clamp(1, len(measure_N) - 1)
    nearer_MP = (measure_N[right_MP] - wanted_MP).abs() < (measure_N[right_MP - 1] - wanted_MP).abs()
    chosen_MP = order_N[torch.where(nearer_MP, right_MP, right_MP - 1)]
    theta_MPD = asker.view.zoo.theta_ND[chosen_MP.flatten()].unflatten(0, chosen_MP.shape)
    got_MP = _measured(asker, theta_MPD, SCORED)
    table = {"asked": numbers(wanted_MP.mean(dim=0)), "mean": numbers(got_MP.mean(dim=0))}
    return agreement(wanted_MP, got_MP) | {"table": table}


def _unrelated(wanted_MP: Tensor, generator: torch.Generator) -> Tensor:
    """Return the prompts shuffled, in the one of several orders that goes least with their own: no chance is left."""
    wanted = wanted_MP.flatten()
    tried = [wanted[torch.randperm(len(wanted), generator=generator)] for _ in range(SHUFFLES)]
    return min(tried, key=lambda order: abs(correlation(order, wanted) or 0)).view_as(wanted_MP)


def _within(asked_MP: Tensor, got_MP: Tensor) -> Tensor:
    """Return the share of the prompts whose networks have in the mean what was asked for, to a tenth of it."""
    asked_P, got_P = asked_MP.mean(dim=0), got_MP.mean(dim=0)
    return ((got_P - asked_P).abs() <= NEAR * asked_P.abs()).double().mean()


def at_best(asker: Asker, start_MD: Tensor, best_MD: Tensor) -> dict[str, Any]:
    """Return metric and score of the networks of the best prompt, of the zoo's best, and of the starts."""
    choice = int(asker.cost(asker.view.bench.measures()[asker.metric]).argmin())
    theta = {"prompted": best_MD, "zoo": asker.view.zoo.theta_ND[[choice]], "starts": start_MD}
    scores = {
        name: spread_of(asker.measured(theta_MD, SCORED)) | _score(asker, theta_MD) for name, theta_MD in theta.items()
    }
    return scores.pop("prompted") | scores


def _score(asker: Asker, theta_MD: Tensor) -> dict[str, float | None]:
    view = asker.view
    score_M = view.recipe.task.score(view.bench.predict(theta_MD, SCORED), view.targets(SCORED))
    return {"score": number(score_M.mean())}
