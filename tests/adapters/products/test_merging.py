"""Merging against the definitions written out in matrices, and against the library peft where it is there."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
import torch

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.testing import Points, tiny_zoo
from pdiff_plugins.adapters.products.methods import MeanAdapter
from pdiff_plugins.baselines.merging import Dare, TaskArithmetic, Ties
from tests.adapters.products.helpers import all_products, products_of, regauged, zoo_of
from tests.benches import Scored
from tests.helpers import ROOT

CTX = Context(seed=0)


def one(method, zoo, bench=None):
    bench = bench or Points(zoo)
    fitted = method.fit(zoo, bench, CTX)
    theta_1D = fitted.sample(5, bench, CTX)
    again = method.load({key: value.clone() for key, value in fitted.tensors().items()}, zoo, bench, CTX)
    assert theta_1D.shape == (1, zoo.layout.dim) and again.sample(5, bench, CTX).equal(theta_1D)
    return theta_1D[0], fitted.facts


def nearest(matrix, rank: int = 4):
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ v[:rank], float(s[rank:].square().sum()), float(s.square().sum())


def slow_ties(x_NP, density: float):
    """Return TIES entry by entry."""
    trimmed = []
    for x_P in x_NP.tolist():
        least = sorted(map(abs, x_P), reverse=True)[max(1, int(density * len(x_P))) - 1]
        trimmed.append([x if abs(x) >= least else 0.0 for x in x_P])
    merged = []
    for column in zip(*trimmed, strict=True):
        agree = [x for x in column if x * (1 if sum(column) >= 0 else -1) > 0]
        merged.append(sum(agree) / max(1, len(agree)))
    return torch.tensor(merged, dtype=torch.float64)


def test_the_mean_of_products_is_no_matter_of_factors() -> None:
    zoo = zoo_of(bias=True)
    theta_D, facts = one(MeanAdapter(), zoo)
    lost = whole = 0.0
    for ours, every_NOI in zip(
        products_of(theta_D[None], zoo.layout), products_of(zoo.theta_ND, zoo.layout), strict=True
    ):
        best, lost_here, whole_here = nearest(every_NOI.mean(dim=0))
        torch.testing.assert_close(ours[0], best, atol=1e-4, rtol=1e-4)
        lost, whole = lost + lost_here, whole + whole_here
    assert facts["cut"] == pytest.approx(lost / whole, rel=1e-6) and facts["cut"] > 0.01
    zoo.theta_ND = regauged(zoo.theta_ND, zoo.layout, torch.Generator())
    torch.testing.assert_close(one(MeanAdapter(), zoo)[0], theta_D, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("based", [False, True])
@pytest.mark.parametrize("method", [
    TaskArithmetic(scales=(2.0,), of="products"), Ties(density=0.3, scales=(2.0,), of="products"),
    Dare(drop=0.0, then="ties", density=0.3, scales=(2.0,), of="products"),
])  # fmt: skip
def test_products_are_merged_as_written_out(method, based: bool) -> None:
    zoo = zoo_of()
    if based:
        zoo.anchor = zoo.state_dict(0.3 * zoo.theta_ND[0])
    theta_D, facts = one(method, zoo)
    lost = whole = 0.0
    each = (products_of(theta_MD, zoo.layout) for theta_MD in (theta_D[None], zoo.theta_ND, zoo.base[None]))
    for ours, every_NOI, base_1OI in zip(*each, strict=True):
        x_NP = (every_NOI - base_1OI).flatten(1)
        merged_P = x_NP.mean(dim=0) if method.name == "task_arithmetic" else slow_ties(x_NP, 0.3)
        best, lost_here, whole_here = nearest(base_1OI[0] + 2 * merged_P.view_as(base_1OI[0]))
        torch.testing.assert_close(ours[0], best, atol=1e-3, rtol=1e-3)
        lost, whole = lost + lost_here, whole + whole_here
    assert facts == {"scale": 2.0, "cut": pytest.approx(lost / whole, rel=1e-4)}


def test_vectors_are_merged_tensor_by_tensor_variances_as_logarithms() -> None:
    zoo = tiny_zoo(9)
    layout, x_ND, base_D = zoo.layout, zoo.layout.to_free(zoo.theta_ND), zoo.layout.to_free(zoo.base)
    summed_D, _ = one(TaskArithmetic(scales=(3.0,)), zoo)
    written_D = layout.from_free(base_D + 3 / 9 * (x_ND - base_D).sum(dim=0))
    torch.testing.assert_close(summed_D, written_D, atol=1e-5, rtol=1e-5)
    ties_D, facts = one(Ties(density=0.5, scales=(1.0,)), zoo)
    parts = [slow_ties((x_ND - base_D)[:, entry.columns], 0.5) for entry in layout.entries]
    torch.testing.assert_close(ties_D, layout.from_free(base_D + torch.cat(parts).float()), atol=1e-5, rtol=1e-5)
    assert facts == {"scale": 1.0}


def test_entries_are_dropped_and_made_up_for() -> None:
    zoo = zoo_of(1, sizes=((60, (50,)),))
    theta_D, _ = one(Dare(drop=0.9, scales=(1.0,)), zoo)
    share_D = (theta_D - zoo.base) / (zoo.theta_ND[0] - zoo.base)
    assert ((share_D.abs() < 1e-4) | ((share_D - 10).abs() < 1e-2)).all()
    assert 0.05 < float((share_D > 1).double().mean()) < 0.15


def test_the_scale_is_the_one_of_the_best_score() -> None:
    zoo = zoo_of()
    wanted_D, _ = one(TaskArithmetic(scales=(1.5,), of="products"), zoo)
    goal_P = all_products(wanted_D[None], zoo.layout)

    def score(theta_MD):
        far_M = (all_products(theta_MD, zoo.layout) - goal_P).norm(dim=1)
        return (-far_M).where(torch.arange(len(far_M)) > 0, torch.nan)

    found_D, facts = one(TaskArithmetic(of="products"), zoo, Scored(score))
    assert facts["scale"] == 1.5
    torch.testing.assert_close(found_D, wanted_D)


def test_products_of_what_are_no_adapters_are_refused() -> None:
    with pytest.raises(UserError, match="of = 'products': the selection holds no adapters"):
        one(Ties(of="products"), tiny_zoo(5))


PEFT = """
import json, sys, torch
from torch import nn
from peft import LoraConfig, get_peft_model
sys.path.insert(0, sys.argv[1])
from tests.adapters.products.helpers import zoo_of
zoo = zoo_of(3, sizes=((12, (10,)), (9, (20,))))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.l0, self.l1 = nn.Linear(10, 12), nn.Linear(20, 9)
config = lambda: LoraConfig(r=4, lora_alpha=4, target_modules=["l0", "l1"])
model, names = get_peft_model(Net(), config(), "n0"), ["n0", "n1", "n2"]
for name in names[1:]:
    model.add_adapter(name, config())
state = model.state_dict()
for name, theta_D in zip(names, zoo.theta_ND):
    for key, value in zoo.layout.tensors(theta_D).items():
        state["base_model.model." + key.replace(".weight", f".{name}.weight")].copy_(value)
told = {}
density = {"svd": {}, "ties_svd": {"density": 0.3}, "ties": {"density": 0.3}, "dare_linear": {"density": 1.0}}
for kind, more in density.items():
    model.add_weighted_adapter(names, [1.0] * 3, kind, combination_type=kind, svd_rank=4, **more)
    at = {n: p for n, p in model.state_dict().items() if f".{kind}.weight" in n}
    pick = lambda l, f: next(p for n, p in at.items() if f".{l}.{f}." in n)
    told[kind] = [(pick(l, "lora_B") @ pick(l, "lora_A")).tolist() for l in ("l0", "l1")]
print(json.dumps(told))
"""


@pytest.mark.slow
def test_peft_merges_to_the_same() -> None:
    if importlib.util.find_spec("peft") is None:
        pytest.skip("peft is not installed")
    zoo = zoo_of(3, sizes=((12, (10,)), (9, (20,))))
    zoo.anchor = {key: torch.zeros_like(value) for key, value in zoo.anchor.items()}
    run = subprocess.run([sys.executable, "-c", PEFT, str(ROOT)], capture_output=True, text=True, check=True)
    told = json.loads(run.stdout.splitlines()[-1])
    ours = {
        "svd": TaskArithmetic(scales=(3.0,), of="products"),
        "ties_svd": Ties(density=0.3, scales=(1.0,), of="products"),
        "ties": Ties(density=0.3, scales=(1.0,)),
        "dare_linear": Dare(drop=0.0, scales=(3.0,)),
    }
    for kind, method in ours.items():
        theta_D, _ = one(method, zoo)
        for ours_1OI, theirs in zip(products_of(theta_D[None], zoo.layout), told[kind], strict=True):
            torch.testing.assert_close(ours_1OI[0].float(), torch.tensor(theirs), atol=1e-3, rtol=1e-3, msg=kind)
