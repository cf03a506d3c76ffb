"""Solids: distances in closed form, meshes and what is inside them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.files import save_tensors
from pdiff.networks import build_network
from pdiff.services import Absent
from pdiff.zoo import Layout
from pdiff_plugins.collectors.folder.collector import Folder
from pdiff_plugins.fields.network import Siren
from pdiff_plugins.fields.shapes import solids as field_solids
from pdiff_plugins.fields.shapes.families import labels, solids
from pdiff_plugins.fields.shapes.polygons import grid
from pdiff_plugins.fields.shapes.space import Shapes3d
from pdiff_plugins.fields.shapes.winding import winding_number
from pdiff_plugins.fields.surfaces.meshes import NOTHING, surface, surface_points
from pdiff_plugins.fields.task import FieldTask
from tests.fields.helpers import CUBE, uniform, volume

HALF = (0.4, 0.3, 0.2)


# Solids


@given(st.tuples(*[st.floats(-1, 1)] * 3))
@settings(max_examples=30)
def test_distance_to_a_torus_is_that_to_the_nearest_of_its_circles(point):
    x, y, z = point
    expected = math.hypot(math.hypot(x, y) - 0.5, z) - 0.2
    own = torch.tensor([point])
    assert float(field_solids.torus(own, 0.5, 0.2)) == pytest.approx(expected, abs=1e-5)
    assert float(field_solids.arc(own, 0.5, 0.2, math.pi)) == pytest.approx(expected, abs=2e-3), "a whole arc"


def around(points):
    """Return whether points are on a cylinder of radius 0.5 and height 1, with walls of 0.1."""
    radius, z = points[:, :2].norm(dim=1), points[:, 2]
    return (radius <= 0.5) & (z.abs() <= 0.5) & ((radius >= 0.4) | (z <= -0.4))


@pytest.mark.parametrize(
    ("distance", "inside"),
    [
        (lambda p: field_solids.box(p, HALF), lambda p: (p.abs() <= torch.tensor(HALF)).all(dim=1)),
        (lambda p: field_solids.cup(p, 0.5, 0.5, 0.1), around),
    ],
    ids=["box", "cup"],
)
def test_distances_are_those_to_the_nearest_point_of_the_other_side(distance, inside):
    near, probes = grid(40, 3), 1.6 * uniform(60, 3) - 0.8
    apart, within = torch.cdist(probes, near), inside(near)
    brute = torch.where(inside(probes)[:, None], apart.where(~within, math.inf), apart.where(within, math.inf))
    found = distance(probes)
    assert torch.equal(found < 0, inside(probes))
    assert (found.abs() - brute.amin(dim=1)).abs().max() < 3**0.5 / 40


def test_unions_are_exact_outside_and_a_bound_inside():
    pytest.importorskip("skimage")
    shapes, told = solids(6, torch.Generator().manual_seed(0))
    assert labels(told).tolist() == [0, 1, 2, 0, 1, 2]
    probes = 1.9 * uniform(400, 3) - 0.95
    for solid in shapes[:3]:
        values = solid(grid(40, 3))
        assert (values < 0).any() and not (values.reshape(40, 40, 40)[[0, -1]] < 0).any()
        skin = surface_points(surface(values), 4000, torch.Generator().manual_seed(0))
        brute, found = torch.cdist(probes, skin).amin(dim=1), solid(probes)
        assert (found - brute)[found > 0.05].abs().max() < 0.05
        assert (found.abs() - brute)[found < 0].max() < 0.02


def test_shapes_are_cut_into_splits_and_have_points_near_their_surface():
    data = Shapes3d(count=12, test_count=3, resolution=8, near=32, target="distance").load(Context(seed=0))
    sizes = [split.targets.shape for split in (data.train, data.test)]
    assert sizes == [(512, 8), (512, 3)] and data.input_shape == (3,)
    assert data.train.near.points.shape == (8, 32, 3) and data.test.labels.tolist() == [0, 1, 2]
    assert data.train.near.values.abs().max() < 0.3 < data.train.targets.abs().max()
    soft = Shapes3d(count=12, test_count=3, resolution=8, near=32).load(Context(seed=0)).train
    torch.testing.assert_close(soft.targets, torch.sigmoid(-25 * data.train.targets))
    assert torch.allclose(FieldTask().signed(soft.near.values) / 25, data.train.near.values, atol=1e-4)
    with pytest.raises(UserError, match=r"dataset.test_count: 12 leaves none of 12 shapes"):
        Shapes3d(count=12, test_count=12).load(Context(seed=0))
    with pytest.raises(UserError, match=r"dataset: 5 test and 1 validation shapes leave none of 6 to train on; lower"):
        Shapes3d(count=6, test_count=5, resolution=8, near=0).load(Context(seed=0))


# Inside and outside of meshes


def test_the_winding_number_of_a_cube():
    points = 2 * uniform(200, 3) - 1
    parts = torch.from_numpy(CUBE.vertices), torch.from_numpy(CUBE.faces)
    inside = (points.abs() < 0.5).all(dim=1)
    assert torch.allclose(winding_number(points, *parts), inside.float(), atol=1e-4)
    assert torch.allclose(winding_number(points, parts[0], parts[1].flip(1)), -inside.float(), atol=1e-4)
    open_box = winding_number(torch.zeros(1, 3), parts[0], parts[1][:-2])
    assert float(open_box) == pytest.approx(5 / 6, abs=1e-4), "five of six sides"


def test_volume_and_surface_of_a_cube():
    assert volume(CUBE) == pytest.approx(1)
    points = surface_points(CUBE, 3000, torch.Generator().manual_seed(0))
    assert points.abs().amax(dim=1).allclose(torch.tensor(0.5), atol=1e-5)
    side = points.abs().argmax(dim=1)
    assert all(800 < int((side == axis).sum()) < 1200 for axis in range(3))
    assert len(surface_points(NOTHING, 5, torch.Generator())) == 0


# Fields of unequal architectures


def test_fields_of_another_size_are_no_checkpoints(tmp_path):
    data = Shapes3d(count=6, test_count=3, resolution=8, near=0).load(Context(seed=0))
    networks = [build_network(Siren(width=width), data, 0) for width in (8, 16)]
    for number, network in enumerate(networks):
        save_tensors(tmp_path / f"{number}.safetensors", network.state_dict())
    layout = Layout.of(networks[0], list(networks[0].state_dict()))
    with pytest.raises(UserError, match=r"1.safetensors: hidden.0.\w+ has shape \[16(, 3)?\], expected \[8"):
        Folder(path=str(tmp_path)).collect(
            networks[0], data=data, task=FieldTask(), layout=layout, bench=Absent("files"), ctx=Context(seed=0)
        )
