"""Plain noise as a control: where it behaves as checkpoints do, a run says that it can tell nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import pdiff
from pdiff.context import Context
from pdiff.zoo import Entry, Layout
from pdiff_plugins.audit.noise import BEYOND, NETWORKS, Behaviour, beside
from pdiff_plugins.evaluators.telling import MOST, evenly
from tests.helpers import TINY


def behaviour(score: float, apart: float, nll_std: float, seed: int = 0) -> Behaviour:
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(3, 40, generator=generator, dtype=torch.float64)
    return Behaviour(score + 0.005 * draw[0], apart + 0.01 * draw[1], 0.3 + nll_std * draw[2], 200)


@pytest.mark.parametrize(
    ("checkpoints", "noise", "more"),
    [
        ((0.9, 0.10, 0.1), (0.9, 0.02, 0.01), True),
        ((0.9, 0.02, 0.0016), (0.9, 0.02, 0.0001), False),  # in likelihood alone, which no answer shows
        ((0.9, 0.10, 0.01), (0.9, 0.02, 0.01), False),
        ((0.9, 0.10, 0.1), (0.9, 0.10, 0.1), False),
        ((0.9, 0.02, 0.01), (0.5, 0.30, 1.0), True),  # noise is another thing: it is worse
    ],
)
def test_differing_more_than_noise_is_in_answers_and_likelihood(checkpoints: Any, noise: Any, more: bool) -> None:
    assert behaviour(*checkpoints).beyond(behaviour(*noise, seed=1)) is more


def test_equal_scores_of_different_numbers_of_networks_are_no_difference() -> None:
    """Means of 50 and of 16 equal numbers differ in their last bit."""
    for right in range(200):
        told = [torch.full((count,), right / 200, dtype=torch.float64) for count in (50, NETWORKS)]
        checkpoints, noise = (Behaviour(score_M, 0 * score_M, None, 200) for score_M in told)
        assert checkpoints.beyond(noise) is False


def test_of_few_networks_and_of_what_chance_may_have_given_nothing_is_said() -> None:
    def few(behaves: Behaviour, count: int) -> Behaviour:
        assert behaves.nll_M is not None
        return Behaviour(behaves.score_M[:count], behaves.apart_M[:count], behaves.nll_M[:count], behaves.examples)

    noise = behaviour(0.9, 0.02, 0.01, seed=1)
    assert few(behaviour(0.9, 0.02, 0.01), 9).beyond(noise) is None
    wild = behaviour(0.9, 0.04, 0.1)
    spread = Behaviour(wild.score_M, wild.apart_M + 0.3 * (torch.arange(40) == 0), wild.nll_M, 200)
    assert few(spread, 12).beyond(noise) is None  # one odd network of twelve


def test_of_many_networks_those_compared_are_spread_over_all() -> None:
    assert evenly(7).tolist() == list(range(7)) and evenly(MOST).tolist() == list(range(MOST))
    chosen = evenly(301)
    assert len(chosen) == MOST == len(chosen.unique()) and (chosen[0], chosen[-1]) == (0, 300)
    assert (chosen.diff() - 3).abs().max() <= 1


def test_noise_lies_as_far_from_checkpoints_as_is_said_and_leaves_variances() -> None:
    generator = torch.Generator().manual_seed(0)
    layout = Layout((Entry("w", (50,), 0), Entry("running_var", (4,), 50, positive=True)))
    theta_ND = torch.rand(6, 54, generator=generator)
    moved_MD = beside(theta_ND, layout, [0.5, 2.0], Context(seed=0), generator)
    near = torch.cdist(moved_MD.double(), theta_ND.double()).amin(dim=1)
    assert near[:NETWORKS].tolist() == pytest.approx([0.5] * NETWORKS, rel=1e-4) and (near[NETWORKS:] <= 2.0001).all()
    assert (moved_MD[:, None, 50:] == theta_ND[:, 50:]).all(dim=2).any(dim=1).all() and BEYOND > 1


def run(tmp_path: Path, **more: Any) -> Any:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "tiny.toml").write_text(TINY)
    own = {
        "run.out": str(tmp_path / "runs"), "method": {"name": "gaussian"}, "baseline": [{"name": "soup"}],
        "evaluate": [{"name": "accuracy"}, {"name": "similarity"}, {"name": "audit", "examples": 100, "aligned": 0}],
        "report": [{"name": "markdown"}, {"name": "html"}], "sample.count": 20,
    }  # fmt: skip
    return pdiff.run(tmp_path / "tiny.toml", set=own | more, quiet=True)


PRAISE = ("are as good as", "equally varied", "no reason to prefer", "err in their own way")


def check_silent(ran: Any, *words: str) -> None:
    """The headline says that nothing can be told, and why; no sentence praises; the verdict makes no claim."""
    report = (ran.folder / "report.md").read_text()
    headline = next(line for line in report.splitlines() if line.startswith("**"))
    assert headline.startswith("**This run can tell nothing about a generator: ")
    assert all(word in headline for word in words), headline
    assert not [word for word in PRAISE if word in report]
    assert "audit: no claim, as the run can tell nothing" in report
    assert "can tell nothing about a generator" in (ran.folder / "index.html").read_text()


def test_originals_at_chance_are_called_so(tmp_path: Path) -> None:
    own = {"train": {"epochs": 0}, "collect": {"name": "trajectory", "count": 20, "lr": 1e-5}}
    check_silent(run(tmp_path, **own), "the originals are at chance", "most frequent class")


def test_checkpoints_that_answer_alike_are_called_so(tmp_path: Path) -> None:
    own = {"collect": {"name": "trajectory", "count": 20, "lr": 1e-7}}
    check_silent(run(tmp_path, **own), "the checkpoints give the same answers", "of 500 test examples")


def test_a_zoo_of_plain_noise_is_called_so_and_a_trajectory_is_not(tmp_path: Path) -> None:
    trained = run(tmp_path / "a", **{"train.epochs": 20})
    assert trained.scores["audit"]["nothing"] == []
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    generator, state = torch.Generator().manual_seed(0), trained.state_dict(0)
    from safetensors.torch import save_file

    for number in range(30):
        noisy = {key: value + 0.03 * torch.randn(value.shape, generator=generator) for key, value in state.items()}
        save_file(noisy, folder / f"{number}.safetensors")
    noise = run(tmp_path / "b", **{"collect": {"name": "folder", "path": str(folder)}})
    check_silent(noise, "plain noise as long as the checkpoints' own spread is no worse than they are")
    assert noise.scores["elsewhere"] == ["checkpoints"]
    assert any("the checkpoints were made elsewhere" in note for note in noise.scores["notes"])


def test_where_noise_passes_the_column_says_that_it_tells_nothing(tmp_path: Path) -> None:
    ran = run(tmp_path)
    passed = dict(zip(ran.scores["audit"]["multiples"], ran.scores["audit"]["np_noise"], strict=True))
    shown = [note for note in ran.scores["notes"] if "it tells nothing here" in note]
    assert bool(shown) == (passed[1] >= 0.5 or passed[3] >= 0.5) and passed[1] >= 0.5
    assert "noise" in (ran.folder / "audit.html").read_text()
