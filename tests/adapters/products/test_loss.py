"""The loss of products: against matrices written out, their autograd, and other factors; and what learns by it."""

from __future__ import annotations

import pytest
import torch

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.testing import tiny_zoo
from pdiff_plugins.adapters.products.loss import Products
from pdiff_plugins.conditions.generated.methods import Hypernetwork
from pdiff_plugins.maths import normalise
from tests.adapters.products.helpers import all_products, products_of, regauged, tiny_adapters, zoo_of

CTX = Context(seed=0)


def written_out(x_GD, drawn_GD, layout):
    """Return the loss of explicit products, by torch's own singular values."""
    parts = []
    for p_GOI, t_GOI in zip(products_of(x_GD, layout), products_of(drawn_GD, layout), strict=True):
        cosine_G = torch.nn.functional.cosine_similarity(p_GOI.flatten(1), t_GOI.flatten(1))
        s_GK, t_GK = torch.linalg.svdvals(p_GOI), torch.linalg.svdvals(t_GOI)
        each = []
        for s_K, t_K in zip(s_GK, t_GK, strict=True):
            kept = next(k for k in range(1, len(t_K) + 1) if t_K[:k].square().sum() >= 0.85 * t_K.square().sum())
            each.append((s_K - t_K)[:kept].square().sum() / t_K[:kept].square().sum())
        parts.append((1 - cosine_G + 2 * torch.stack(each)).mean())
    return torch.stack(parts).mean()


def test_it_is_that_of_products_written_out_and_so_is_its_gradient() -> None:
    zoo = zoo_of(6)
    teacher = Products(zoo, normalise.per_column(zoo), CTX)
    drawn = teacher.draw(torch.arange(3), torch.Generator())
    x_GD = zoo_of(3, seed=1).theta_ND.requires_grad_()
    loss, slow = teacher.loss(x_GD, drawn), written_out(x_GD, drawn, zoo.layout)
    torch.testing.assert_close(loss.double(), slow, atol=1e-4, rtol=1e-4)
    ours, theirs = (torch.autograd.grad(each, x_GD)[0] for each in (loss, slow))
    torch.testing.assert_close(ours, theirs, atol=1e-4 * float(theirs.abs().max()), rtol=1e-3)


def test_other_factors_of_targets_and_of_what_is_written_change_nothing() -> None:
    zoo, generator = zoo_of(6, bias=True), torch.Generator().manual_seed(0)
    teacher = Products(zoo, normalise.per_column(zoo), CTX)
    drawn, x_GD = zoo.theta_ND[:3], zoo.theta_ND[3:]
    turned = [regauged(each, zoo.layout, generator) for each in (x_GD, drawn)]
    torch.testing.assert_close(teacher.loss(*turned), teacher.loss(x_GD, drawn), atol=1e-5, rtol=1e-5)
    assert teacher.loss(turned[1], drawn) < 1e-5 < teacher.loss(x_GD, drawn)


def test_adapters_that_begin_with_nothing_have_a_direction_to_learn() -> None:
    zoo = zoo_of(4)
    teacher, start_D = Products(zoo, normalise.per_column(zoo), CTX), zoo.base.requires_grad_()
    loss = teacher.loss(start_D.expand(4, -1), zoo.theta_ND)
    (slope_D,) = torch.autograd.grad(loss, start_D)
    assert float(loss.detach()) == pytest.approx(3, abs=1e-5) and slope_D.isfinite().all() and slope_D.any()
    nothing = teacher.loss(zoo.theta_ND, torch.zeros_like(zoo.theta_ND))
    assert nothing == 0


def test_a_hypernetwork_learns_the_products_of_a_zoo_in_any_factors() -> None:
    zoo, bench = tiny_adapters()
    zoo.condition_NC = torch.eye(6)
    zoo.theta_ND = regauged(zoo.theta_ND, zoo.layout, torch.Generator().manual_seed(0))
    method = Hypernetwork(loss="products", steps=600, width=64, depth=1, ema=0.9, lr=1e-2)
    fitted = method.fit(zoo, bench, CTX)
    theta_ND = fitted.sample(6, bench, CTX, zoo.condition_NC)
    ours_NP, own_NP = (all_products(each_ND, zoo.layout) for each_ND in (theta_ND, zoo.theta_ND))
    apart_NN = torch.cdist(ours_NP, own_NP)
    assert apart_NN.argmin(dim=1).tolist() == list(range(6))
    assert (apart_NN.diagonal() < 0.3 * own_NP.norm(dim=1)).all(), apart_NN.diagonal() / own_NP.norm(dim=1)


def test_what_is_no_adapter_is_refused() -> None:
    zoo = tiny_zoo(5)
    with pytest.raises(UserError, match=r"method\.loss = 'products': the selection holds no adapters"):
        Products(zoo, normalise.per_column(zoo), CTX)


@pytest.mark.parametrize("far", [1e30, torch.inf, torch.nan])
def test_of_what_has_run_away_the_loss_is_not_finite(far: float) -> None:
    zoo = zoo_of(4)
    loss = Products(zoo, normalise.per_column(zoo), CTX).loss(zoo.theta_ND * far, zoo.theta_ND)
    assert not loss.isfinite()
