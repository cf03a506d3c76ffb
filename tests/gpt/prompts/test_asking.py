"""Prompts: generators whose answers are known."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdiff.context import Context
from pdiff_plugins.evaluators.accuracy import Accuracy
from pdiff_plugins.gpt.prompts import probes as prompt_probes
from pdiff_plugins.gpt.prompts.findings import headline, warnings
from pdiff_plugins.gpt.prompts.starts import HELD_OUT, NEW, Starts, unseen
from pdiff_plugins.gpt.prompts.sweep import agreement, at_best, evenly, r_squared, sweep
from tests.gpt.prompts.helpers import OBEDIENT, RANGE, Known, asker_of

CTX = Context(seed=0)


def starts_of(better="lower"):
    worst = RANGE[better][better == "lower"]
    theta = worst + torch.linspace(-0.02, 0.02, 12, dtype=torch.float64)[:, None] * worst
    return Starts({NEW: theta}, None)


def test_r_squared_of_exact_answers_is_one_and_of_constants_at_most_zero() -> None:
    asked = torch.linspace(0, 2, 5, dtype=torch.float64).repeat(3, 1)
    assert r_squared(asked, asked).tolist() == [1, 1, 1]
    assert (r_squared(asked, torch.full_like(asked, 1.0)) == 0).all()
    assert (r_squared(asked, torch.full_like(asked, 0.4)) < 0).all()
    assert r_squared(torch.ones(1, 4), torch.ones(1, 4)).isnan().all()


@settings(max_examples=20)
@given(st.floats(-500, 500), st.lists(st.floats(-500, 500), min_size=1, max_size=4), st.integers(2, 20))
def test_prompts_go_evenly_from_the_best_to_the_starts_own(best, own, count) -> None:
    wanted_MP = evenly(best, torch.tensor(own, dtype=torch.float64), count)
    assert wanted_MP.shape == (len(own), count) and (wanted_MP[:, 0] == best).all()
    assert wanted_MP[:, -1].tolist() == pytest.approx(own, abs=1e-9)
    gaps = wanted_MP.diff(dim=1)
    assert torch.allclose(gaps, gaps[:, :1].expand_as(gaps), atol=1e-9)


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_one_that_gives_what_is_asked_for(better) -> None:
    asker, starts = asker_of(OBEDIENT, better), starts_of(better)
    own, best_MD = sweep(asker, starts, 20, CTX)
    assert own["best"] == pytest.approx(RANGE[better][better == "higher"]) and (best_MD == own["best"]).all()
    right = dict.fromkeys(("r2", "r2_median", "pearson", "spearman"), 1) | {"diverged": 0, "left_out": 0}
    assert own["test"] == pytest.approx(right)
    assert own["within"] == 1 and abs(own["shuffled"]) < 0.2
    assert own["real"]["r2"] > 0.99, "the zoo holds networks of every metric"
    best = at_best(asker, starts.theta_MD, best_MD)
    assert [best["metric"], best["zoo"]["metric"]] == pytest.approx([own["best"]] * 2) and best["std"] < 1e-9


def test_one_that_ignores_prompts_is_found() -> None:
    constant = Known(lambda start, wanted, place: torch.full_like(wanted, 1.5))
    own, _ = sweep(asker_of(constant), starts_of(), 20, CTX)
    assert own["test"]["r2"] < 0.01 and own["test"]["pearson"] is None and own["shuffled"] is None
    by_place = Known(lambda start, wanted, place: 0.1 + 2.9 * (place % 20) / 19)
    own, _ = sweep(asker_of(by_place), starts_of(), 20, CTX)
    assert own["test"]["pearson"] > 0.99 and own["shuffled"] > 0.99
    scores = own | {"best_prompt": {"metric": 0.2}, "gradient": {"gradient": {"metric": 0.1}, "sign": {"metric": 1.0}}}
    assert [said.split(" ")[1:3] for said in warnings(scores)] == [["a", "single"], ["given", "the"]]


def test_updates_one_after_the_other_stop_where_they_do_harm() -> None:
    overshooting = Known(lambda start, wanted, place: torch.where(start > 1, 0.5, 4 * start))
    own = prompt_probes.probes(asker_of(overshooting), starts_of().theta_MD, 3, 4, CTX)
    assert [round(row["metric"], 6) for row in own["recursion"]["after"]] == [3, 0.5, 2, 0.5]
    assert own["recursion"]["stop"] == 1
    assert own["foreign"]["after"][0]["metric"] == pytest.approx(6)
    assert own["repeats"]["apart"] == 0 and own["repeats"]["moved"] > 2


def test_no_prompt_beyond_the_zoo_is_nonsense() -> None:
    assert prompt_probes.beyond(asker_of(OBEDIENT, "lower")) == [0.0]
    assert prompt_probes.beyond(asker_of(OBEDIENT, "higher")) == [620.0, 740.0]


def test_a_network_that_diverged_is_worst() -> None:
    asker = asker_of(Known(lambda start, wanted, place: torch.where(place == 3, torch.nan, wanted)))
    own, _ = sweep(asker, starts_of(), 5, CTX)
    assert own["groups"][NEW]["got"][0][3] is None and own["test"]["r2"] == pytest.approx(1)
    assert own["test"]["pearson"] == pytest.approx(1) and own["test"]["spearman"] == pytest.approx(1)
    assert own["test"]["diverged"] == 1 and own["test"]["left_out"] == 1
    scores = own | {"best_prompt": {"metric": 0.1}, "gradient": {"gradient": {"metric": 1.0}, "sign": {"metric": 1.0}}}
    assert "warning: 1 of 60 networks diverged; 1 of 12 starts, which have them, are left out of R2" in warnings(scores)
    assert asker.cost(torch.tensor([1.0, torch.nan])).tolist() == pytest.approx([1, torch.inf])
    assert not asker.as_good(None, 2.0) and asker.as_good(2.0, None)


def test_where_all_diverge_nothing_agrees() -> None:
    own = agreement(torch.linspace(0, 2, 5).repeat(3, 1), torch.full((3, 5), torch.inf))
    assert own == dict.fromkeys(("r2", "r2_median", "pearson", "spearman")) | {"diverged": 15, "left_out": 3}


@pytest.mark.parametrize(
    ("prompted", "said"),
    [(8.9, "are near-copies: they lie nearer to a training network than unseen runs do"),
     (9.9, "lie a little nearer to a training network than unseen runs do"),
     (10.1, "lie as far from training networks as unseen runs do")],
)  # fmt: skip
def test_how_near_networks_lie_is_always_said(prompted, said) -> None:
    own, _ = sweep(asker_of(OBEDIENT), starts_of(), 3, CTX)
    row = {"metric": 0.1, "score": None}
    own |= {
        "best_prompt": row | {"zoo": row, "starts": row},
        "gradient": {"gradient": {"metric": 1}, "sign": {"metric": 1}},
        "nearest": {"matched": True, "prompted": {"matched": prompted}, "unseen": {"matched": 10, "matched_std": 0.3}},
    }  # fmt: skip
    whole = f"prompted networks {said} ({prompted} against 10, standard deviation 0.3)"
    assert whole in headline("fake", own) and (f"warning: {whole}" in headline("fake", own)) == (prompted < 9)


def test_whole_trainings_are_no_yardstick_for_their_spread() -> None:
    networks = {
        name: {"accuracy": {"mean": mean, "std": 0.1, "best": mean, "values": [mean]}}
        for name, mean in (("original", 0.5), ("gpt", 0.9))
    }
    scores = {
        "main": "accuracy", "method": "gpt", "selection": "validation", "networks": networks, "accuracy": {},
        "facts": {},
    }  # fmt: skip

    def said(scores):
        return " ".join(finding.text for finding in Accuracy().findings(scores))

    assert "standard deviation" in said(scores)
    assert "standard deviation" not in said(scores | {"facts": {"gpt": {"metric": "loss"}}})


def test_starts_are_of_runs_that_no_method_has_seen() -> None:
    rows = [{"run": run, "step": step} for run, step in [(5, 0), (5, 8), (7, 0), (7, 8), (2, 8)]]
    held_out = SimpleNamespace(rows=rows, theta_ND=torch.arange(5.0)[:, None])
    view = SimpleNamespace(
        zoo=SimpleNamespace(rows=[{"run": 2, "step": 0}, {"run": 1, "step": 0}], holdout=held_out),
        bench=SimpleNamespace(start=lambda seed: torch.tensor([seed % 1000.0])),
    )  # fmt: skip
    starts = unseen(view, 3, CTX)
    assert starts.groups[HELD_OUT].tolist() == [[0], [2]] and starts.last_MD.tolist() == [[1], [3]]
    assert len(starts.groups[NEW].unique()) == 3 and starts.parts() == {HELD_OUT: slice(0, 2), NEW: slice(2, 5)}
