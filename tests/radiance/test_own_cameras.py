"""Scenes with cameras of their own: fitted together, asked for, judged; and one scene alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import pdiff
from pdiff.context import Context
from pdiff.data import some
from pdiff.networks import build_network
from pdiff.populations import asked
from pdiff.testing import bench_of
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.collectors.tasks.examples import shared
from pdiff_plugins.fields.collector import Fields
from pdiff_plugins.fields.described import Mixed, OfSeveral
from pdiff_plugins.fields.fitting import MANY, drawn
from pdiff_plugins.radiance.network import RadianceMlp
from pdiff_plugins.radiance.scenes.solids import Thing
from pdiff_plugins.radiance.task import Radiance
from tests.radiance.capturing import load, write

COLOURS = [(0.9, 0.2, 0.2), (0.2, 0.9, 0.2), (0.2, 0.2, 0.9), (0.9, 0.9, 0.2), (0.2, 0.9, 0.9)]
TASK, NETWORK = Radiance(samples=8, fine=12), RadianceMlp(width=16)
RECIPE = """
[dataset]
name = "posed_images"
root = "scenes"
[task]
name = "radiance"
samples = 8
fine = 12
[architecture]
name = "radiance_mlp"
width = 8
[selector]
name = "entire"
[collect]
name = "fields"
held_out = 1
steps = 4
points = 16
[encoder]
name = "attributes"
numbers = ["red"]
[method]
name = "hypernetwork"
width = 8
steps = 3
tasks = 2
batch_size = 8
[[baseline]]
name = "soup"
[sample]
count = 4
baseline_count = 4
[[evaluate]]
name = "conditions"
rival_steps = 0
adapt = [0, 1]
adapted = 2
samples = 2
"""


def captured(folder, count):
    """Write scenes of a ball in several colours, each with cameras of its own."""
    for number, colour in enumerate(COLOURS[:count]):
        write(folder / f"s{number}", thing=Thing("ball", colour, 0.6, 0.6), phase=0.23 * number)
        (folder / f"s{number}" / "description.json").write_text(f'{{"red": {colour[0]}, "text": "ball {number}"}}')
    return folder


def outputs(data):
    """Return the splits as networks of the task are built for."""
    return replace(data, outputs=TASK.outputs(data.outputs))


def collected(data, **options):
    """Return the zoo of a data set's scenes."""
    own = {"steps": 60, "points": 64, "anchor": 1e-5} | options
    model = build_network(NETWORK, data, 0)
    layout = Layout.of(model, list(model.state_dict()))
    bench = bench_of(Zoo.of_one(model.state_dict(), layout), NETWORK, TASK, data)
    return Fields(**own).collect(model, data=data, task=TASK, layout=layout, bench=bench, ctx=Context(seed=0))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return outputs(load(captured(tmp_path_factory.mktemp("captures"), 4)))


def test_each_scene_has_its_own_rays_and_colours(data):
    abouts = [{"shape": number} for number in (2, 0)]
    index = torch.tensor([5, 100, 7])
    together = OfSeveral(data.train, TASK, abouts).batch(index, torch.device("cpu"))
    for number, about in enumerate(abouts):
        alone = TASK.asked(data.train, about).batch(index, torch.device("cpu"))
        shape = about["shape"]
        assert torch.equal(alone.inputs[:, :6], data.train.segments[index, shape])
        assert torch.equal(alone.inputs, together.inputs[number])
        assert torch.equal(alone.targets, data.train.targets[index, shape])
    mixed = Mixed(OfSeveral(data.train, TASK, abouts), data.train.targets[:, [2, 0]].flatten(0, 1)[:, None])
    batch = mixed.batch(torch.tensor([0, 1, 15]), torch.device("cpu"))
    assert len(mixed) == 2 * len(data.train)
    for row, (example, shape) in enumerate([(0, 2), (0, 0), (7, 0)]):
        assert torch.equal(batch.inputs[row, :6], data.train.segments[example, shape])
        assert torch.equal(batch.targets[row, 0], data.train.targets[example, shape])
    both = shared(TASK, data.train.batch(index, torch.device("cpu")), abouts)
    assert torch.equal(both.inputs, together.inputs) and both.targets.shape == (2, 3, 3)


def test_whether_scenes_are_seen_alike_is_asked_of_the_data(data, tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name)
    alike = load(tmp_path)
    assert TASK.together(alike.train) and not TASK.together(data.train)
    assert not TASK.together(some(data.test, 5, torch.Generator()))


@pytest.mark.parametrize("start", ["mean", "first", "shared", "independent"])
def test_scenes_are_fitted_to_their_own_views(data, start):
    zoo = collected(data, start=start)
    own = [row["metrics"]["psnr"] for row in zoo.rows]
    assert min(own) > (11 if start in ("shared", "independent") else 13)
    bench = bench_of(zoo, NETWORK, TASK, data)
    abouts = [row["about"] for row in zoo.rows]
    scores = asked.scores(TASK, zoo.theta_ND, abouts, data.validation, bench.predict)
    assert torch.allclose(scores, torch.tensor(own, dtype=torch.float64), atol=1e-3), "by another road"
    others = asked.scores(TASK, zoo.theta_ND, abouts[1:] + abouts[:1], data.validation, bench.predict)
    assert (scores > others + 0.5).all(), "each knows its own colour"


def test_one_scene_is_fitted_by_several_networks(tmp_path):
    write(tmp_path / "scene")
    one = outputs(load(tmp_path / "scene"))
    with pytest.raises(pdiff.UserError, match=r"collect.copies = 1: the dataset has one shape.*; set collect.copies"):
        collected(one)
    zoo = collected(one, copies=4)
    assert [row["about"]["shape"] for row in zoo.rows] == [0] * 4 and zoo.holdout is None
    spread = zoo.theta_ND.std(dim=0).norm() / zoo.theta_ND.mean(dim=0).norm()
    assert 0.02 < spread < 0.5 and min(row["metrics"]["psnr"] for row in zoo.rows) > 15
    with pytest.raises(pdiff.UserError, match=r"has 1 tasks that are not hard; ask for fewer"):
        collected(one, copies=4, held_out=1)


def test_of_very_many_examples_a_step_draws_without_shuffling_all():
    few, many = (drawn(count, 7, torch.Generator().manual_seed(0)) for count in (100, MANY + 1))
    assert len(few.unique()) == len(many) == 7 and many.max() <= MANY
    assert torch.equal(few, torch.randperm(100, generator=torch.Generator().manual_seed(0))[:7])


def test_a_folder_of_scenes_is_learnt_and_asked_for(tmp_path):
    captured(tmp_path / "scenes", 5)
    (tmp_path / "own.toml").write_text(RECIPE)
    places = {"run.out": str(tmp_path / "runs"), "run.data": str(tmp_path)}
    run = pdiff.run(tmp_path / "own.toml", set=places, quiet=True)
    assert len(run.zoo.theta_ND) == 4 and len(run.zoo.holdout.theta_ND) == 1
    assert run.scores["conditions"]["counts"] == {"learnt": 4, "held out": 1, "hard": 0}
    assert all(5 < row["metrics"]["psnr"] < 100 for row in (*run.zoo.rows, *run.zoo.holdout.rows))
    assert torch.isfinite(run.theta("hypernetwork")).all()
