"""Controls: each against its closed form, and leave-one-out errors against the loop that leaves out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import Ridge as PlainRidge
from sklearn.preprocessing import PolynomialFeatures

from pdiff.components import Ahead
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.mapped import windows
from pdiff.testing import Points, check_component, tiny_zoo
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.conditions.controls import left_out, regression
from pdiff_plugins.conditions.controls.kernel import Kernel
from pdiff_plugins.conditions.controls.known import distances, nearest, needs
from pdiff_plugins.conditions.controls.near import Nearest, Neighbours
from pdiff_plugins.conditions.controls.ridge import Ridge
from pdiff_plugins.maths import normalise

METHODS = [
    Nearest(), Neighbours(), Neighbours(count=3, distance="cosine"), Ridge(), Ridge(products=2), Kernel(),
    Kernel(kernel="rbf"),
]  # fmt: skip
BITS = torch.tensor([[n >> c & 1 for c in range(5)] for n in range(1, 31)], dtype=torch.float32)
FREE = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))


def zoo_of(condition_NC: torch.Tensor, noise: float = 0.1) -> Zoo:
    """Return networks whose coordinates without bounds are a bent function of their conditions, and noise."""
    generator = torch.Generator().manual_seed(0)
    layout = Layout((Entry("w", (2, 3), 0), Entry("running_var", (2,), 6, positive=True)))
    mixing = torch.randn(condition_NC.shape[1], 8, generator=generator)
    x_ND = (condition_NC @ mixing).sin() + noise * torch.randn(len(condition_NC), 8, generator=generator)
    anchor = {"w": torch.zeros(2, 3), "running_var": torch.ones(2)}
    return Zoo(layout.from_free(x_ND), layout, anchor, [{}] * len(x_ND), condition_NC=condition_NC)


@pytest.fixture(autouse=True, params=[65_536, 3])
def columns_at_a_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalise, "COLUMNS", request.param)
    monkeypatch.setitem(windows.__kwdefaults__, "width", request.param)


def fitted(method, zoo: Zoo):
    return method.fit(zoo, Points(zoo), Context(seed=0, warn=lambda line: None))


def asked(method, zoo: Zoo, condition_MC: torch.Tensor) -> torch.Tensor:
    return fitted(method, zoo).sample(len(condition_MC), Points(zoo), Context(seed=0), condition_MC)


def free(zoo: Zoo) -> np.ndarray:
    return zoo.layout.to_free(zoo.theta_ND).double().numpy()


def close(theta_MD: torch.Tensor, x_MD: np.ndarray, zoo: Zoo) -> bool:
    return np.allclose(zoo.layout.to_free(theta_MD).numpy(), x_MD, atol=1e-5)


def test_the_nearest_is_copied_and_of_equally_near_ones_the_first() -> None:
    zoo = zoo_of(torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0]]))
    wanted_MC = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]])
    assert asked(Nearest(), zoo, wanted_MC).equal(zoo.theta_ND[[0, 2, 1, 1]])
    assert asked(Nearest(distance="hamming"), zoo, wanted_MC).equal(zoo.theta_ND[[0, 2, 1, 1]])
    assert asked(Nearest(distance="cosine"), zoo, torch.tensor([[0.0, 0.2, 9]])).equal(zoo.theta_ND[[1]])


def test_neighbours_are_averaged_and_variances_stay_positive() -> None:
    zoo = zoo_of(BITS[[3, 0, 1, 6, 14, 20]])
    x_ND, distance_N = free(zoo), (zoo.condition_NC - BITS[2]).abs().sum(dim=1)
    for count, far in ((1, 1), (3, 1), (5, 3)):
        near_N = (distance_N <= far).numpy()
        assert near_N.sum() >= count > (distance_N < far).sum()
        theta_MD = asked(Neighbours(count=count), zoo, BITS[[2]])
        assert close(theta_MD, x_ND[near_N].mean(axis=0, keepdims=True), zoo) and (theta_MD[:, 6:] > 0).all()
    assert close(asked(Neighbours(count=99), zoo, BITS[[2]]), x_ND.mean(axis=0, keepdims=True), zoo)


def test_both_neighbours_of_an_angle_are_equally_near_though_rounding_parts_them() -> None:
    angle_N = torch.arange(12, dtype=torch.float64).mul(30).deg2rad()
    circle_NC = torch.stack([angle_N.cos(), angle_N.sin()], dim=1).float()
    for asked in range(12):
        others = [number for number in range(12) if number != asked]
        away_MT = distances(circle_NC[[asked]], circle_NC[others], "euclidean")
        near = [others[place] for place in nearest(away_MT)[0].nonzero().flatten().tolist()]
        assert sorted(near) == sorted([(asked - 1) % 12, (asked + 1) % 12])


def test_tasks_count_alike_however_many_networks_they_have() -> None:
    zoo = zoo_of(torch.tensor([[0.0, 0], [0, 0], [0, 0], [1, 1]]))
    x_ND = free(zoo)
    expected_D = (x_ND[:3].mean(axis=0) + x_ND[3]) / 2
    assert close(asked(Neighbours(), zoo, torch.tensor([[0.0, 1]])), expected_D[None], zoo)
    for method in (Ridge(penalties=(1e9,)), Kernel(noises=(1e9,))):
        assert close(asked(method, zoo, torch.tensor([[0.0, 1]])), expected_D[None], zoo)


def product(features_NF: np.ndarray, degree: int, bits: bool) -> np.ndarray:
    scaled = features_NF if bits else (features_NF - FREE.numpy().mean(axis=0)) / FREE.numpy().std(axis=0)
    return PolynomialFeatures(degree, interaction_only=bits, include_bias=False).fit_transform(scaled)


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("condition_NC", [BITS, FREE], ids=["bits", "numbers"])
def test_ridge_is_that_of_scikit_learn_and_its_leave_one_out_error_that_of_the_loop(condition_NC, degree) -> None:
    bits = condition_NC is BITS
    zoo, new_MC = zoo_of(condition_NC), BITS[:4] * 0 + BITS[5] if bits else FREE[:4] + 0.1
    phi_NF, x_ND = product(condition_NC.numpy(), degree, bits), free(zoo)
    alpha = 0.03 * ((phi_NF - phi_NF.mean(axis=0)) ** 2).sum(axis=1).mean()
    method = Ridge(products=degree, penalties=(0.03,))
    expected_MD = PlainRidge(alpha).fit(phi_NF, x_ND).predict(product(new_MC.numpy(), degree, bits))
    assert close(asked(method, zoo, new_MC), expected_MD, zoo)
    error = 0.0
    for n, rest in leaving(len(zoo)):
        error += ((PlainRidge(alpha).fit(phi_NF[rest], x_ND[rest]).predict(phi_NF[[n]]) - x_ND[n]) ** 2).sum()
    share = error / ((x_ND - x_ND.mean(axis=0)) ** 2).sum()
    assert fitted(method, zoo).facts == {
        "leave_one_out": pytest.approx(share, rel=1e-5), "chosen": {"features": phi_NF.shape[1], "penalty": 0.03}
    }  # fmt: skip


def leaving(count: int):
    return [(n, np.arange(count) != n) for n in range(count)]


def process(kernel, x_ND: np.ndarray, known, new, noise: float) -> np.ndarray:
    """Return the mean of a Gaussian process about the average."""
    mean_D = x_ND.mean(axis=0)
    return mean_D + kernel(new, known) @ np.linalg.solve(
        kernel(known, known) + noise * np.eye(len(x_ND)), x_ND - mean_D
    )


def hamming(a_MC: np.ndarray, b_NC: np.ndarray) -> np.ndarray:
    return 0.7 ** (a_MC[:, None] != b_NC).sum(axis=2)


def test_the_kernel_is_a_gaussian_process_and_its_leave_one_out_error_that_of_the_loop() -> None:
    zoo, method = zoo_of(BITS[4:]), Kernel(rhos=(0.7,), noises=(0.01,))
    x_ND, known_NC = free(zoo), BITS[4:].numpy()
    assert close(asked(method, zoo, BITS[:9]), process(hamming, x_ND, known_NC, BITS[:9].numpy(), 0.01), zoo)
    errors_ND = [
        process(hamming, x_ND[rest], known_NC[rest], known_NC[[n]], 0.01)[0] - x_ND[n] for n, rest in leaving(len(zoo))
    ]
    share = (np.array(errors_ND) ** 2).sum() / ((x_ND - x_ND.mean(axis=0)) ** 2).sum()
    facts = {"leave_one_out": pytest.approx(share), "chosen": {"kernel": "hamming", "rho": 0.7, "noise": 0.01}}
    assert fitted(method, zoo).facts == facts


def test_numbers_get_a_kernel_of_distances_as_scikit_learn_has_it() -> None:
    zoo, method = zoo_of(FREE), Kernel(lengths=(0.5,), noises=(0.01,))
    x_ND = free(zoo)
    away_NN = np.linalg.norm(FREE.double().numpy()[:, None] - FREE.double().numpy(), axis=2)
    length = 0.5 * np.median(away_NN[away_NN > 0])
    gp = GaussianProcessRegressor(RBF(length), alpha=0.01, optimizer=None).fit(FREE, x_ND - x_ND.mean(axis=0))
    assert close(asked(method, zoo, FREE[:5] + 0.2), gp.predict(FREE[:5] + 0.2) + x_ND.mean(axis=0), zoo)


@pytest.mark.parametrize(
    "method", [Nearest(), Neighbours(), Neighbours(count=3, distance="cosine"), Kernel(rhos=(0.7,), noises=(0.1,))]
)
def test_of_tasks_with_several_networks_all_are_left_out_together(method) -> None:
    zoo = zoo_of(BITS[[*range(20), *range(7), *range(3)]], noise=0.5)
    x_ND, square = free(zoo), 0.0
    for task in range(20):
        mine_N = (zoo.condition_NC == BITS[task]).all(dim=1)
        rest = zoo.subset((~mine_N).nonzero()[:, 0].tolist())
        guess_1D = zoo.layout.to_free(asked(method, rest, BITS[[task]])).numpy()
        square += ((x_ND[mine_N] - guess_1D) ** 2).sum()
    share = square / ((x_ND - x_ND.mean(axis=0)) ** 2).sum()
    assert fitted(method, zoo).facts["leave_one_out"] == pytest.approx(share, rel=1e-5)


@pytest.mark.parametrize("method", [Ridge(products=2), Kernel(), Kernel(kernel="rbf")], ids=repr)
def test_the_setting_of_least_error_is_taken(method) -> None:
    zoo = zoo_of(BITS, noise=0.4)
    facts = fitted(method, zoo).facts
    grid, key = ("penalties", "penalty") if isinstance(method, Ridge) else ("noises", "noise")
    shares = {
        value: fitted(method.model_copy(update={grid: (value,)}), zoo).facts["leave_one_out"]
        for value in getattr(method, grid)
    }
    assert facts["chosen"][key] == min(shares, key=shares.__getitem__)
    assert facts["leave_one_out"] == pytest.approx(min(shares.values())) and min(shares.values()) < 0.9


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_order_of_rows_changes_nothing(method) -> None:
    zoo = zoo_of(FREE if method != METHODS[1] else BITS)
    order_N = torch.randperm(len(zoo), generator=torch.Generator().manual_seed(3))
    other = zoo.subset(order_N.tolist())
    new_MC = zoo.condition_NC[:6] + 0.05
    assert asked(method, zoo, new_MC).allclose(asked(method, other, new_MC), atol=1e-5)
    both = [fitted(method, each).facts for each in (zoo, other)]
    assert both[0]["chosen"] == both[1]["chosen"]
    assert both[0]["leave_one_out"] == pytest.approx(both[1]["leave_one_out"])


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_contract(method) -> None:
    zoo = replace(tiny_zoo(), condition_NC=BITS.repeat(2, 1))
    check_component(method, strict=True, zoo=zoo)
    generator, ctx = fitted(method, zoo), Context(seed=0)
    assert generator.conditional
    again = method.load(generator.tensors(), zoo, Points(zoo), ctx)
    new_MC = 1 - zoo.condition_NC[:7]
    assert again.sample(7, Points(zoo), ctx, new_MC).equal(generator.sample(7, Points(zoo), ctx, new_MC))


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_conditions_that_tell_nothing_are_told_in_one_line(method) -> None:
    lines: list[str] = []
    ctx = Context(seed=0, warn=lines.append)
    telling, nothing = zoo_of(BITS), zoo_of(BITS)
    telling.theta_ND = telling.layout.from_free(BITS @ torch.randn(5, 8, generator=torch.Generator().manual_seed(0)))
    method.fit(telling, Points(telling), ctx)
    assert not lines
    nothing.theta_ND = nothing.layout.from_free(torch.randn(30, 8, generator=torch.Generator().manual_seed(0)))
    method.fit(nothing, Points(nothing), ctx)
    assert len(lines) == 1 and lines[0].startswith(f"method {method.name}: ") and "\n" not in lines[0]


def test_many_tasks_are_judged_by_some(monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = zoo_of(BITS)
    whole = [fitted(method, zoo).facts["leave_one_out"] for method in METHODS]
    monkeypatch.setattr(left_out, "MOST", 20)
    for method, share in zip(METHODS, whole, strict=True):
        assert fitted(method, zoo).facts["leave_one_out"] == pytest.approx(share, rel=0.6)


def test_what_lacks_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = zoo_of(BITS)
    with pytest.raises(UserError, match=r"^method ridge: products = 60 gives .* 3 entries, more than 8,192; lower it$"):
        fitted(Ridge(products=60), zoo_of(FREE))
    with monkeypatch.context() as patch, pytest.raises(UserError, match="method kernel: 30 tasks are more than the 29"):
        patch.setattr(regression, "TASKS", 29)
        fitted(Kernel(), zoo)
    zoo.condition_NC = torch.ones(30, 2)
    with pytest.raises(UserError, match="method kernel: all 30 networks have the same condition"):
        fitted(Kernel(), zoo)
    zoo.condition_NC = None
    for method in METHODS:
        with pytest.raises(UserError, match=rf"method {method.name}: needs conditions; write an \[encoder\] table"):
            fitted(method, zoo)
    for encoder, lines in ((None, [needs("ridge")]), ("bits", [])):
        ahead = Ahead(SimpleNamespace(encoder=encoder), "method", Path("data"), True, 30)
        Ridge().foresee(ahead)
        assert ahead.what("lacks") == lines
