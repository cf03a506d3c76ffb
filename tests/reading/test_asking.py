"""From Python and the command line: networks are ranked by their weights, and none of them is evaluated."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from pdiff.engine.bench import RunBench
from pdiff.errors import UserError
from pdiff.files import save_tensors
from pdiff_plugins.reading.asking import predict_property
from pdiff_plugins.reading.readers.statistics import Statistics
from tests.helpers import call, mistake


def test_samples_are_read_as_the_reader_that_learnt_the_zoo_reads_them(run, monkeypatch) -> None:
    score_N = run.bench.score(run.zoo.theta_ND)
    expected_M = (
        Statistics().fit(run.zoo.theta_ND, score_N, run.bench, run.context("test")).read(run.theta(), run.bench)
    )
    monkeypatch.setattr(RunBench, "score", lambda *_: pytest.fail("a network was evaluated"))
    told = predict_property(run)
    torch.testing.assert_close(told.value_M, expected_M, atol=1e-4, rtol=1e-4)
    assert told.names == [str(number) for number in range(12)] and told.reader == "statistics"
    ranked = told.ranked()
    assert [value for _, value in ranked] == sorted(told.value_M.tolist(), reverse=True)
    assert any("of 30 checkpoints that it had not learnt: R2 0." in line for line in told.said)
    assert predict_property(run.folder, run.theta()[:3]).value_M.equal(told.value_M[:3])


def test_files_read_as_the_networks_that_they_hold(run, tmp_path: Path) -> None:
    run.export(tmp_path / "all", every=True)
    save_tensors(tmp_path / "best.safetensors", run.state_dict("best"))
    told, best = predict_property(run, [tmp_path / "all", tmp_path / "best.safetensors"]), run.number("best")
    expected_M = predict_property(run).value_M
    assert told.value_M[:12].equal(expected_M) and told.value_M[12] == expected_M[best]
    assert told.names[-1].endswith("best.safetensors") and told.names[:12] == sorted(told.names[:12])


def test_a_run_without_the_evaluator_is_read_too(run) -> None:
    """The property of its zoo is then evaluated, and how near reading is, is not known."""
    told = predict_property(run, property="loss")
    assert told.lower and told.ranked()[0][1] == float(told.value_M.min())
    assert "is not known: pdiff evaluate" in told.said[-1]


def test_the_command_ranks_and_writes(run, tmp_path: Path) -> None:
    name, out = run.folder.name, str(run.folder.parent)
    text = call("read", name, "--out", out, "--top", "3", "--to", str(tmp_path / "ranks.csv"))
    assert "and 9 more" in text and "none of the networks was evaluated" in text
    with open(tmp_path / "ranks.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    ranked = predict_property(run).ranked()
    assert [row["network"] for row in rows] == [network for network, _ in ranked]
    assert [float(row["score"]) for row in rows] == pytest.approx([value for _, value in ranked], rel=1e-5)
    assert "is there already" in mistake("read", name, "--out", out, "--to", str(tmp_path / "ranks.csv"))


def test_mistakes_are_one_line(run, tmp_path: Path) -> None:
    name, out = run.folder.name, ["--out", str(run.folder.parent)]
    assert "no such reader; did you mean 'statistics'?" in mistake("read", name, *out, "--reader", "statistic")
    assert "no such property" in mistake("read", name, *out, "--property", "scores")
    assert "holds no checkpoints" in mistake("read", name, str(tmp_path), *out)
    assert "leave one of them out" in mistake("read", name, str(tmp_path), *out, "--source", "original")
    save_tensors(tmp_path / "other.safetensors", {"weight": torch.zeros(3)})
    assert "other.safetensors" in mistake("read", name, str(tmp_path / "other.safetensors"), *out)
    with pytest.raises(UserError, match=r"of shape \[2, 3\], and the run's are \[M, "):
        predict_property(run, torch.zeros(2, 3))
