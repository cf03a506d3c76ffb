"""The task of shapes that are described: each network's own, fitted, held out and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

import pdiff
from pdiff.cli import build
from pdiff.components import Ahead
from pdiff.context import Context
from pdiff.data import Batch
from pdiff.errors import Faults, UserError
from pdiff.networks import build_network
from pdiff.testing import bench_of
from pdiff.zoo import Layout, Zoo
from pdiff.zoo import about as about_of
from pdiff_plugins.conditions.families.shifts import Shifts
from pdiff_plugins.fields.collector import Fields
from pdiff_plugins.fields.described import OfSeveral, _near
from pdiff_plugins.fields.evaluation.evaluator import ShapeMetrics
from pdiff_plugins.fields.evaluation.renderings import Renderings
from pdiff_plugins.fields.fitting import with_own
from pdiff_plugins.fields.network import Siren
from pdiff_plugins.fields.shape import Shape
from pdiff_plugins.fields.shapes.families import solids
from pdiff_plugins.fields.shapes.space import Shapes3d
from pdiff_plugins.fields.task import FieldTask
from pdiff_plugins.radiance.task import Radiance

SOLIDS = Shapes3d(count=12, test_count=0, resolution=10, near=64, turned=False, levels=5)


@pytest.fixture(scope="module")
def data():
    return SOLIDS.load(Context(seed=0))


def fitted(data, **options):
    model = build_network(Siren(width=8), data, 0)
    layout = Layout.of(model, list(model.state_dict()))
    bench = bench_of(Zoo.of_one(model.state_dict(), layout), Siren(width=8), Shape(), data)
    collector = Fields(**({"learnt": 5, "held_out": 3, "steps": 150, "lr": 2e-2, "points": 64, "near": 64} | options))
    return collector.collect(model, data=data, task=Shape(), layout=layout, bench=bench, ctx=Context(seed=0)), bench


def test_loss_and_score_are_of_the_networks_own_shape(data):
    task, network, index = Shape(), build_network(Siren(), data, 0), torch.arange(50)
    about = {"shape": 7}
    batch = task.ask(data.train.batch(index, torch.device("cpu")), about)
    out, own = network(batch.inputs)[:, 0], data.train.targets[index, 7]
    torch.testing.assert_close(task.loss(network, batch), F.binary_cross_entropy_with_logits(out, own))
    squared = Shape(values="distance").loss(network, Batch(batch.inputs, own))
    torch.testing.assert_close(squared, (out - own).square().mean())
    shapes, targets = data.test.targets.T, task.asked(data.test, about).targets
    inside = shapes > 0.5
    expected = [float((a & inside[7]).sum() / (a | inside[7]).sum()) for a in inside]
    assert task.score(shapes, targets).tolist() == pytest.approx(expected) and expected[7] == 1
    assert torch.equal(task.wrong(shapes, targets), inside ^ inside[7])


def test_points_close_to_shapes_are_each_networks_own(data):
    abouts = [{"shape": number} for number in (7, 2, 9)]
    several = OfSeveral(data.train, Shape(), abouts)
    near = _near(Fields(near=16), data.train, abouts)
    index = torch.arange(40)
    shared = Batch(several.batch(index, torch.device("cpu")).inputs, several.targets[index])
    batch = with_own(shared, near, 16, torch.Generator().manual_seed(0))
    assert batch.inputs.shape == (3, 56, 3) and batch.targets.shape == (56, 3)
    every, _ = solids(12, Context(seed=0).generator("shapes"), 5, turn=False)
    for place, about in enumerate(abouts):
        known = torch.sigmoid(-25 * every[about["shape"]](batch.inputs[place]))
        torch.testing.assert_close(batch.targets[:, place], known, atol=1e-5, rtol=0)


def test_each_network_draws_its_own_shape_best(data):
    zoo, bench = fitted(data)
    for part in (zoo, zoo.holdout):
        drawn = bench.predict(part.theta_ND, "test")
        apart = torch.cdist(drawn, data.test.targets.T)
        assert apart.argmin(dim=1).tolist() == [about_of(row)["shape"] for row in part.rows]
    assert [row["part"] for row in zoo.holdout.rows] == ["held out"] * 3
    assert not {about_of(row)["shape"] for row in zoo.rows} & {about_of(row)["shape"] for row in zoo.holdout.rows}


def test_held_out_shapes_tell_nothing_of_where_networks_start(data):
    zoo, _ = fitted(data, steps=3)
    held = [about_of(row)["shape"] for row in zoo.holdout.rows]
    other = data.train.targets.clone()
    other[:, held] = 1 - other[:, held]
    changed = replace(data, train=replace(data.train, targets=other))
    again, _ = fitted(changed, steps=3)
    assert torch.equal(zoo.theta_ND, again.theta_ND) and not torch.equal(zoo.holdout.theta_ND, again.holdout.theta_ND)


def test_what_cannot_be_asked_is_said_before_a_run(data):
    def lines(component, task, dataset=SOLIDS, **collect):
        recipe = SimpleNamespace(task=task, dataset=dataset, collect=Fields(**collect), architecture=Siren())
        ahead = Ahead(recipe, "here", Path(), True, None)
        component.foresee(ahead)
        return ahead.what("lacks")

    whole = Shapes3d()
    assert "task shape asks each split for all shapes; set test_count = 0" in lines(whole, Shape(), whole)[0]
    assert "task field takes a test split of other shapes; set test_count" in lines(SOLIDS, FieldTask())[0]
    assert not lines(SOLIDS, Shape()) and not lines(whole, FieldTask(), whole)
    assert "set collect.held_out" in lines(ShapeMetrics(), Shape())[0]
    assert not lines(ShapeMetrics(), Shape(), held_out=2) and not lines(Renderings(), Shape())
    assert not lines(Renderings(), Radiance())
    assert "those of task shifts are neither" in lines(Renderings(), Shifts())[0]
    with pytest.raises(UserError, match=r"task 'shape': .* all 8 shapes .* test_count = 0"):
        Shape().tasks({}, Shapes3d(count=12, test_count=3, resolution=8).load(Context(seed=0)), torch.Generator())
    with pytest.raises(UserError, match=r"task.values = 'occupancy': .* not 0 to 1; use values = 'distance'"):
        fitted(SOLIDS.model_copy(update={"target": "distance"}).load(Context(seed=0)))


RECIPE = """
[dataset]
name = "shapes3d"
count = 24
test_count = 0
resolution = 9
near = 64
turned = false
[task]
name = "shape"
[architecture]
name = "siren"
width = 8
[selector]
name = "entire"
[collect]
name = "fields"
learnt = 16
held_out = 6
steps = 60
lr = 3e-2
points = 64
near = 64
[encoder]
name = "attributes"
numbers = ["width", "depth", "height", "thickness", "handle"]
[method]
name = "hypernetwork"
steps = 5
[[baseline]]
name = "nearest"
[[baseline]]
name = "copy"
[sample]
count = 6
baseline_count = 6
[[evaluate]]
name = "conditions"
rival_steps = 0
adapt = []
[[evaluate]]
name = "fields"
surface_points = 50
[[evaluate]]
name = "renderings"
samples = 3
films = 2
frames = 3
side = 10
sides = [8]
[[evaluate]]
name = "distance"
[[report]]
name = "meshes"
side = 12
samples = 2
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("skimage")
    pytest.importorskip("trimesh")
    folder = tmp_path_factory.mktemp("shape")
    (folder / "shape.toml").write_text(RECIPE)
    return pdiff.run(folder / "shape.toml", set={"run.out": str(folder / "runs")}, quiet=True)


def test_shapes_asked_for_are_compared_with_those_held_out(run):
    scores, networks = run.scores["fields"], run.scores["networks"]
    assert scores["count"] == 6
    assert networks["nearest"]["fields"]["copies"] == 1 and networks["original"]["fields"]["copies"] is None
    assert networks["nearest"]["conditions"]["held_out"] > networks["nearest"]["conditions"]["shuffled"]
    assert set(run.scores["renderings"]["sides"]) == {"8"}


def test_a_shape_that_is_asked_for_is_drawn(run, tmp_path):
    asked = ["kind=mug", "width=0.8", "depth=0.8", "height=1.2", "thickness=0.13", "handle=0.3"]
    told = [word for one in asked for word in ("-o", one)]
    result = CliRunner().invoke(
        build(), ["render", str(run.folder), "-n", "1", "--side", "10", "--to", str(tmp_path / "mug.png"), *told]
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "mug.png").stat().st_size > 100


def test_a_shape_without_a_test_split_of_its_own_is_refused(tmp_path):
    (tmp_path / "shape.toml").write_text(RECIPE.replace("test_count = 0", "test_count = 6"))
    with pytest.raises(Faults, match=r"dataset.test_count = 6: task shape"):
        pdiff.run(tmp_path / "shape.toml", set={"run.out": str(tmp_path / "runs")}, quiet=True)
