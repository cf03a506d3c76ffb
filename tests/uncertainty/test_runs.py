"""Runs from a recipe: what is refused before anything is trained, the table, what is shown, and seeds put together."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pdiff.components import Ahead, Task
from pdiff.engine.preflight import look_ahead
from pdiff.engine.scores import scores_of
from pdiff.results.shown import Showing
from pdiff.results.summary import shown, table
from pdiff.testing import check_component
from pdiff.testing.tiny import TinyTask, tiny_run
from pdiff_plugins.bayes.trainings.methods import DeepEnsemble, Lone
from pdiff_plugins.drawing.style import looks, png
from pdiff_plugins.fleet import effects, page
from pdiff_plugins.fleet.folder import Sweep
from pdiff_plugins.fleet.grid import Cell
from pdiff_plugins.maths.crossed import difference
from pdiff_plugins.uncertainty.evaluator import Uncertainty
from pdiff_plugins.uncertainty.figures import equivalent

BASELINES = [DeepEnsemble(count=4), Lone(trainings=(1, 2)), {"name": "soup"}]
OPTIONS: dict[str, Any] = {"members": 3, "reference": "soup"}
DIGITS = {
    "dataset": {"name": "part", "of": {"name": "digits", "image_size": 8}, "train": 100, "validation": 60, "test": 60},
    "task": {"name": "classification"}, "architecture": {"name": "mlp", "hidden": (8,)},
    "selector": {"name": "entire"}, "baseline": BASELINES,
}  # fmt: skip


def lacks(**tables: Any) -> list[str]:
    """Return what a recipe lacks; a component stands in its table."""
    recipe = tiny_run("none", **tables).recipe
    return look_ahead(recipe).what("lacks")


def test_a_recipe_that_trains_and_has_no_lone_network_is_refused() -> None:
    (line,) = lacks(evaluate=[Uncertainty()])
    assert line.startswith("evaluate[0]: ") and "'deep_ensemble'" in line and "trainings = [1, 2]" in line
    assert not lacks(evaluate=[Uncertainty()], baseline=[Lone()])
    assert not lacks(evaluate=[Uncertainty()], baseline=[DeepEnsemble()])
    assert not lacks(evaluate=[Uncertainty()], train={"epochs": 0})


class Classless(TinyTask):
    """A task that gives no probabilities."""

    name = "classless"
    log_probabilities = Task.log_probabilities


def test_a_task_without_classes_is_refused() -> None:
    (line,) = lacks(evaluate=[Uncertainty()], task=Classless(), baseline=[Lone()])
    assert "task classless has none" in line
    ahead = Ahead(tiny_run("none", task=Classless()).recipe, "evaluate", Path(), False, None)
    Uncertainty().foresee(ahead)
    assert len(ahead.what("lacks")) == 1, "of a finished run, too"


def test_of_a_finished_run_without_baselines_nothing_is_asked(tmp_path: Path) -> None:
    pipeline = tiny_run(tmp_path, evaluate=[{"name": "accuracy"}])
    ahead = Ahead(pipeline.recipe, "evaluate", Path(), False, None)
    Uncertainty().foresee(ahead)
    assert not ahead.what("lacks")
    head, rows = table(scores_of(pipeline, (Uncertainty(),)))
    assert "cal. NLL" in head and "DEE" not in head and "AUROC" not in head and len(rows) == 2


def test_it_keeps_its_contract() -> None:
    options = OPTIONS | {"foreign": ["rotated", "noise"], "corruptions": ["blur"]}
    check_component(Uncertainty, strict=True, run=DIGITS, **options)


def scored(folder: Path, seed: int, **tables: Any) -> dict[str, Any]:
    evaluate = [{"name": "accuracy"}, Uncertainty(**OPTIONS)]
    pipeline = tiny_run(folder, seed=seed, evaluate=evaluate, baseline=BASELINES, **tables)
    return scores_of(pipeline) | {"seed": seed}


def test_the_table_fits_a_terminal_and_has_a_lone_network(tmp_path: Path) -> None:
    scores = scored(tmp_path, 0)
    head, rows = table(scores)
    kept = [head[index] for index in shown(scores, head, rows, 80)]
    assert {"cal. NLL", "DEE", "cost"} <= set(kept)
    assert [row[0] for row in rows][-1] == "one of deep_ensemble"
    assert {row[0]: row[head.index("cost")] for row in rows}["deep_ensemble"] == "3.00", "of three of its four networks"


def test_what_it_shows_of_a_protocol_that_selects_on_the_test_split(tmp_path: Path) -> None:
    evaluator = Uncertainty(**OPTIONS)
    pipeline = tiny_run(tmp_path, protocol="paper", baseline=BASELINES, evaluate=[evaluator])
    view = pipeline.view(scores_of(pipeline))
    showing = Showing({"uncertainty": evaluator}, lambda line: None)
    figures = showing.figures(view)
    (made,) = showing.pages(view, figures)
    assert not showing.faults and "other half of the test split" in made.sections["Verdict"]
    assert {figure.name for figure in figures} == {"equivalent", "reliability", "risk"}
    assert "Agreement" in made.sections and made.sections["Under corruption"] == ""


def test_runs_with_other_seeds_are_compared_by_calibrated_likelihood(tmp_path: Path) -> None:
    """Seeds, with networks of their own, and examples are crossed; what summaries have stands beside, by seed."""
    sweep = Sweep.make(tmp_path / "s", [Cell("r.toml", {"seed": seed}, "r", seed) for seed in range(3)])
    scores = {seed: json.loads(json.dumps(scored(tmp_path, seed))) for seed in range(3)}
    for seed, each in scores.items():
        run = SimpleNamespace(scores=each | {"scored_by": ""})  # scores by example need the run itself
        effects.keep(run, sweep.examples(seed))  # type: ignore[arg-type]
    (group,) = page.groups(sweep, scores)
    (measured,) = group.measures
    assert measured.name == "r: calibrated log-likelihood" and "one of deep_ensemble" in measured.sources
    told = [each["uncertainty"] for each in scores.values()]
    for name in ("soup", "lone 2x", "original", "2 of deep_ensemble"):
        of_seeds = [torch.tensor(each["groups"]["tiny_method"]) - torch.tensor(each["groups"][name]) for each in told]
        gain_SG = torch.stack(of_seeds).double()
        known = difference(gain_SG, torch.zeros(1, gain_SG.shape[1]))
        assert measured.gains[name].mean == pytest.approx(float(gain_SG.mean()), abs=1e-6)
        assert measured.gains[name].error == pytest.approx(known.error, rel=1e-3)
    nll = [each["networks"]["soup"]["uncertainty"]["calibrated_nll"] for each in scores.values()]
    assert statistics.fmean(measured.means("soup")) == pytest.approx(-statistics.fmean(nll), rel=1e-5)
    written = page.write(sweep, "T", scores, {}).read_text()
    assert "r: calibrated log-likelihood" in written and "; ".join(f"{value:.4f}" for value in nll) in written
    kept = json.loads((sweep.path / "results.json").read_text())[0]["measures"][0]
    assert kept["differences"]["soup"]["mean"] == pytest.approx(measured.gains["soup"].mean)


def test_one_seed_says_what_its_run_says(tmp_path: Path) -> None:
    sweep, scores = Sweep.make(tmp_path / "s", [Cell("r.toml", {"seed": 0}, "r", 0)]), {0: scored(tmp_path, 0)}
    effects.keep(SimpleNamespace(scores=scores[0] | {"scored_by": ""}), sweep.examples(0))  # type: ignore[arg-type]
    (measured,) = page.groups(sweep, scores)[0].measures
    for name, gain in scores[0]["uncertainty"]["gains"].items():
        assert measured.gains[name].interval() == pytest.approx((gain["low"], gain["high"]))


def test_each_row_is_drawn_at_its_worth_and_its_cost() -> None:
    """Moved aside, rows stood on the other side of the line that tells whether they are worth their cost."""
    costs = {f"row {number}": 1 + number / 1000 for number in range(24)} | {"ours": 2.0, "dear": 4589.0, "free": 0.0}
    rows = {source: {"equivalent": 2.7, "equivalent_text": "2.7", "cost": cost} for source, cost in costs.items()}
    scores = {
        "uncertainty": {"curve": [{"size": 1}, {"size": 32}]},
        "networks": {source: {"uncertainty": row} for source, row in rows.items()},
    }
    view: Any = SimpleNamespace(scores=scores, method="ours")
    drawn = equivalent(view, looks(list(rows), "ours"))
    assert drawn is not None
    (axes,) = drawn[0].axes
    places = {tick.get_text(): place for place, tick in enumerate(axes.get_yticklabels())}
    assert next(iter(places)) == "free (0.00)" and list(places)[-2:] == ["ours (2.00)", "dear (4,589)"]
    at = [(line.get_marker(), *(float(end[0]) for end in line.get_data())) for line in axes.lines]
    assert ("D", 2.0, places["ours (2.00)"]) in at and ("D", pytest.approx(1.023), places["row 23 (1.02)"]) in at
    assert {mark for mark, _, place in at if place in (0, 26)} >= {"<", ">"}
    assert sum(size == pytest.approx(2.7) for _, size, _ in at) == 27


def test_a_figure_of_one_row_is_drawn() -> None:
    row = {"equivalent": 1.0, "equivalent_text": "< 1", "equivalent_low": 1.0, "equivalent_high": 3.0, "cost": 1.0}
    scores = {"uncertainty": {"curve": [{"size": 1}]}, "networks": {"ours": {"uncertainty": row}}}
    view: Any = SimpleNamespace(scores=scores, method="ours")
    drawn = equivalent(view, looks(["ours"], "ours"))
    assert drawn is not None and png(drawn[0])


def test_seeds_without_numbers_are_told(tmp_path: Path) -> None:
    """A method or a source that diverged with one seed took its table, or its row, away without a word."""
    sweep = Sweep.make(tmp_path / "s", [Cell("r.toml", {"seed": seed}, "r", seed) for seed in range(2)])
    scores = {seed: json.loads(json.dumps(scored(tmp_path, seed))) for seed in range(2)}
    del scores[1]["uncertainty"]["groups"]["soup"]
    for seed, each in scores.items():
        effects.keep(SimpleNamespace(scores=each | {"scored_by": ""}), sweep.examples(seed))  # type: ignore[arg-type]
    assert "soup is left out, as seed 1 has none." in page.write(sweep, "T", scores, {}).read_text()
    scores[1]["uncertainty"] = {"broken": ["tiny_method"]}
    assert (
        "calibrated log-likelihood is left out, as seed 1 has none." in page.write(sweep, "T", scores, {}).read_text()
    )
