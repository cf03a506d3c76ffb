"""Fields as a task: networks of published sizes, shapes as data, and their loss."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pdiff.components import Architecture
from pdiff.context import Context
from pdiff.data import Batch
from pdiff.errors import UserError
from pdiff.networks import build_network
from pdiff_plugins.fields.network import Siren
from pdiff_plugins.fields.shapes.plane import Shapes2d
from pdiff_plugins.fields.shapes.polygons import grid, polygon_distance, polygons
from pdiff_plugins.fields.task import FieldTask
from pdiff_plugins.symmetry.permutations import Symmetry
from tests.fields.helpers import SMALL, collected


@pytest.mark.parametrize(
    ("name", "options", "inputs", "weights"),
    [("siren", {}, 2, 337), ("siren", {"width": 32}, 2, 1185), ("hyperdiffusion_mlp", {}, 3, 36_737)],
)
def test_networks_have_the_published_sizes(name, options, inputs, weights):
    network = Architecture.model_validate({"name": name} | options).build(input_shape=(inputs,), outputs=1)
    assert sum(p.numel() for p in network.parameters()) == weights


def test_networks_take_coordinates_alone():
    with pytest.raises(UserError, match=r"architecture siren: takes coordinates, not inputs of shape \[1, 8, 8\]"):
        Siren().build(input_shape=(1, 8, 8), outputs=10)


def test_grid_is_the_centres_of_pixels():
    assert grid(2).tolist() == [[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]
    assert grid(3, dim=3).shape == (27, 3) and grid(3, dim=3)[13].tolist() == [0, 0, 0]


@given(st.floats(-1, 1), st.floats(-1, 1), st.booleans())
@settings(max_examples=30)
def test_distance_to_a_polygon_is_that_to_a_box(x, y, clockwise):
    corners = torch.tensor([[-0.5, -0.25], [0.5, -0.25], [0.5, 0.25], [-0.5, 0.25]])
    dx, dy = abs(x) - 0.5, abs(y) - 0.25
    expected = math.hypot(max(dx, 0), max(dy, 0)) + min(max(dx, dy), 0)
    found = polygon_distance(torch.tensor([[x, y]]), corners.flip(0) if clockwise else corners)
    assert float(found) == pytest.approx(expected, abs=1e-5)


def test_procedural_shapes_lie_on_the_square_and_differ():
    shapes, kinds = polygons(12, torch.Generator().manual_seed(0))
    assert kinds.tolist() == [0, 1, 2] * 4
    assert all(shape.abs().max() < 1 for shape in shapes)
    areas = [float((polygon_distance(grid(32), shape) < 0).double().mean()) for shape in shapes]
    assert min(areas) > 0.05 and len(set(areas)) == 12


def test_digits_are_cut_at_random_with_one_test_split(data):
    other = SMALL.load(Context(seed=1))
    sizes = [split.targets.shape[1] for split in (data.train, data.validation, data.test)]
    assert sizes == [1232, 65, 500] and len(data.train.labels) == 1232
    assert torch.equal(data.test.targets, other.test.targets)
    assert not torch.equal(data.train.targets, other.train.targets)
    assert data.test.labels.bincount().min() > 30, "not the writers at the end of the file"


def test_distances_are_occupancies_at_a_slope():
    distance, occupancy = (Shapes2d(count=6, test_count=3, side=8, target=t) for t in ("distance", "occupancy"))
    d, o = (data.load(Context(seed=0)).test.targets for data in (distance, occupancy))
    torch.testing.assert_close(o, torch.sigmoid(-25 * d))
    with pytest.raises(UserError, match=r"dataset.test_count: 6 leaves none of 6 shapes; lower it"):
        Shapes2d(count=6, test_count=6).load(Context(seed=0))
    with pytest.raises(UserError, match=r"dataset: 5 test and 1 validation shapes leave none of 6 to train on; lower"):
        Shapes2d(count=6, test_count=5, side=8).load(Context(seed=0))


def test_a_shape_of_the_split_scores_fully(data):
    task, targets = FieldTask(), data.test.targets
    shapes = torch.cat([targets.T[:2], torch.zeros(1, len(targets))])
    assert task.score(shapes, targets).tolist() == [1, 1, 0]
    wrong = task.wrong(shapes, targets)
    assert not wrong[:2].any() and wrong[2].any()


def test_the_loss_of_one_network_is_that_of_the_average_shape(data):
    network, batch = build_network(Siren(), data, 0), data.train.batch(torch.arange(40), torch.device("cpu"))
    average = F.binary_cross_entropy_with_logits(network(batch.inputs)[:, 0], batch.targets.mean(dim=1))
    torch.testing.assert_close(FieldTask().loss(network, batch), average)
    squared = FieldTask(values="distance").loss(network, Batch(batch.inputs, batch.targets[:, :1]))
    torch.testing.assert_close(squared, (network(batch.inputs) - batch.targets[:, :1]).square().mean())


def test_targets_must_be_fields_and_fit_the_task():
    distances = Shapes2d(count=6, test_count=2, side=8, target="distance").load(Context(seed=0))
    with pytest.raises(UserError, match=r"task.values = 'occupancy': .* not 0 to 1; use values = 'distance'"):
        collected(distances)


@pytest.mark.parametrize("name", ["siren", "relu_pe"])
def test_the_order_of_hidden_units_changes_no_drawing(name, data):
    network = Architecture.model_validate({"name": name}).build(input_shape=(2,), outputs=1)
    points, generator = data.train.inputs[:50], torch.Generator().manual_seed(0)
    symmetry, before = Symmetry.of(network, points[:2]), network(points)
    assert symmetry.sizes == [16, 16]
    network.load_state_dict(symmetry.permuted(network.state_dict(), symmetry.random(generator)))
    assert torch.allclose(network(points), before, atol=1e-5)
