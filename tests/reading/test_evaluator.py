"""The evaluator `predict_property`: who is judged by what, the controls, another run's zoo, and what is said of it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from scipy.stats import kendalltau

from pdiff.components import identity
from pdiff.errors import UserError
from pdiff.results.shown import Showing
from pdiff_plugins.reading.evaluator import PredictProperty
from pdiff_plugins.reading.readers.statistics import Statistics
from tests.reading.running import finished

NAME = "predict_property"
SHORT = {"name": NAME, "readers": [{"name": "statistics"}]}
"""Of all readers the quickest."""


def sentences(run, **changes) -> list[str]:
    """Return what is said of a run's scores, some of them changed."""
    scores = copy.deepcopy(run.scores)
    scores[NAME] |= changes
    headline, lines = Showing({NAME: PredictProperty()}, pytest.fail).findings(scores)
    assert headline.startswith("From weights alone `statistics` tells the score of 30 networks that it has not seen")
    return lines


def test_readers_and_controls_are_judged_by_networks_of_other_runs(run) -> None:
    found = run.scores[NAME]
    assert (found["learnt"], found["judged"], found["apart"], found["best"]) == (90, 30, True, "statistics")
    true = torch.tensor(found["true"], dtype=torch.float64)
    score_N = run.bench.score(run.zoo.theta_ND)
    assert torch.allclose(torch.tensor(found["values"]).double(), score_N, atol=1e-6)
    assert set(found["true"]) <= {float(f"{value:.6g}") for value in score_N.tolist()}
    for part in ("readers", "controls"):
        for name, told in found[part].items():
            read = torch.tensor(found["read"][name], dtype=torch.float64)
            assert told["error"] == pytest.approx(float((read - true).abs().mean()), rel=1e-4)
            assert told["r2"] == pytest.approx(
                1 - float((read - true).square().mean() / true.var(correction=0)), abs=1e-4
            )
    assert found["readers"]["statistics"]["tau"] == pytest.approx(
        kendalltau(found["read"]["statistics"], found["true"]).statistic, abs=0.02
    )
    assert found["readers"]["statistics"]["r2"] > 0.3 > found["controls"]["constant"]["r2"]
    assert set(found["controls"]) == {"constant", "settings", "confidence"} and not found["cannot"]
    assert found["controls"]["settings"]["r2"] > 0.3 and found["controls"]["confidence"]["r2"] > 0.3


def test_samples_are_ranked_and_what_that_saves_is_counted(run) -> None:
    row = run.scores["networks"]["interpolation"][NAME]
    score_M = run.bench.score(run.theta()).tolist()
    assert row["best"] == pytest.approx(max(score_M)) and row["mean"] == pytest.approx(sum(score_M) / 12)
    assert row["chance"] == 13 / (1 + score_M.count(max(score_M))) and 1 <= row["tried"] <= 12
    assert run.scores["networks"]["original"][NAME]["networks"] == 30, "checkpoints that were learnt are not ranked"


def test_a_setting_is_read_and_does_not_tell_itself(run, tmp_path: Path) -> None:
    other = finished(run.folder.parent, evaluate=[SHORT | {"property": "lr"}])
    found = other.scores[NAME]
    assert found["values"] == pytest.approx([row["settings"]["lr"] for row in run.zoo.rows], rel=1e-5)
    assert found["controls"]["settings"]["r2"] < 0.5, "without the rate itself"
    assert found["readers"]["statistics"]["r2"] > 0, "weights of quick runs are longer"
    assert "interpolation" not in other.scores["networks"] or NAME not in other.scores["networks"]["interpolation"]
    measured = finished(run.folder.parent, evaluate=[SHORT | {"property": "loss"}])
    assert measured.scores[NAME]["lower"] and measured.scores["networks"]["interpolation"][NAME]["tried"] >= 1


def test_a_zoo_whose_settings_do_not_vary_says_so(tmp_path: Path) -> None:
    collect = {"name": "seeds", "count": 40, "steps": 5, "lr": 0.01, "batch_size": 32}
    found = finished(tmp_path, collect=collect).scores[NAME]
    assert "do not vary" in found["cannot"]["settings"] and set(found["controls"]) == {"constant", "confidence"}


def test_the_zoo_of_another_run_is_read_and_nothing_of_it_learnt(run, tmp_path: Path) -> None:
    narrow = {"architecture": {"name": "mlp", "hidden": [5]}, "collect": run.recipe.collect.table() | {"count": 30}}
    other = finished(tmp_path, **narrow)
    before = run.scores[NAME]
    both = finished(run.folder.parent, evaluate=[SHORT | {"transfer": str(other.folder)}])
    found = both.scores[NAME]
    carried = found.pop("transfer")
    assert found == before
    assert (carried["run"], carried["networks"]) == (other.folder.name, 30)
    value_N = other.bench.score(other.zoo.theta_ND)
    assert carried["property"] == pytest.approx([float(value_N.mean()), float(value_N.std(correction=0))])
    assert carried["readers"]["statistics"]["tau"] > 0.3 and carried["controls"]["settings"]["tau"] > 0.2
    assert any("of which nothing was learnt, `statistics` has R2" in line for line in sentences(both))
    before = identity(both.recipe.evaluate[0])
    moved = other.folder.rename(tmp_path / "moved")
    ours = [PredictProperty(readers=(Statistics(),), transfer=str(folder)) for folder in (moved, run.folder)]
    assert identity(ours[0]) == before, "where it lies is no part of it"
    assert identity(ours[1]) != before


def test_what_is_missing_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    wrong = {"name": NAME, "property": "weight_deca", "transfer": str(tmp_path / "nowhere")}
    with pytest.raises(UserError) as caught:
        finished(tmp_path / "runs", evaluate=[wrong])
    text = str(caught.value)
    assert "evaluate[0].property = 'weight_deca': is none of" in text and "did you mean 'weight_decay'?" in text
    assert "no finished run there; name a run's folder" in text
    assert not list((tmp_path / "runs").glob("*/train*"))


def test_findings_say_whether_a_control_wins(run) -> None:
    readers = run.scores[NAME]["readers"]
    gain = readers["statistics"]["gains"]["settings"]

    def said(*words: str) -> str:
        told = zip(("constant", "settings", "confidence"), words, strict=True)
        changed = readers["statistics"] | {"gains": {name: gain | {"said": word} for name, word in told}}
        return "\n".join(sentences(run, readers={"statistics": changed}))

    assert "no control wins" in said("better", "better", "better")
    wins = said("better", "worse", "")
    assert "A control wins: how the runs were trained, without weights (`settings`: R2" in wins
    assert "no control wins" not in wins and "cannot be said from so few networks" in wins
    assert "All checkpoints are of one run" in "\n".join(sentences(run, apart=False))


def test_the_figure_has_a_panel_for_readers_and_controls(run) -> None:
    figures = [*PredictProperty().figures(run.pipeline.view(run.scores))]
    assert [figure.name for figure in figures] == ["weights_read"] and figures[0].data[:4] == b"\x89PNG"
