"""Conditions through the stages: what networks are about, what they are asked for, and who reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pdiff import UserError
from pdiff.components import Collector, Encoder, Generator, Method
from pdiff.engine import keys
from pdiff.engine.pipeline import Pipeline
from pdiff.runs import Run
from pdiff.testing import TinyMethod, tiny_run, tiny_zoo
from pdiff.zoo import Zoo, about


class Labelled(Collector):
    """Twenty networks, of which each third has a label of its own."""

    name = "labelled"

    def collect(self, model: Any, *, data: Any, task: Any, layout: Any, bench: Any, ctx: Any) -> Zoo:
        zoo = tiny_zoo(20)
        zoo.rows = [row | {"about": {"label": number % 3}} for number, row in enumerate(zoo.rows)]
        zoo.holdout = zoo.subset([0, 1])
        return zoo


class Unlabelled(Collector):
    """Twenty networks of which nobody says what they are for."""

    name = "unlabelled"

    def collect(self, model: Any, *, data: Any, task: Any, layout: Any, bench: Any, ctx: Any) -> Zoo:
        return tiny_zoo(20)


class Number(Encoder):
    """The label itself."""

    name = "number"
    reads = ("condition", "label")

    def encode(self, about: Any, known: Any, bench: Any, ctx: Any) -> Tensor:
        return torch.tensor([[float(what["label"])] for what in about])

    def read(self, asked: Any, known: Any, bench: Any) -> dict[str, Any]:
        label = next(iter(asked.values()))
        if not label.isdecimal() or {"label": int(label)} not in known:
            raise UserError(f"label = {label!r}: there are 0, 1, 2; ask for one of them")
        return {"label": int(label)}


class First(Method):
    """The first checkpoint of a condition."""

    name = "first_of"

    def fit(self, zoo: Zoo, bench: Any, ctx: Any) -> Generator:
        return Copies(zoo)

    def load(self, tensors: Any, zoo: Zoo, bench: Any, ctx: Any) -> Generator:
        return Copies(zoo)


class Copies(Generator):
    """Reads what it is asked for."""

    conditional = True

    def __init__(self, zoo: Zoo):
        super().__init__()
        self.zoo = zoo

    def sample(self, count: int, bench: Any, ctx: Any, condition_MC: Tensor | None = None) -> Tensor:
        assert condition_MC is not None and len(condition_MC) == count and self.zoo.condition_NC is not None
        known = self.zoo.condition_NC[:, 0].tolist()
        return torch.stack([self.zoo.theta_ND[known.index(asked)] for asked in condition_MC[:, 0].tolist()])


def run_of(tmp_path: Path, **tables: Any) -> Pipeline:
    tables = {"collect": Labelled(), "encoder": Number(), "method": First(), "baseline": [TinyMethod()]} | tables
    return tiny_run(tmp_path, **tables)


def test_each_sample_is_of_what_it_is_about_and_those_held_out_have_conditions(tmp_path: Path) -> None:
    pipeline = run_of(tmp_path)
    zoo, theta_MD = pipeline.zoo, pipeline.sample("first_of")
    assert zoo.condition_NC is not None and zoo.condition_NC[:4, 0].tolist() == [0, 1, 2, 0]
    assert zoo.holdout is not None and zoo.holdout.condition_NC is not None
    assert zoo.holdout.condition_NC[:, 0].tolist() == [0, 1]
    assert zoo.subset([2, 4]).condition_NC.tolist() == [[2], [1]]  # type: ignore[union-attr]
    asked = pipeline.about("first_of")
    assert asked is not None and len(asked) == len(theta_MD) == 6 and len({about["label"] for about in asked}) > 1
    assert all(theta_D.equal(zoo.theta_ND[what["label"]]) for theta_D, what in zip(theta_MD, asked, strict=True))
    assert pipeline.about("tiny_method") is None  # it reads none, and is given none
    assert pipeline.about("original") == [about(row) for row in zoo.rows]


def test_a_finished_run_is_asked_by_a_condition_and_says_what_it_cannot_be_asked(tmp_path: Path) -> None:
    pipeline = run_of(tmp_path)
    run = Run(tmp_path / "run", pipeline)
    second = run.drawing(label=2).draw(3)
    assert all(theta_D.equal(pipeline.zoo.theta_ND[2]) for theta_D in second)
    (network,) = run.sample(1, condition="1")
    assert all(pipeline.zoo.state_dict(pipeline.zoo.theta_ND[1])[key].equal(value.cpu())
               for key, value in network.state_dict().items())  # fmt: skip
    assert run.sample(1, condition=torch.tensor([1]))[0].state_dict().keys() == network.state_dict().keys()
    assert run.drawing(label="").drawn_with == "-label-", "what is asked for, empty as it is"
    assert len(run.drawing(label="é" * 400).drawn_with.encode()) < 140
    assert run.drawing(label="a" * 400).drawn_with != run.drawing(label="a" * 401).drawn_with
    assert pipeline.plan.sample("first_of", 3).key != run.drawing(label=2).pipeline.plan.sample("first_of", 3).key
    with pytest.raises(UserError, match="label = '7': there are 0, 1, 2"):
        run.drawing(condition="7").draw(1)
    with pytest.raises(UserError, match="tiny_method: takes no conditions"):
        run.drawing("tiny_method", label=2).draw(1, source="tiny_method")
    assert not list((tmp_path / "store").glob("*.part")), "what cannot be asked leaves nothing half-written"
    with pytest.raises(UserError, match=r"no such option of sampling"):
        run.drawing(colour="red")


def test_the_recipe_may_ask_and_needs_an_encoder_for_it(tmp_path: Path) -> None:
    pipeline = run_of(tmp_path, sample={"count": 4, "about": {"label": 1}})
    assert pipeline.about("first_of") == [{"label": 1}] * 4
    with pytest.raises(ValueError, match=r"sample\.about is read by an encoder"):
        tiny_run(tmp_path, sample={"about": {"label": 1}})
    run = Run(tmp_path / "run", tiny_run(tmp_path))
    with pytest.raises(UserError, match=r"condition: the run has no conditions: its recipe has no \[encoder\]"):
        run.drawing(condition="1")


def test_checkpoints_that_do_not_say_what_they_are_for_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="encoder number: checkpoint 0 does not say what it is about"):
        run_of(tmp_path, collect=Unlabelled()).zoo  # noqa: B018


def test_recipes_without_an_encoder_keep_their_keys(tmp_path: Path) -> None:
    plain = tiny_run(tmp_path)
    assert "encoder" not in plain.recipe.table() and plain.plan.zoo == plain.plan.collect
    assert "about" not in plain.plan.sample("tiny_method").config
    assert keys.run_key(run_of(tmp_path).recipe) != keys.run_key(run_of(tmp_path, encoder=None).recipe)
