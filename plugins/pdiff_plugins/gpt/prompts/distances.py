"""How near networks lie to those of training, hidden units matched. M networks, T training runs, D parameters.

H hidden units, S numbers of a unit, R numbers that no hidden unit owns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.view import View
from pdiff.zoo import Layout
from pdiff_plugins.gpt.prompts.asking import evenly_chosen, number
from pdiff_plugins.gpt.prompts.starts import HELD_OUT, Starts, ends
from pdiff_plugins.gpt.tokens import Kinds, by_neuron
from pdiff_plugins.maths.neighbours import neighbours
from pdiff_plugins.symmetry.align import aligned, symmetry_of
from pdiff_plugins.symmetry.permutations import Symmetry

CANDIDATES = 5
"""Networks that are matched one by one, where the nearest cannot be found exactly; the nearest after alignment."""


def known_symmetry(view: View, ctx: Context) -> Symmetry | None:
    """Return the permutations of hidden units within the selected entries; None where there are none, which is said.

    None too where the selection has coordinates of its own, as adapters have their products.
    """
    one_1D = view.zoo.theta_ND[:1]
    if view.bench.coordinates(one_1D) is not one_1D:
        return None
    try:
        return symmetry_of(view.bench, view.zoo.layout, "evaluate prompts")
    except UserError as error:
        ctx.warn(f"{error}; distances are taken as they are")
        return None


def last_checkpoints(view: View, most: int) -> Tensor:
    """Return the last checkpoint of at most so many training runs, evenly chosen, theta_TD."""
    runs = list(ends((row, index) for index, row in enumerate(view.zoo.rows)).values())
    return view.zoo.theta_ND[[runs[index][1] for index in evenly_chosen(len(runs), most).tolist()]]


def nearness(
    view: View, starts: Starts, best_MD: Tensor, most: int, symmetry: Symmetry | None, ctx: Context
) -> dict[str, Any]:
    """Return mean distances to the nearest training run's last checkpoint: of prompted networks, of unseen runs.

    Of both their standard deviation over networks too, and with hidden units matched where they can be. At least one
    prompted network is finite; others are left out.
    And of prompted networks to the last checkpoint of their own run, which no method has seen, beside the start's.
    """
    last_TD, coordinates = last_checkpoints(view, most), view.bench.coordinates
    finite_MD = best_MD[best_MD.isfinite().all(dim=1)]
    theta = {"prompted": finite_MD} | ({} if starts.last_MD is None else {"unseen": starts.last_MD})
    means: dict[str, Any] = {"runs": len(last_TD), "matched": symmetry is not None}
    for name, theta_MD in theta.items():
        means[name] = _spread("raw", neighbours(coordinates(theta_MD), coordinates(last_TD))[0])
        if symmetry:
            means[name] |= _spread("matched", matched(theta_MD, last_TD, symmetry, view.zoo.layout, ctx))
    if starts.last_MD is not None:
        held_out = starts.parts()[HELD_OUT]
        both, last_MZ = (best_MD[held_out], starts.theta_MD[held_out]), coordinates(starts.last_MD)
        apart = (number((coordinates(theta_MD) - last_MZ).norm(dim=1).mean()) for theta_MD in both)
        means["own_run"] = dict(zip(("prompted", "starts"), apart, strict=True))
    return means


def _spread(kind: str, nearest_M: Tensor) -> dict[str, float | None]:
    return {kind: number(nearest_M.mean()), f"{kind}_std": number(nearest_M.std(correction=0))}


def matched(theta_MD: Tensor, others_TD: Tensor, symmetry: Symmetry, layout: Layout, ctx: Context) -> Tensor:
    """Return the distance to the nearest of others in its best order of hidden units, `[M]`.

    Exact where one permutation moves each of its units once, as in a perceptron of one hidden layer; else of a local
    optimum, and sought among the nearest after alignment to one network.
    """
    kinds = by_neuron(layout, symmetry)
    if len(symmetry.sizes) == 1 and not any(kind.placed for kind in kinds.kinds):
        return _exact(theta_MD.double(), others_TD.double(), kinds)
    return _searched(theta_MD, others_TD, symmetry, layout, ctx)


def _exact(theta_MD: Tensor, others_TD: Tensor, kinds: Kinds) -> Tensor:
    """Assign units to units, for each pair of networks."""
    from scipy.optimize import linear_sum_assignment

    units = max(range(len(kinds.kinds)), key=lambda place: len(kinds.kinds[place].index_US))
    theirs = kinds.split(others_TD)
    others_THS, best = theirs.pop(units), []
    for ours in zip(*kinds.split(theta_MD), strict=True):
        both = zip(_but(ours, units), theirs, strict=True)
        rest_T = sum((tokens_US - tokens_TUS).square().sum(dim=(1, 2)) for tokens_US, tokens_TUS in both)
        cost_THH = torch.cdist(ours[units].expand_as(others_THS), others_THS).square()
        least_T = torch.tensor([cost[linear_sum_assignment(cost)].sum() for cost in cost_THH.numpy()])
        best.append((rest_T + least_T).min().clamp_min(0).sqrt())
    return torch.stack(best)


def _but(kinds: tuple[Tensor, ...], place: int) -> list[Tensor]:
    return [tokens_US for index, tokens_US in enumerate(kinds) if index != place]


def _searched(theta_MD: Tensor, others_TD: Tensor, symmetry: Symmetry, layout: Layout, ctx: Context) -> Tensor:
    generator = ctx.generator("match")
    near_MD, others_TD = (aligned(x_KD, others_TD[0], symmetry, layout, generator) for x_KD in (theta_MD, others_TD))
    close_MK = torch.cdist(near_MD, others_TD).topk(min(CANDIDATES, len(others_TD)), largest=False).indices
    best = []
    for theta_D, close_K in zip(near_MD, close_MK, strict=True):
        each = [aligned(theta_D[None], others_TD[index], symmetry, layout, generator)[0] for index in close_K.tolist()]
        best.append((torch.stack(each) - others_TD[close_K]).double().norm(dim=1).min())
    return torch.stack(best)
