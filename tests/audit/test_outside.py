"""Outside the span of the checkpoints: closed forms, an independent solver, and what the part does to a score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pdiff
from pdiff.context import Context
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.audit.findings import findings
from pdiff_plugins.audit.outside import split
from pdiff_plugins.maths import normalise
from tests.helpers import TINY

CTX = Context(seed=0)


def some(count: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def zoo_of(theta_ND: Tensor, variances: int = 0) -> Zoo:
    dim = theta_ND.shape[1] - variances
    entries = [Entry("weight", (dim,), 0)] + [Entry("running_var", (variances,), dim, True)] * bool(variances)
    layout = Layout(tuple(entries))
    return Zoo(theta_ND, layout, {}, [{} for _ in theta_ND])


def beside(zoo_ND: Tensor, y_MD: Tensor) -> list[float]:
    """Share of each deviation that least squares on the checkpoints' deviations leave."""
    x_ND, shares = zoo_ND.double(), []
    for y_D in y_MD.double() - x_ND.mean(dim=0):
        near = torch.linalg.lstsq((x_ND - x_ND.mean(dim=0)).T, y_D[:, None], driver="gelsd").solution
        shares.append(float((y_D - (near.T @ (x_ND - x_ND.mean(dim=0)))[0]).norm() / y_D.norm()))
    return shares


def test_mixtures_have_nothing_outside_and_new_directions_all() -> None:
    x = some(12, 400)
    basis = torch.linalg.qr((x - x.mean(dim=0)).T.double()).Q[:, :11]
    noise = some(5, 400, 1).double()
    new = noise - noise @ basis @ basis.T
    mixed = torch.rand(5, 12).softmax(dim=1) @ x
    populations = {"mixed": mixed, "new": (x.mean(dim=0) + 3 * new).float(), "both": (mixed + 0.5 * new).float()}
    parts = split(zoo_of(x), populations)
    assert parts["mixed"].share_M.max() < 1e-5 and not parts["mixed"].matters
    assert parts["new"].share_M.min() > 1 - 1e-6 and parts["new"].matters
    assert parts["both"].share_M.tolist() == pytest.approx(beside(x, populations["both"]), rel=1e-5)
    inside = normalise.mixed(zoo_of(x), parts["both"].weight_MN, CTX)
    assert torch.allclose(inside, mixed, atol=1e-5)


@pytest.mark.parametrize("step", [1.0, 1e-3])
def test_a_checkpoint_is_set_beside_the_span_of_the_others(step) -> None:
    x = some(1, 300, 2) + step * some(20, 300).cumsum(dim=0)
    parts = split(zoo_of(x), {"original": x})["original"]
    others = [torch.cat([x[:n], x[n + 1 :]]) for n in range(20)]
    assert parts.share_M.tolist() == pytest.approx(
        [beside(rest, x[n : n + 1])[0] for n, rest in enumerate(others)], rel=1e-4
    )
    inside = normalise.mixed(zoo_of(x), parts.weight_MN, CTX)
    assert (parts.weight_MN.diagonal().abs() < 1e-9).all()  # a mixture of the others, the nearest one
    assert max(beside(rest, inside[n : n + 1])[0] for n, rest in enumerate(others)) < 1e-3


def test_copies_among_checkpoints_are_within_each_others_span() -> None:
    x = some(8, 50)
    x[5] = x[2]
    shares = split(zoo_of(x), {"original": x})["original"].share_M
    assert shares[[2, 5]].max() < 1e-4 and shares[[0, 1, 3, 4, 6, 7]].min() > 0.1


def test_variances_are_projected_as_logarithms_and_stay_positive() -> None:
    x, y = some(6, 30).exp(), 10 * some(4, 30, 3).exp()
    zoo, logs = zoo_of(x, variances=29), torch.cat([x[:, :1], x[:, 1:].log()], dim=1)
    parts = split(zoo, {"y": y})["y"]
    assert parts.share_M.tolist() == pytest.approx(beside(logs, torch.cat([y[:, :1], y[:, 1:].log()], 1)), rel=1e-5)
    assert (normalise.mixed(zoo, parts.weight_MN, CTX)[:, 1:] > 0).all()


def test_nothing_is_said_of_what_rounding_or_a_broken_network_hides() -> None:
    x = some(1, 40, 2) + 1e-8 * some(5, 40)
    assert split(zoo_of(x), {"y": x[:2].flip(1)})["y"].share == pytest.approx(1, abs=0.1)  # far away: it can be told
    x = some(5, 40)
    broken = some(3, 40, 1)
    broken[1, 3] = torch.nan
    parts = split(zoo_of(x), {"y": broken, "mean": x.mean(dim=0)[None]})
    assert parts["y"].known.tolist() == [0, 2] and not len(parts["mean"].known)
    assert split(zoo_of(x[:2]), {"y": broken}) == {} and split(zoo_of(x[:1].expand(4, -1)), {"y": broken}) == {}


def test_windows_and_populations_larger_than_the_zoo(monkeypatch) -> None:
    from pdiff_plugins.maths import normalise

    x, y = some(4, 90), some(30, 90, 1)
    whole = split(zoo_of(x), {"y": y})["y"]
    monkeypatch.setattr(normalise, "NUMBERS", 300)
    assert split(zoo_of(x), {"y": y})["y"].share_M.tolist() == pytest.approx(whole.share_M.tolist(), rel=1e-9)


def run(tmp_path: Path, method: dict[str, Any], **more: Any) -> Any:
    (tmp_path / "tiny.toml").write_text(TINY)
    own = {
        "run.out": str(tmp_path / "runs"), "method": method, "sample.count": 12,
        "baseline": [{"name": "soup"}, {"name": "base"}, {"name": "copy"}],
        "evaluate": [{"name": "accuracy"}, {"name": "audit", "examples": 50, "aligned": 0}],
        "report": [{"name": "markdown"}, {"name": "html"}],
    }  # fmt: skip
    return pdiff.run(tmp_path / "tiny.toml", set=own | more, quiet=True)


def test_a_part_that_harms_costs_what_it_harms(tmp_path: Path) -> None:
    noise = {"name": "noise_absolute", "scales": [0.1]}
    ran = run(tmp_path, noise, zoo=[{"name": "holdout", "count": 4}], **{"train.epochs": 20})
    audits = {source: scored["audit"] for source, scored in ran.scores["networks"].items()}
    ours = audits[ran.scores["method"]]
    assert ours["outside"] > 0.9 and ours["outside_gain"] < -0.05
    assert audits["copy"]["outside"] < 1e-4 and "outside_gain" not in audits["copy"] and "outside" not in audits["soup"]
    assert 0 < audits["original"]["outside"] < 1 and 0 < ran.scores["audit"]["outside_holdout"] < 1
    said = next(finding.text for finding in findings(ran.scores) if "outside" in finding.text)
    assert f"that part costs {-100 * ours['outside_gain']:.2f} points" in said and "of a held-out one's" in said
    report, page = (ran.folder / "report.md").read_text(), (ran.folder / "audit.html").read_text()
    assert said.replace("'", "&#39;") in report or said in report
    assert "outside gain" in page and "outside gain" in report
    inside = run(tmp_path, {"name": "copy"})
    assert any("mixtures of checkpoints" in finding.text for finding in findings(inside.scores))
