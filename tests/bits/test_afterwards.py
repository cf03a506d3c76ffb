"""Steps on samples, and the baselines: each weight on its own, and checkpoints that a baseline collects for itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import pdiff
from pdiff.components import KINDS
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.files import read_json
from pdiff.running.snapshot import Snapshot
from pdiff.testing import Points, TinyNet, TinyTask, bench_of, tiny_splits, tiny_zoo
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.bits.grid import matrices, rounded
from pdiff_plugins.bits.masks import columns
from pdiff_plugins.bits.packing import counted
from tests.helpers import SMALL

SEEDS = {"name": "seeds", "count": 6, "steps": 20, "lr": 3e-3, "start": "base"}
DENSE = {"name": "afterwards", "collect": SEEDS}


def component(kind: str, **options):
    return KINDS[kind].model_validate(options)


def after(name: str, theta_MD: torch.Tensor, zoo: Zoo, **options) -> torch.Tensor:
    return component("transform", name=name, **options).samples(theta_MD, zoo, Points(zoo), Context(seed=0))


def test_rounded_networks_lie_on_the_grid_and_all_else_stays() -> None:
    zoo = tiny_zoo()
    theta_MD = after("rounded", zoo.theta_ND, zoo, bits=2)
    assert counted(theta_MD, zoo.layout).width_M.unique().tolist() == [2]
    assert theta_MD.equal(rounded(zoo.theta_ND, zoo.layout, 2))
    rest = torch.ones(zoo.layout.dim, dtype=torch.bool)
    rest[columns(zoo.layout)] = False
    assert theta_MD[:, rest].equal(zoo.theta_ND[:, rest])
    assert after("rounded", theta_MD, zoo, bits=2).equal(theta_MD), "twice is once"


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_the_smallest_weights_are_cut_over_all_matrices(keep: float) -> None:
    zoo = tiny_zoo()
    theta_MD, own = after("cut", zoo.theta_ND, zoo, keep=keep), columns(zoo.layout)
    alive = theta_MD[:, own] != 0
    assert alive.sum(dim=1).unique().tolist() == [round(keep * len(own))]
    sizes = zoo.theta_ND[:, own].abs()
    for alive_W, size_W in zip(alive, sizes, strict=True):
        assert size_W[alive_W].min() >= size_W[~alive_W].max()
    each_MD = after("cut", zoo.theta_ND, zoo, keep=keep, each=True)
    for entry in matrices(zoo.layout):
        size = entry.stop - entry.start
        assert (each_MD[:, entry.columns] != 0).sum(dim=1).unique().tolist() == [round(keep * size)]
    assert counted(after("rounded", theta_MD, zoo, bits=3), zoo.layout).kept_M.max() <= keep + 0.01, "zeros stay"


def test_a_network_without_matrices_has_nothing_to_round() -> None:
    layout = Layout((Entry("bias", (4,), 0),))
    zoo = Zoo(torch.randn(3, 4), layout, {"bias": torch.zeros(4)}, [{}] * 3)
    assert not matrices(layout)
    with pytest.raises(UserError, match=r"rounded is of weights of matrices.*leave the step out"):
        after("rounded", zoo.theta_ND, zoo, bits=2)


def test_marginals_keep_each_weights_frequencies_and_nothing_of_which_go_together() -> None:
    layout, g = Layout((Entry("w", (1, 2), 0),)), torch.Generator().manual_seed(0)
    one = torch.randint(3, (50, 1), generator=g).float()
    zoo = Zoo(torch.cat([one, one], dim=1), layout, {"w": torch.zeros(1, 2)}, [{}] * 50)
    method, bench, ctx = component("method", name="marginals"), Points(zoo), Context(seed=0)
    theta_MD = method.fit(zoo, bench, ctx).sample(9000, bench, ctx)
    share = torch.bincount(one.flatten().long()) / 50
    for column in theta_MD.T:
        assert (torch.bincount(column.long()) / 9000).allclose(share, atol=0.02)
    together = torch.bincount((3 * theta_MD[:, 0] + theta_MD[:, 1]).long(), minlength=9) / 9000
    assert together.allclose((share[:, None] * share).flatten(), atol=0.02)


def test_labels_say_what_was_done() -> None:
    label = {
        "zoo": {}, "soup rounded": {"method": {"name": "soup"}, "step": {"rounded": 2}},
        "dense zoo": {"collect": SEEDS}, "dense zoo cut": {"collect": SEEDS, "step": [{"name": "cut", "keep": 0.3}]},
        "dense pdiff rounded": {"collect": SEEDS, "method": {"name": "pdiff"}, "step": {"rounded": 2}},
        "mine": {"collect": SEEDS, "label": "mine"},
    }  # fmt: skip
    for wanted, options in label.items():
        assert list(component("method", name="afterwards", **options).variants()) == [wanted]
    two = component("method", name="afterwards", method={"name": "gaussian", "spreads": (1.0, 0.5)}, label="wide")
    assert list(two.variants()) == ["wide gaussian 1", "wide gaussian 0.5"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    """A run whose checkpoints are rounded, beside one zoo that baselines collect, which they fit once."""
    folder = tmp_path_factory.mktemp("afterwards")
    (folder / "small.toml").write_text(SMALL)
    steps = {"rounded": 2}
    baselines = [DENSE, DENSE | {"step": steps}, DENSE | {"method": {"name": "soup"}, "step": steps},
                 {"name": "afterwards", "method": {"name": "soup"}, "step": steps}]  # fmt: skip
    options = {"run.out": str(folder / "runs"), "baseline": baselines, "sample.step": steps, "sample.count": 4}
    return pdiff.run(folder / "small.toml", set=options | {"evaluate": [{"name": "accuracy"}]}, quiet=True)


def test_a_baseline_collects_its_own_zoo_once_and_its_steps_are_after(run) -> None:
    assert run.sources[2:] == ["dense zoo", "dense zoo rounded", "dense soup rounded", "soup rounded"]
    plan, train = run.pipeline.plan, run.pipeline.data.train
    assert plan.fit("dense zoo") == plan.fit("dense zoo rounded") != plan.fit("dense soup rounded")
    fitted, again = (run.pipeline.generator(source) for source in ("dense zoo", "dense soup rounded"))
    assert fitted.zoo.theta_ND.equal(again.zoo.theta_ND), "one collector and one seed give one zoo"
    assert len(fitted.zoo) == 6 and not fitted.zoo.theta_ND.equal(run.zoo.theta_ND[:6])
    assert fitted.zoo.rows[0]["metrics"].keys() == {"train_loss", "accuracy"}
    assert fitted.facts == {"begins": "one", "examples": KINDS["collector"].model_validate(SEEDS).examples(len(train))}
    dense_MD = run.theta("dense zoo rounded")
    assert dense_MD.equal(rounded(fitted.zoo.theta_ND, run.zoo.layout, 2))
    soup_D = fitted.zoo.theta_ND.mean(dim=0)
    assert run.theta("dense soup rounded")[0].allclose(rounded(soup_D[None], run.zoo.layout, 2)[0], atol=1e-5)


def test_a_baseline_trains_the_runs_networks(run) -> None:
    scores = read_json(Path(run.folder) / "scores.json")["networks"]
    assert scores["dense zoo"]["accuracy"]["mean"] > 0.3


def test_what_cannot_be_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    for options, words in (
        ({"zoo": {"align": True}}, "baseline[0].zoo: steps are on what collect makes"),
        ({"step": {"align": True}}, "align is no step on samples"),
        ({"zoo": {"rounded": 2}}, "rounded is no step on a zoo"),
        ({"step": {"rounded": 9}}, "less than or equal to 8"),
    ):
        with pytest.raises(UserError, match=r".") as caught:
            pdiff.run(tmp_path / "small.toml", set={"baseline": [{"name": "afterwards"} | options]}, quiet=True)
        assert words in str(caught.value)


def test_a_fit_that_is_stopped_after_collecting_goes_on_with_the_same_bytes(tmp_path: Path, monkeypatch) -> None:
    zoo = tiny_zoo()
    bench = bench_of(zoo, TinyNet(), TinyTask(), tiny_splits())
    method = component("method", **DENSE, method={"name": "pdiff", "steps": 6, "timesteps": 5, "batch_size": 4})
    own = type(method.method)

    def fit(folder: str) -> dict[str, torch.Tensor]:
        (tmp_path / folder).mkdir(exist_ok=True)
        return method.fit(zoo, bench, Context(seed=3, snapshot=Snapshot(tmp_path / folder))).tensors()

    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    whole = fit("whole")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(own, "fit", stopped)
        fit("stopped")
    again = fit("stopped")
    assert whole.keys() == again.keys() and all(again[key].equal(value) for key, value in whole.items())
