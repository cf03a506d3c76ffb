"""Neural fields in space: solids, meshes and what is inside them, surfaces, their distances, and a run of them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import pdiff
from pdiff.cli import build
from pdiff.context import Context
from pdiff.engine.work import build_network
from pdiff.errors import UserError
from pdiff.files import save_tensors
from pdiff.zoo import Layout
from pdiff_plugins.collectors.folder import Folder
from pdiff_plugins.fields import figures as figures_fields
from pdiff_plugins.fields.evaluation.judges import Space
from pdiff_plugins.fields.evaluation.metrics import compared
from pdiff_plugins.fields.network import Siren
from pdiff_plugins.fields.shapes import solids as field_solids
from pdiff_plugins.fields.shapes.polygons import grid
from pdiff_plugins.fields.shapes.space import Shapes3d
from pdiff_plugins.fields.shapes.winding import winding_number
from pdiff_plugins.fields.surfaces.chamfer import chamfer
from pdiff_plugins.fields.surfaces.meshes import NOTHING, Mesh, surface, surface_points
from pdiff_plugins.fields.task import FieldTask

CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)], np.float32)
SQUARES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
CUBE = Mesh(CORNERS, np.array([face for a, b, c, d in SQUARES for face in ((a, b, c), (a, c, d))]))
HALF = (0.4, 0.3, 0.2)


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# Solids


@given(st.tuples(*[st.floats(-1, 1)] * 3))
@settings(max_examples=30, deadline=None)
def test_distance_to_a_torus_is_that_to_the_nearest_of_its_circles(point):
    x, y, z = point
    expected = math.hypot(math.hypot(x, y) - 0.5, z) - 0.2
    own = torch.tensor([point])
    assert float(field_solids.torus(own, 0.5, 0.2)) == pytest.approx(expected, abs=1e-6)
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
    near, probes = grid(40, 3), 1.6 * random(60, 3) - 0.8
    apart, within = torch.cdist(probes, near), inside(near)
    brute = torch.where(inside(probes)[:, None], apart.where(~within, math.inf), apart.where(within, math.inf))
    found = distance(probes)
    assert torch.equal(found < 0, inside(probes))
    assert (found.abs() - brute.amin(dim=1)).abs().max() < 3**0.5 / 40


def test_unions_are_exact_outside_and_a_bound_inside():
    pytest.importorskip("skimage")
    shapes, families = field_solids.solids(6, torch.Generator().manual_seed(0))
    assert families.tolist() == [0, 1, 2, 0, 1, 2]
    probes = 1.9 * random(400, 3) - 0.95
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
    assert torch.allclose(soft.targets, torch.sigmoid(-25 * data.train.targets))
    assert torch.allclose(FieldTask().signed(soft.near.values) / 25, data.train.near.values, atol=1e-4)
    with pytest.raises(UserError, match=r"dataset.test_count: 12 leaves none of 12 shapes"):
        Shapes3d(count=12, test_count=12).load(Context(seed=0))
    with pytest.raises(UserError, match=r"dataset: 5 test and 1 validation shapes leave none of 6 to train on; lower"):
        Shapes3d(count=6, test_count=5, resolution=8, near=0).load(Context(seed=0))


# Inside and outside of meshes


def test_the_winding_number_of_a_cube():
    points = 2 * random(200, 3) - 1
    parts = torch.from_numpy(CUBE.vertices), torch.from_numpy(CUBE.faces)
    inside = (points.abs() < 0.5).all(dim=1)
    assert torch.allclose(winding_number(points, *parts), inside.float(), atol=1e-4)
    assert torch.allclose(winding_number(points, parts[0], parts[1].flip(1)), -inside.float(), atol=1e-4)
    open_box = winding_number(torch.zeros(1, 3), parts[0], parts[1][:-2])
    assert float(open_box) == pytest.approx(5 / 6, abs=1e-4), "five of six sides"


def volume(mesh):
    """Return the volume enclosed (divergence theorem); below zero where faces are turned inside out."""
    a, b, c = mesh.corners.astype(np.float64).transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


def test_volume_and_surface_of_a_cube():
    assert volume(CUBE) == pytest.approx(1)
    points = surface_points(CUBE, 3000, torch.Generator().manual_seed(0))
    assert points.abs().amax(dim=1).allclose(torch.tensor(0.5))
    side = points.abs().argmax(dim=1)
    assert all(800 < int((side == axis).sum()) < 1200 for axis in range(3))
    assert len(surface_points(NOTHING, 5, torch.Generator())) == 0


# Surfaces


def test_the_surface_of_a_ball():
    pytest.importorskip("skimage")
    ball = surface(grid(32, 3).norm(dim=1) - 0.6)
    assert volume(ball) == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.01)
    assert np.linalg.norm(ball.vertices, axis=1) == pytest.approx(0.6, abs=2e-3)


def test_a_surface_that_leaves_the_grid_is_closed_at_its_outermost_points():
    pytest.importorskip("skimage")
    slab = surface(grid(16, 3)[:, 2] - 0.25)  # all below a plane, from -15/16 to 15/16
    assert volume(slab) == pytest.approx((30 / 16) ** 2 * (0.25 + 15 / 16), rel=0.01)


def test_nothing_has_no_surface_and_an_empty_picture():
    from pdiff_plugins.fields.surfaces.shading import pictures

    pytest.importorskip("skimage")
    assert len(surface(torch.ones(64))) == len(surface(FieldTask().signed(torch.zeros(64)))) == 0
    empty, cube = pictures([NOTHING, CUBE], 40)
    assert (empty == 255).all() and 0.1 < (cube < 250).double().mean() < 0.9


# Distances of surfaces


def test_chamfer_distances_of_points():
    origin, far = torch.zeros(1, 3), torch.tensor([[3.0, 4.0, 0.0]])
    both, none = torch.cat([origin, far]), torch.zeros(0, 3)
    found = chamfer([origin, far, none], [origin, both, none])
    inf = math.inf
    assert found.tolist() == [[0, 12.5, inf], [50, 12.5, inf], [inf, inf, 0]]
    assert chamfer([origin, far], (origin, far)).tolist() == [[0, 50], [50, 0]]


def test_shapes_without_surface_are_told_apart_and_cover_nothing():
    real = [random(40, 3, seed=seed) for seed in range(6)]
    drawn = [*real[:4], torch.zeros(0, 3), torch.zeros(0, 3)]
    own, across, others = chamfer(drawn, drawn), chamfer(drawn, real), chamfer(real, real)
    scores = compared(own, across, others)
    assert scores["precision"] == pytest.approx(4 / 6)
    assert scores["coverage"] == pytest.approx(4 / 6) and math.isfinite(scores["mmd"])
    nothing = compared(own[4:5, 4:5].expand(6, 6), across[4:5].expand(6, 6), others)
    assert nothing["recall"] == nothing["coverage"] == 0 and nothing["one_nna"] == 1


def test_scores_of_a_set_do_not_depend_on_other_sets():
    pytest.importorskip("skimage")
    data = Shapes3d(count=18, test_count=6, resolution=8, near=0, validation=0).load(Context(seed=0))
    train_PT = data.train.targets
    view = SimpleNamespace(
        recipe=SimpleNamespace(task=FieldTask()),
        targets=lambda split: data.split(split).targets,
        predict=lambda source, split: train_PT.T,
    )
    alone, among = (Space(view, Context(seed=0), points=30, most=6) for _ in range(2))
    among.real()
    among.source(train_PT.T[6:])
    assert alone.source(train_PT.T[:6]) == among.source(train_PT.T[:6])
    assert alone.source(train_PT.T[:6])["to_train"] > 0, "the points of equal shapes are drawn apart"
    assert alone.real() == among.real()


# Fields of unequal architectures


def test_fields_of_another_size_are_no_checkpoints(tmp_path):
    data = Shapes3d(count=6, test_count=3, resolution=8, near=0).load(Context(seed=0))
    networks = [build_network(Siren(width=width), data, 0) for width in (8, 16)]
    for number, network in enumerate(networks):
        save_tensors(tmp_path / f"{number}.safetensors", network.state_dict())
    layout = Layout.of(networks[0], list(networks[0].state_dict()))
    with pytest.raises(UserError, match=r"1.safetensors: hidden.0.\w+ has shape \[16(, 3)?\], expected \[8"):
        Folder(path=str(tmp_path)).collect(networks[0], data=data, task=FieldTask(), layout=layout, ctx=Context(seed=0))


# A whole run

RECIPE = """
[dataset]
name = "shapes3d"
count = 30
test_count = 6
resolution = 10
near = 64
[task]
name = "field"
[architecture]
name = "siren"
width = 8
[selector]
name = "entire"
[collect]
name = "fields"
steps = 80
lr = 3e-2
points = 64
near = 64
[method]
name = "pdiff"
steps = 5
timesteps = 8
batch_size = 20
labels = true
[[baseline]]
name = "copy"
[sample]
count = 6
baseline_count = 6
[[evaluate]]
name = "fields"
surface_points = 50
[[evaluate]]
name = "renderings"
samples = 3
films = 2
frames = 3
side = 10
sides = [8, 12]
[[report]]
name = "meshes"
side = 12
format = "obj"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("skimage")
    pytest.importorskip("trimesh")
    folder = tmp_path_factory.mktemp("space")
    (folder / "solids.toml").write_text(RECIPE)
    return pdiff.run(folder / "solids.toml", set={"run.out": str(folder / "runs")}, quiet=True)


def test_sets_of_solids_are_compared_by_their_surfaces(run):
    networks = run.scores["networks"]
    assert networks["copy"]["fields"]["copies"] > networks["pdiff"]["fields"]["copies"]
    assert all(0 <= own["fields"]["mmd"] <= 24 for own in networks.values())
    assert run.scores["fields"]["real"]["mmd"] < 0.2 and run.scores["fields"]["real"]["train_iou"] > 0.3


def test_pictures_of_solids_are_panels_of_one_size(run):
    view = run.pipeline.view(run.scores)
    for draw in (figures_fields.film, figures_fields.samples, figures_fields.resolutions, figures_fields.between):
        made, caption = draw(view, None)
        assert made.axes and caption
    assert figures_fields.resolutions(view, None)[0].axes[1].get_title() == "12 x 12 x 12"
    animated, _ = figures_fields.film_animated(view, None)
    assert animated[:4] == b"GIF8"


def test_samples_are_exported_as_meshes(run):
    import trimesh

    files = sorted((run.folder / "meshes").iterdir())
    assert files and all(file.suffix == ".obj" for file in files)
    read = [trimesh.load_mesh(file) for file in files]
    assert all(mesh.is_watertight and mesh.volume > 0 for mesh in read)


def test_solids_of_a_label_are_drawn_from_a_finished_run(run):
    from PIL import Image

    asked = "render", str(run.folder), "-n", "3", "--label", "2", "--side", "8"
    result = CliRunner().invoke(build(), asked)
    assert result.exit_code == 0, result.output
    (picture,) = run.folder.glob("render-3-draw-1-label-2-8.png")
    with Image.open(picture) as image:
        assert image.size == (3 * 162, 162)


@pytest.mark.parametrize("kind", ["ply", "obj", "glb"])
def test_meshes_are_written_and_read_back(kind, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    from pdiff_plugins.fields.shapes.files import write

    write(CUBE, tmp_path / f"cube.{kind}")
    read = trimesh.load_mesh(tmp_path / f"cube.{kind}")
    assert read.volume == pytest.approx(1) and len(read.faces) == 12
