"""A posterior begun at new networks: these are the bench's, nothing of the zoo is read, and what it costs is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pdiff.context import derive
from pdiff.engine.bench import RunBench
from pdiff.errors import UserError
from pdiff.files import load_tensors
from pdiff.recipe.loading import load_recipe
from pdiff.running.snapshot import Snapshot
from pdiff.testing import tiny_run
from pdiff.zoo import Zoo
from pdiff_plugins.adapters.selector import Lora
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.posterior.low_rank import UNIT, Networks
from pdiff_plugins.posterior.method import Posterior
from tests.bayes.trainings.helpers import CTX, Killed, Killer, bench_for
from tests.helpers import TINY

NEW = {"begin": "new", "centres": 3, "rank": 2, "networks": 3, "batch_size": 8, "lr": 0.5}
MLP = {"name": "mlp", "hidden": (5,)}


def fitted(bench: RunBench, ctx=CTX, **own) -> Networks:
    generator = Posterior.model_validate(NEW | own).fit(bench.zoo, bench, ctx)
    assert isinstance(generator, Networks)
    return generator


def started(bench: RunBench, count: int = 3) -> Tensor:
    return torch.stack([bench.start(derive(CTX.seed, "new", number)) for number in range(count)])


def test_centres_are_new_networks_of_seeds_of_their_own() -> None:
    bench = bench_for()
    theta_CD = started(bench)
    assert len(theta_CD.unique(dim=0)) == 3
    alone = fitted(bench, rank=0, steps=0)
    torch.testing.assert_close(alone.sample(9, bench, CTX), theta_CD)
    trained_CD = fitted(bench, rank=0, steps=60).sample(9, bench, CTX)
    batch = bench.objective.split.batch(torch.arange(40), CTX.device)
    assert (bench.objective.losses(trained_CD, batch) < 0.9 * bench.objective.losses(theta_CD, batch)).all()
    first_CD = fitted(bench, rank=0, steps=0, centres=2).sample(9, bench, CTX)
    torch.testing.assert_close(first_CD, theta_CD[:2])


def test_around_each_it_begins_as_wide_as_is_said() -> None:
    bench = bench_for()
    begun, theta_CD, spread = fitted(bench, steps=0, rank=40, spread=2.0), started(bench), 2.0
    theta_MD = begun.sample(3000, bench, CTX)
    near_M = torch.cdist(theta_MD, theta_CD).argmin(dim=1)
    size = theta_CD.square().mean().sqrt()
    moved = bench.zoo.layout.tensors(theta_MD - theta_CD[near_M])
    for key, value in bench.zoo.layout.tensors(theta_CD).items():
        unit = UNIT * max(value.square().mean().sqrt(), 0.1 * size)
        assert float(moved[key].square().mean().sqrt()) == pytest.approx(float(spread * unit), rel=0.25)
    assert near_M.bincount().min() > 800  # each is drawn as often


def test_nothing_of_the_zoo_is_read() -> None:
    bench = bench_for()
    zoo = bench.zoo
    theta_ND = 5 * torch.randn(6, zoo.layout.dim, generator=torch.Generator().manual_seed(0))
    rows = [{"run": 0, "step": n, "metrics": {}} for n in range(6)]
    anchor = {key: value + 1 for key, value in zoo.anchor.items()}
    other = replace(bench, zoo=Zoo(theta_ND, zoo.layout, anchor, rows))
    found = [fitted(of, steps=20).tensors() for of in (bench, other)]
    assert all(value.equal(found[1][key]) for key, value in found[0].items())


def test_the_same_bytes_twice_and_what_is_stored_gives_the_same_networks(tmp_path: Path) -> None:
    found = []
    for name in ("one", "other"):
        run = tiny_run(tmp_path / name, method=Posterior(**NEW, steps=20), architecture=MLP, task=Classification())
        (label,) = Posterior(**NEW).variants()
        generator, store = run.generator(label), [*(tmp_path / name).rglob("generator.safetensors")]
        theta_MD = generator.sample(5, run.bench, CTX)
        again = Posterior(**NEW).load(load_tensors(store[0]), run.zoo, run.bench, CTX)
        assert again.sample(5, run.bench, CTX).equal(theta_MD)
        found.append((store[0].read_bytes(), generator.facts))
    assert found[0] == found[1] and found[0][1] == {"examples": 20 * 3 * 8, "begins": "nothing"}


@pytest.mark.usefixtures("saved_at_every_step")
def test_killed_anywhere_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    bench = bench_for()
    whole, ctx = fitted(bench, steps=30), CTX.replace(snapshot=Snapshot(tmp_path))
    for steps in (11, 8):
        with pytest.raises(Killed):
            fitted(bench, ctx.replace(progress=Killer(steps)), steps=30)
    last = Killer(10**9)
    again = fitted(bench, ctx.replace(progress=last), steps=30)
    assert last.begun[0][1] > 11, "it went on where it was killed"
    assert all(value.equal(again.tensors()[key]) for key, value in whole.tensors().items())


def test_what_is_not_selected_is_the_base_networks_and_costs_its_training() -> None:
    assert fitted(bench_for(), steps=1).facts["begins"] == "nothing"
    part = bench_for(keys=["3.weight", "3.bias"])
    generator = fitted(part, steps=1)
    assert generator.facts == {"examples": 3 * 8, "begins": "one"} and generator.sample(4, part, CTX).shape == (4, 21)


def test_adapters_are_of_the_base_network(tmp_path: Path) -> None:
    method = Posterior(**NEW, steps=2)
    run = tiny_run(
        tmp_path, method=method, task=Classification(), architecture=MLP, selector=Lora(rank=1),
        collect={"name": "trajectory", "count": 4, "lr": 0.01, "batch_size": 20},
    )  # fmt: skip
    generator = run.generator("posterior from 3 new")
    assert generator.facts["begins"] == "one" and generator.sample(4, run.bench, CTX).isfinite().all()


def test_running_statistics_are_refused() -> None:
    bench = bench_for(net="batch_norm")
    with pytest.raises(UserError) as error:
        fitted(bench)
    assert str(error.value) == (
        "posterior: begin = 'new' does not go with running statistics (1.running_mean), which no loss trains; begin at "
        "'checkpoints', or at 'one'"
    )
    keys = [key for key, value in bench.build(0).named_parameters()]
    assert fitted(bench_for(net="batch_norm", keys=keys), steps=1).facts["begins"] == "one"


def test_labels_keys_and_what_does_not_go_together(tmp_path: Path) -> None:
    methods = (Posterior(**NEW), Posterior(**NEW | {"rank": 0}))
    assert [*map(list, map(Posterior.variants, methods))] == [["posterior from 3 new"], ["trained 3 new"]]
    assert Posterior(**NEW).identity()["begin"] == "new"
    (tmp_path / "tiny.toml").write_text(TINY)
    for own, line in (
        ({"within": "span"}, "begin = 'new' has no checkpoints to span anything; set within = 'all'"),
        ({"centres": 0}, "begin = 'new' needs new networks; set centres to at least 1"),
    ):
        with pytest.raises(UserError, match=line):
            load_recipe(tmp_path / "tiny.toml", {"method": {"name": "posterior"} | NEW | own})


def test_networks_that_are_all_zero_move_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunBench, "start", lambda self, seed: torch.zeros(self.zoo.layout.dim))
    bench = bench_for()
    theta_MD = fitted(bench, steps=3).sample(4, bench, CTX)
    assert theta_MD.isfinite().all() and float(theta_MD.std()) > 1e-4
