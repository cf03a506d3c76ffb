"""Steps on zoos and on samples: their order is the recipe's, each has its own numbers, and predictions stay true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic_core import PydanticCustomError

from pdiff.components import Transform
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.services import Absent, Finished
from pdiff.steps import steps_on
from pdiff.testing import TinyMethod, check_component, tiny_run, tiny_zoo
from pdiff_plugins.transforms.choice import First, Holdout
from pdiff_plugins.transforms.recalibration import Recalibration
from pdiff_plugins.transforms.temperature import Temperature, tempered
from tests.components.runs import FIELDS
from tests.helpers import mistake, pdiff_command

FIRST, COPIES = {"name": "first", "count": 4}, {"name": "permuted", "copies": 1}
HALF, ANEW = {"name": "temperature", "factor": 0.5}, {"name": "recalibration", "examples": 30}


class Widened(Transform):
    """Multiply every weight but variances, which is another function."""

    name = "widened"
    exact: ClassVar[bool] = False

    def zoo(self, zoo: Any, bench: Any, ctx: Context) -> Any:
        wider = zoo.subset(range(len(zoo)))
        for entry in zoo.layout.entries:
            if not entry.positive:
                wider.theta_ND[:, entry.columns] *= -3
        return wider


def of(pipeline: Any) -> list[int]:
    return [row["of"] for row in pipeline.zoo.rows]


def test_steps_on_a_zoo_are_taken_in_the_recipes_order(tmp_path: Path) -> None:
    assert of(tiny_run(tmp_path, zoo=[FIRST, COPIES])) == [0, 1, 2, 3] * 2
    assert of(tiny_run(tmp_path, zoo=[COPIES, FIRST])) == [0, 1, 2, 3]
    holdout = {"name": "holdout", "count": 12}
    zoo = tiny_run(tmp_path, zoo=[holdout, COPIES]).zoo
    assert len(zoo) == 16 and len(zoo.holdout) == 12 and not any("copy" in row for row in zoo.holdout.rows)
    assert not set(row["of"] for row in zoo.rows) & set(row["of"] for row in zoo.holdout.rows)


def test_steps_on_samples_are_taken_in_the_recipes_order(tmp_path: Path) -> None:
    drawn, halved_first, halved_last = (
        tiny_run(tmp_path, sample={"count": 6, "step": steps}) for steps in ([], [HALF, ANEW], [ANEW, HALF])
    )
    zoo, bench, ctx = drawn.zoo, drawn.bench, drawn.context("sample", "tiny_method", 0)
    halved_MD = tempered(drawn.sample("tiny_method"), zoo, 0.5, ctx)
    expected_MD = Recalibration(examples=30).samples(halved_MD, zoo, bench, ctx)
    assert halved_first.sample("tiny_method").equal(expected_MD)
    assert not halved_last.sample("tiny_method").allclose(expected_MD)


def test_baselines_are_recalibrated_and_keep_their_distance(tmp_path: Path) -> None:
    tables = [{"baseline": [TinyMethod()], "sample": {"step": steps}} for steps in ([], [HALF], [ANEW])]
    plain, halved, anew = (tiny_run(tmp_path, **table) for table in tables)
    source = list(plain.plan.methods)[1]
    assert halved.plan.sample(source) == plain.plan.sample(source) != anew.plan.sample(source)
    assert halved.plan.sample(plain.plan.method) != plain.plan.sample(plain.plan.method)
    assert anew.sample(source).shape == plain.sample(source).shape and not anew.sample(source).equal(
        plain.sample(source)
    )


def test_what_a_method_asks_for_its_networks_is_of_networks_after_their_steps(tmp_path: Path) -> None:
    kde = {"name": "kde", "codec": {"name": "identity"}, "bandwidth": 1.0, "top": 1.0, "select": 4}
    chosen, every = (
        tiny_run(tmp_path, method=kde | {"select": select}, sample={"count": count, "step": [HALF]})
        for select, count in ((4, 5), (1, 20))
    )
    score_M = every.bench.score(every.sample("kde"))
    best = every.sample("kde")[score_M.argsort(descending=True, stable=True)[:5].sort().values]
    assert chosen.sample("kde" if "kde" in chosen.plan.methods else chosen.plan.method).equal(best)


@pytest.mark.parametrize("exact", [True, False])
def test_predictions_are_made_anew_where_a_step_changes_functions(exact: bool, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Widened, "exact", exact)
    plain, wide = tiny_run(tmp_path / "plain"), tiny_run(tmp_path / "wide", zoo=[FIRST, Widened()])
    kept_ME = wide.predictions("original", "validation")
    true_ME = wide.bench.predict(wide.zoo.theta_ND, "validation")
    assert not true_ME.equal(plain.predictions("original", "validation")[:4])
    assert kept_ME.equal(true_ME if not exact else plain.predictions("original", "validation")[:4])


def test_moved_copies_of_fields_are_predicted_anew(tmp_path: Path) -> None:
    pipeline = tiny_run(tmp_path, **FIELDS | {"zoo": [FIRST, {"name": "moved", "copies": 1}]})
    kept_MP = pipeline.predictions("original", "validation")
    assert kept_MP.equal(pipeline.bench.predict(pipeline.zoo.theta_ND, "validation"))
    assert of(pipeline) == [0, 1, 2, 3] * 2 and not kept_MP[4:].equal(kept_MP[:4])


def test_moved_and_permuted_copies_are_numbered_and_cannot_be_held_out(tmp_path: Path) -> None:
    moved = {"name": "moved", "copies": 2}
    pipeline = tiny_run(tmp_path, **FIELDS | {"zoo": [FIRST, moved]})
    assert [row.get("copy", 0) for row in pipeline.zoo.rows] == [0] * 4 + [1] * 4 + [2] * 4
    with pytest.raises(UserError, match=r"^zoo: holdout stands after a step that adds copies"):
        tiny_run(tmp_path, **FIELDS | {"zoo": [moved, {"name": "holdout", "count": 3}]}).zoo  # noqa: B018
    twice = tiny_run(tmp_path, zoo=[FIRST, COPIES, COPIES]).zoo
    assert [row.get("copy", 0) for row in twice.rows] == [0] * 4 + [1] * 4 + [2] * 8


def test_an_exact_step_that_loses_where_rows_come_from_is_named(tmp_path: Path) -> None:
    class Forgetful(Widened):
        """Exact, it says."""

        exact: ClassVar[bool] = True

        def zoo(self, zoo: Any, bench: Any, ctx: Context) -> Any:
            return replace(zoo, rows=[{key: row[key] for key in row if key != "of"} for row in zoo.rows])

    with pytest.raises(UserError, match="one of the steps widened lost `of` from its rows"):
        tiny_run(tmp_path, zoo=[Forgetful()]).zoo  # noqa: B018 - its stage raises
    with pytest.raises(AssertionError, match="exact, but row 0 has lost its `of`"):
        check_component(Forgetful())


def test_a_step_knows_the_measures_of_the_zoo_that_it_is_given(tmp_path: Path) -> None:
    seen = []

    class Asking(Widened):
        """Asks the bench."""

        def zoo(self, zoo: Any, bench: Any, ctx: Context) -> Any:
            seen.append((bench.measures()["loss"], bench.measure(zoo.theta_ND)["loss"], bench.input_shape))
            return zoo

    tiny_run(tmp_path, zoo=[FIRST, Asking()]).zoo  # noqa: B018
    assert len(seen[0][0]) == 4 and seen[0][0].equal(seen[0][1]) and seen[0][2] == (2,)


def test_a_method_learns_no_fewer_checkpoints_than_evaluators_know(tmp_path: Path) -> None:
    method = {"name": "pdiff", "steps": 2, "timesteps": 10, "batch_size": 4, "augment": [FIRST]}
    with pytest.raises(UserError, match=r"^method.augment: first takes checkpoints away"):
        tiny_run(tmp_path, method=method).sample("pdiff")


def test_a_method_measures_its_starts_as_they_are(tmp_path: Path) -> None:
    bench = Finished(tiny_run(tmp_path).bench, lambda theta_MD: 0 * theta_MD)
    theta_MD = tiny_run(tmp_path).zoo.theta_ND[:5]
    plain = tiny_run(tmp_path).bench
    assert bench.measure(theta_MD)["loss"].equal(plain.measure(theta_MD)["loss"])
    assert bench.score(theta_MD).equal(plain.score(0 * theta_MD))


def test_a_second_step_of_one_name_draws_other_numbers(tmp_path: Path) -> None:
    once, twice = (tiny_run(tmp_path, zoo=[FIRST, *steps]).zoo.theta_ND for steps in ([COPIES], [COPIES, COPIES]))
    assert twice[:8].equal(once), "the first draws what it draws alone"
    assert torch.pdist(twice).min() > 0.1, "with the same numbers, copies of one checkpoint would be the same"
    once, twice = (
        tiny_run(tmp_path, sample={"count": 6, "step": steps}).sample("tiny_method") for steps in ([ANEW], [ANEW, ANEW])
    )
    assert not once.equal(twice), "other examples"


def test_what_a_step_cannot_do_is_one_line(tmp_path: Path) -> None:
    zoo, ctx = tiny_zoo(5), Context(seed=0)
    said: list[str] = []
    assert len(First(count=6).zoo(zoo, Absent("a choice"), ctx.replace(warn=said.append))) == 5
    assert said == ["zoo: first.count = 6 is more than the 5 checkpoints; all 5 are taken instead"]
    with pytest.raises(UserError, match=r"^zoo: holdout\.count = 4: of 5 checkpoints 2 must remain; .* at most 3$"):
        Holdout(count=4).zoo(zoo, Absent("a choice"), ctx)
    held = Holdout(count=2).zoo(zoo, Absent("a choice"), ctx)
    with pytest.raises(UserError, match=r"^zoo: holdout: checkpoints are held out already"):
        Holdout(count=1).zoo(held, Absent("a choice"), ctx)
    with pytest.raises(UserError, match=r"^zoo: holdout stands after a step that adds copies"):
        tiny_run(tmp_path, zoo=[COPIES, {"name": "holdout", "count": 3}]).zoo  # noqa: B018 - its stage raises
    biases = {"name": "names", "include": ["*.bias"]}
    with pytest.raises(UserError, match=r"^sample\.step: recalibration needs BatchNorm statistics"):
        tiny_run(tmp_path, selector=biases, sample={"step": [ANEW]}).sample("tiny_method")
    with pytest.raises(TypeError, match="temperature is no step on a zoo"):
        Temperature(factor=1).zoo(zoo, Absent("a choice"), ctx)


def test_a_step_that_does_nothing_is_told() -> None:
    class Nothing(Transform):
        """Neither of the two."""

        name = "nothing"

    with pytest.raises(PydanticCustomError, match="nothing is no step on a zoo; it goes into no list"):
        steps_on("zoo", (Nothing(),))


@pytest.mark.parametrize(
    ("key", "step", "said"),
    [
        ("zoo", HALF, "zoo: temperature is no step on a zoo; it goes into [[sample.step]]"),
        ("sample.step", {"name": "align"}, "sample.step: align is no step on samples; it goes into [[zoo]]"),
        ("method.augment", HALF, "method.augment: temperature is no step on a zoo; it goes into [[sample.step]]"),
    ],
)  # fmt: skip
def test_a_step_in_the_wrong_list_is_told_where_it_goes(
    key: str, step: dict, said: str, tiny: Path, here: Path
) -> None:
    table = ", ".join(f"{option} = {value!r}" for option, value in step.items())
    assert mistake("check", "tiny.toml", "--set", f"{key}=[{{{table}}}]") == f"tiny.toml: {said}"


def test_a_step_in_the_wrong_list_ends_with_exit_code_2(tiny: Path) -> None:
    tiny.write_text(tiny.read_text() + '\n[[zoo]]\nname = "temperature"\nfactor = 0.5\n')
    result = pdiff_command("run", "tiny.toml", cwd=tiny.parent)
    assert result.returncode == 2
    said = "error: tiny.toml: zoo: temperature is no step on a zoo; it goes into [[sample.step]]\n"
    assert result.stderr == said and not (tiny.parent / "runs").exists()
