"""The audit: likelihood, calibration, ensembles, novelty, and what the verdict says of known generators."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

import pdiff
from pdiff_plugins.audit import probabilities
from pdiff_plugins.audit.probabilities import STANDS, calibration_error, ensemble, ensembles, likelihood
from pdiff_plugins.maths import neighbours
from tests.helpers import TINY


def logits(networks: int = 5, examples: int = 400, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(classes, (examples,), generator=generator)
    raw = torch.randn(networks, examples, classes, generator=generator)
    raw[:, torch.arange(examples), targets] += 1
    return raw.log_softmax(dim=2), targets


def test_likelihood_is_cross_entropy() -> None:
    logp, targets = logits()
    expected = [torch.nn.functional.nll_loss(own, targets).item() for own in logp]
    assert likelihood(logp, targets).tolist() == pytest.approx(expected, rel=1e-4)


def test_calibration_against_the_definition_and_a_calibrated_case() -> None:
    logp, targets = logits(networks=1)
    confidence, found = logp[0].exp().max(dim=1)
    total = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            gap = (found[inside] == targets[inside]).float().mean() - confidence[inside].mean()
            total += float(gap.abs()) * int(inside.sum()) / len(targets)
    assert calibration_error(logp, targets)[0].item() == pytest.approx(total, abs=1e-5)
    half = torch.tensor([0.5, 0.5]).log().expand(1, 1000, 2)
    assert calibration_error(half, torch.arange(1000) % 2)[0] < 1e-5


def test_an_ensemble_averages_probabilities_and_gains_by_it() -> None:
    logp, targets = logits(networks=16)
    score, nll = ensemble(logp, targets)
    mean = logp.exp().mean(dim=0)
    assert nll == pytest.approx(torch.nn.functional.nll_loss(mean.log(), targets).item(), rel=1e-4)
    assert score == pytest.approx((mean.argmax(dim=1) == targets).float().mean().item())
    assert nll < likelihood(logp, targets).min()
    whole = ensembles(logp, targets, 16, 2, torch.Generator().manual_seed(0))
    assert whole[:4] == pytest.approx((score, 0, nll, 0), rel=1e-4) and whole.draws == 1
    few = ensembles(logp, targets, 4, 20, torch.Generator().manual_seed(0))
    assert nll < few.nll < likelihood(logp, targets).mean() and few.draws == 20


def test_ensembles_are_drawn_until_the_printed_digits_stand() -> None:
    logp, targets = logits(networks=12)
    alone = [ensemble(logp[list(chosen)], targets) for chosen in combinations(range(12), 4)]
    score, nll = (torch.tensor(values, dtype=torch.float64).mean().item() for values in zip(*alone, strict=True))
    drawn = [ensembles(logp, targets, 4, 20_000, torch.Generator().manual_seed(seed)) for seed in range(8)]
    assert all(max(each.score_error, each.nll_error) <= STANDS and 256 < each.draws < 20_000 for each in drawn)
    away = [((each.score - score) / each.score_error, (each.nll - nll) / each.nll_error) for each in drawn]
    squares = torch.tensor(away).square().mean(dim=0)  # of standard normal variables: 1, give or take a half
    assert all(0.05 < square < 3 for square in squares.tolist())
    cut = ensembles(logp, targets, 4, 300, torch.Generator().manual_seed(0))
    assert cut.draws == 300 and max(cut.score_error, cut.nll_error) > STANDS


def test_ensembles_in_parts_are_those_of_the_whole(monkeypatch) -> None:
    logp, targets = logits()
    whole = ensemble(logp, targets)
    monkeypatch.setattr(probabilities, "AT_ONCE", 60)
    assert ensemble(logp, targets) == pytest.approx(whole, rel=1e-6)


METHODS = {"copy": {"name": "copy"}, "gaussian": {"name": "gaussian", "spreads": [0.1]}, "wide": {"name": "gaussian"}}


@pytest.mark.parametrize("kind", list(METHODS))
def test_the_verdict_on_generators_that_are_known(kind: str, tmp_path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    own = {
        "run.out": str(tmp_path / "runs"), "method": METHODS[kind],
        "baseline": [{"name": "soup"}, {"name": "constant"}],
        "evaluate": [{"name": "accuracy"}, {"name": "audit", "examples": 100}], "sample.count": 40,
    }  # fmt: skip
    scores = pdiff.run(tmp_path / "tiny.toml", set=own, quiet=True).scores
    audit, networks = scores["audit"], scores["networks"]
    said = {"copy": "copies", "gaussian": "averages", "wide": "neither copies nor averages"}[kind]
    assert audit["kind"] == said and any(said in sentence for sentence in audit["verdict"])
    assert scores["notes"][-1] == f"audit: {'; '.join(audit['verdict'])}"
    assert audit["rival"] == "soup" and audit["gain"]["low"] <= audit["gain"]["mean"] <= audit["gain"]["high"]
    method = networks[scores["method"]]["audit"]
    assert method["np"] == sorted(method["np"], reverse=True)
    if kind == "copy":
        assert method["np"] == [0.0] * 5 and method["novelty"] == pytest.approx(0, abs=1e-6)
        assert method["nll"] == pytest.approx(networks["original"]["audit"]["nll"], rel=0.1)
    assert networks["constant"]["audit"]["nll"] > networks["original"]["audit"]["nll"]
    assert networks["original"]["audit"]["ensembles"]["16"]["nll"] <= networks["original"]["audit"]["nll"]


def test_one_network_neither_agrees_nor_disagrees_with_others(tmp_path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    own = {
        "run.out": str(tmp_path / "runs"), "method": {"name": "soup"}, "baseline": [{"name": "base"}],
        "evaluate": [{"name": "accuracy"}, {"name": "audit", "examples": 50}],
    }  # fmt: skip
    audit = pdiff.run(tmp_path / "tiny.toml", set=own, quiet=True).scores["audit"]
    assert audit["kind"] == "gives one network, which cannot agree with others"
    same = pdiff.run(tmp_path / "tiny.toml", set=own | {"zoo": [{"name": "first", "count": 1}]}, quiet=True).scores
    assert same["audit"]["kind"] == "cannot be told from a copy" and "np" not in same["networks"]["base"]["audit"]


def test_a_diverged_network_is_told_in_finite_numbers() -> None:
    logp = torch.tensor([[[-1e6, 0.0]]]).clamp_min(torch.finfo(torch.float16).min).half()
    assert likelihood(logp, torch.tensor([0])).isfinite().all()


def test_the_page_shows_held_out_checkpoints_and_distances_after_alignment(tmp_path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    own = {
        "run.out": str(tmp_path / "runs"), "method": {"name": "copy"}, "sample.count": 8,
        "zoo": [{"name": "holdout", "count": 6}],
        "evaluate": [{"name": "accuracy"}, {"name": "similarity"}, {"name": "audit", "examples": 50}],
        "report": [{"name": "html"}],
    }  # fmt: skip
    run = pdiff.run(tmp_path / "tiny.toml", set=own, quiet=True)
    audit = run.scores["networks"]["copy"]["audit"]
    assert audit["differs"] == 0 and audit["aligned"] == pytest.approx(audit["novelty"], abs=1e-3)
    assert 0 <= audit["recall"] <= 1 and 0 <= audit["precision"] <= 1
    page = (run.folder / "audit.html").read_text()
    assert all(word in page for word in ("aligned", "differs", "precision", "recall", "Novel and performant"))
    assert 'href="audit.html"' in (run.folder / "index.html").read_text()


def test_evaluators_of_a_run_search_the_same_rows_once(monkeypatch, tmp_path) -> None:
    searched, search = [], neighbours._neighbours

    def counted(*given: object) -> tuple[torch.Tensor, torch.Tensor]:
        searched.append(tuple(given))
        return search(*given)

    monkeypatch.setattr(neighbours, "_neighbours", counted)
    (tmp_path / "tiny.toml").write_text(TINY)
    own = {
        "run.out": str(tmp_path / "runs"), "method": {"name": "gaussian"}, "baseline": [{"name": "soup"}],
        "evaluate": [{"name": "accuracy"}, {"name": "distance"}, {"name": "audit", "examples": 50, "aligned": 0}],
    }  # fmt: skip
    pdiff.run(tmp_path / "tiny.toml", set=own, quiet=True)
    pairs = [(id(a_MD), id(b_ND), left_out) for a_MD, b_ND, left_out in searched]
    assert len(pairs) == len(set(pairs)) == 4  # checkpoints among themselves; the method likewise; both sources to them
