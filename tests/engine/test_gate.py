"""What a fitted method can hold of networks of unseen tasks is told before it samples any."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pdiff.components import Generator
from pdiff.context import Context
from pdiff.engine.work import do_fit
from pdiff.files import read_json
from pdiff.testing import bench_of
from pdiff_plugins.conditions.controls.control import Weighted
from pdiff_plugins.conditions.controls.kernel import Kernel
from pdiff_plugins.conditions.controls.near import Nearest
from pdiff_plugins.reports.findings import held
from tests.conditions.evaluation.helpers import Linear, Parts, Written, data, zoo


class Forgets(Generator):
    """Its codec leaves nothing of the first classes."""

    def __init__(self, classes: int):
        super().__init__()
        self.classes = classes

    def through(self, theta_MD: Tensor, bench: Any, ctx: Context) -> Tensor:
        left_MD = theta_MD.clone()
        left_MD[:, 5 : 5 + self.classes] = -left_MD[:, 5 : 5 + self.classes]
        return left_MD


def fitted(generator: Generator, folder: Path, made: Any = None) -> tuple[dict[str, Any], list[str]]:
    """Return the facts of a fit that gives this generator, and what was warned of."""
    made, warned = made or zoo(), list[str]()
    method: Any = SimpleNamespace(name="pdiff", fit=lambda *args: generator)
    bench = bench_of(made, Linear(), Parts(), data(), encoder=Written())
    do_fit(method, made, bench, folder, Context(seed=0, warn=warned.append))
    return read_json(folder / "facts.json"), warned


def test_a_codec_that_loses_too_much_says_so_after_its_fit(tmp_path: Path) -> None:
    facts, warned = fitted(Forgets(2), tmp_path)
    assert facts["gate"] == {"own": 1.0, "through": pytest.approx(0.6), "share": pytest.approx(0.6)}
    (line,) = warned
    assert line == "method pdiff: of held-out tasks' own networks (100.00%, validation split) it can hold 60.00%"
    scores = {"facts": {"pdiff": facts}, "selection": "validation", "networks": {}, "of": {"unit": "%"}}
    assert "pdiff 60.00% of 100.00%" in held(scores)


def test_one_that_holds_them_says_nothing(tmp_path: Path) -> None:
    facts, warned = fitted(Forgets(0), tmp_path)
    assert facts["gate"]["share"] == 1.0 and not warned
    assert held({"facts": {"pdiff": facts, "soup": {}}, "selection": "validation", "networks": {}}) == ""


def test_what_tasks_own_networks_score_is_asked_for_once_and_of_some_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, asked = zoo(), list[int]()
    monkeypatch.setattr("pdiff.engine.bench.EXAMPLES", 40)
    bench: Any = bench_of(made, Linear(), Parts(), data(), encoder=Written())
    predict = bench.predictor.predict
    bench.predictor.predict = lambda theta_MD, split, *rest: asked.append(len(split)) or predict(theta_MD, split, *rest)
    for number in range(3):
        method: Any = SimpleNamespace(name="pdiff", fit=lambda *args: Forgets(2))
        (tmp_path / str(number)).mkdir()
        do_fit(method, made, bench, tmp_path / str(number), Context(seed=0, warn=lambda line: None))
    assert asked == [40] * 4
    every = [read_json(tmp_path / str(number) / "facts.json")["gate"] for number in range(3)]
    assert every[0] == every[1] == every[2] and every[0]["own"] == 1.0


def test_without_a_codec_or_tasks_held_out_there_is_no_gate(tmp_path: Path) -> None:
    assert "gate" not in fitted(Generator(), tmp_path)[0]
    made = zoo()
    made.holdout = None
    assert "gate" not in fitted(Forgets(2), tmp_path, made)[0]
    made = zoo()
    for row in made.holdout.rows:  # type: ignore[union-attr]
        row["part"] = "hard"
    assert "gate" not in fitted(Forgets(2), tmp_path, made)[0]


def test_controls_can_hold_what_lies_in_the_span_of_the_zoo_or_what_they_copy() -> None:
    made = zoo(0.1)
    bench = bench_of(made, Linear(), Parts(), data(), encoder=Written())
    ctx = Context(seed=0, warn=lambda line: None)
    theta_HD = made.holdout.theta_ND  # type: ignore[union-attr]
    kernel = Kernel().fit(made, bench, ctx)
    assert isinstance(kernel, Weighted)
    x_ND = (made.theta_ND - made.theta_ND.mean(dim=0)).double()
    y_HD = (theta_HD - made.theta_ND.mean(dim=0)).double()
    inside_HD = y_HD @ torch.linalg.pinv(x_ND) @ x_ND + made.theta_ND.mean(dim=0)
    assert torch.allclose(kernel.through(theta_HD, bench, ctx).double(), inside_HD, atol=1e-4)
    copied = Nearest().fit(made, bench, ctx).through(theta_HD, bench, ctx)
    assert copied.equal(made.theta_ND[torch.cdist(theta_HD, made.theta_ND).argmin(dim=1)])
