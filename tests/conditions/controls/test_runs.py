"""Controls in a run: as method and as baselines, fitted, stored and asked again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pdiff import UserError
from pdiff.components import KINDS, Collector
from pdiff.context import Context
from pdiff.engine.preflight import ready
from pdiff.runs import Run
from pdiff.testing import Points, tiny_run, tiny_zoo
from pdiff.zoo import Zoo

NAMES = ("nearest", "neighbours", "ridge", "kernel")


class Subsets(Collector):
    """Networks of four subsets of three classes, five of each."""

    name = "subsets_of_three"

    def collect(self, model: Any, *, data: Any, task: Any, layout: Any, bench: Any, ctx: Any) -> Zoo:
        zoo, classes = tiny_zoo(20), ([0], [0, 1], [1, 2], [2])
        zoo.rows = [row | {"about": {"classes": classes[n % 4]}} for n, row in enumerate(zoo.rows)]
        return zoo


def test_each_is_asked_for_a_task_and_again_from_what_is_stored(tmp_path: Path) -> None:
    tables = {"encoder": {"name": "bits"}, "method": {"name": "kernel"}, "collect": Subsets()}
    tables["baseline"] = [{"name": name} for name in NAMES[:3]]
    pipeline, ctx = tiny_run(tmp_path, **tables), Context(seed=0, warn=lambda line: None)
    bench = Points(pipeline.zoo)
    again = Run(tmp_path / "run", tiny_run(tmp_path, **tables))
    for name in NAMES:
        plain = KINDS["method"].model_validate({"name": name}).fit(pipeline.zoo, bench, ctx)
        wanted_MC = torch.tensor([[float(c in what["classes"]) for c in range(3)] for what in pipeline.about(name)])
        assert len(wanted_MC.unique(dim=0)) > 1
        assert pipeline.sample(name).allclose(plain.sample(len(wanted_MC), bench, ctx, wanted_MC), atol=1e-5)
        assert pipeline.generator(name).facts == plain.facts
        asked_MD = again.drawing(name, condition="101").draw(3, source=name)
        assert asked_MD.allclose(plain.sample(3, bench, ctx, torch.tensor([[1.0, 0, 1]] * 3)), atol=1e-5)


def test_without_an_encoder_they_say_so_before_anything_is_computed(tmp_path: Path) -> None:
    for name in NAMES:
        with pytest.raises(UserError, match=rf"method {name}: needs conditions; write an \[encoder\] table"):
            ready(tiny_run(tmp_path, collect=Subsets(), baseline=[{"name": name}]).recipe, Path("tiny.toml"))
    assert not list(tmp_path.rglob("stage.json"))
