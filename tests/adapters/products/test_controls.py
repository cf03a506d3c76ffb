"""Ways from a condition to adapters by their products, and directions of attributes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from pdiff.components import Ahead
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.testing import Points, tiny_zoo
from pdiff_plugins.adapters.products.populations import within
from pdiff_plugins.conditions.controls.directions import AttributeDirections
from pdiff_plugins.conditions.controls.kernel import Kernel
from pdiff_plugins.conditions.controls.near import Nearest, Neighbours
from pdiff_plugins.conditions.controls.ridge import Ridge
from tests.adapters.products.helpers import all_products, regauged, tiny_adapters, zoo_of

CTX = Context(seed=0, warn=lambda line: None)
SIZES = ((12, (10,)), (9, (2, 2, 2)))


@pytest.fixture
def zoo():
    """Adapters that are mixtures of three, by conditions, and each in factors of its own."""
    few, generator = zoo_of(3, rank=2, sizes=SIZES), torch.Generator().manual_seed(3)
    rows = [0, 0, 1, 1, 2, 2]
    theta_ND = regauged(few.theta_ND[rows], few.layout, generator)
    return replace(few, theta_ND=theta_ND, rows=[{}] * 6, condition_NC=torch.eye(3)[rows])


def asked(method, zoo, condition_MC):
    fitted = method.fit(zoo, Points(zoo), CTX)
    theta_MD = fitted.sample(len(condition_MC), Points(zoo), CTX, condition_MC)
    again = method.load({key: value.clone() for key, value in fitted.tensors().items()}, zoo, Points(zoo), CTX)
    assert again.sample(len(condition_MC), Points(zoo), CTX, condition_MC).equal(theta_MD)
    return theta_MD, fitted.facts


@pytest.mark.parametrize("method", [Neighbours, Kernel, Ridge, AttributeDirections])
def test_products_of_a_task_s_networks_are_averaged_whatever_their_factors(method, zoo) -> None:
    more = {Kernel: {"kernel": "rbf", "noises": (1e-6,)}, Ridge: {"penalties": (1e-6,)}}.get(method, {})
    theta_MD, facts = asked(method(of="products", **more), zoo, torch.eye(3))
    goal_MP = all_products(zoo.theta_ND[::2], zoo.layout)
    assert ((all_products(theta_MD, zoo.layout) - goal_MP).norm(dim=1) < 1e-4 * goal_MP.norm(dim=1)).all()
    if method is not AttributeDirections:  # which takes the first network as it is
        factors_MD, _ = asked(method(**more), zoo, torch.eye(3))
        assert ((all_products(factors_MD, zoo.layout) - goal_MP).norm(dim=1) > 0.1 * goal_MP.norm(dim=1)).any()
    assert facts["leave_one_out"] >= 0


@pytest.mark.parametrize("method", [Neighbours(of="products"), AttributeDirections(of="products"), Nearest()])
def test_what_they_can_hold_is_of_products(method, zoo) -> None:
    few = replace(zoo, theta_ND=zoo.theta_ND[:3], rows=zoo.rows[:3], condition_NC=torch.eye(3))  # 0 = 1, and 2
    _, bench = tiny_adapters()
    bench = replace(bench, zoo=few)
    theta_MD = regauged(few.theta_ND, few.layout, torch.Generator().manual_seed(9))
    left_MD = method.fit(few, bench, CTX).through(theta_MD, bench, CTX)
    goal_MP = all_products(theta_MD, few.layout)
    assert ((all_products(left_MD, few.layout) - goal_MP).norm(dim=1) < 1e-4 * goal_MP.norm(dim=1)).all()


def test_weights_within_a_zoo_are_those_of_least_squares_of_products() -> None:
    made, others = zoo_of(5, bias=True), zoo_of(3, bias=True, seed=1)
    x_NP, y_MP = (_written(each) for each in (made, others))
    mean_P = x_NP.mean(dim=0)
    wanted_MN = torch.linalg.lstsq((x_NP - mean_P).T, (y_MP - mean_P).T, driver="gelsd").solution.T
    assert within(made, others.theta_ND).allclose(wanted_MN, atol=1e-8)


def _written(zoo):
    biases = [zoo.theta_ND[:, entry.columns].double() for entry in zoo.layout.entries if entry.key.endswith("bias")]
    return torch.cat([all_products(zoo.theta_ND, zoo.layout), *biases], dim=1)


def test_what_they_leave_is_of_products(zoo) -> None:
    other = replace(zoo, theta_ND=regauged(zoo.theta_ND, zoo.layout, torch.Generator()))
    told = [Ridge(of="products").fit(each, Points(each), CTX).facts["leave_one_out"] for each in (zoo, other)]
    assert told[0] == pytest.approx(told[1], rel=1e-4)


def test_attributes_are_added_along_their_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    basis_CD, mean_D = torch.randn(2, 83, generator=generator), torch.randn(83, generator=generator)
    zoo, levels = tiny_zoo(12), torch.tensor([[a, b] for a in range(4) for b in range(3)], dtype=torch.float32)
    noise_ND = 1e-3 * torch.randn(12, 83, generator=generator)
    zoo = replace(zoo, theta_ND=zoo.layout.from_free(mean_D + levels @ basis_CD + noise_ND), condition_NC=levels)
    wanted = torch.tensor([[2.0, 1.0], [5.0, 1.0], [1.5, 4.0]])
    theta_MD, facts = asked(AttributeDirections(components=(1, 2)), zoo, wanted)
    assert theta_MD[0].allclose(zoo.theta_ND[7], atol=1e-6) and facts["chosen"] == {"components": 2}
    free_MD = zoo.layout.to_free(theta_MD)
    assert (free_MD - (mean_D + wanted @ basis_CD)).abs().max() < 0.05 and facts["leave_one_out"] < 1e-4


def test_of_weights_that_tell_nothing_it_is_said() -> None:
    zoo = replace(tiny_zoo(30), condition_NC=torch.eye(6).repeat(5, 1))
    lines: list[str] = []
    AttributeDirections().fit(zoo, Points(zoo), Context(seed=0, warn=lines.append))
    assert "can hardly be told" in lines[0]


def test_products_without_adapters_are_refused_ahead_and_at_the_fit(zoo, tmp_path) -> None:
    recipe = SimpleNamespace(encoder=1, selector=SimpleNamespace(extends=False))
    for method in (Kernel(of="products"), AttributeDirections(of="products"), Neighbours()):
        ahead = Ahead(recipe, "method", tmp_path, True, None)
        method.foresee(ahead)
        assert ahead.what("lacks") == (
            ["method.of = 'products': the selection holds no adapters; use selector.name = 'lora'"]
            if method.name != "neighbours" else []
        )  # fmt: skip
    plain = replace(tiny_zoo(6), condition_NC=torch.eye(6))
    with pytest.raises(UserError, match="the selection holds no adapters"):
        Ridge(of="products").fit(plain, Points(plain), CTX)
