"""Surfaces of fields, their distances, and the files they are written to."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pdiff.context import Context
from pdiff_plugins.fields.evaluation.judges import Space
from pdiff_plugins.fields.evaluation.metrics import compared
from pdiff_plugins.fields.shapes.polygons import grid
from pdiff_plugins.fields.shapes.space import Shapes3d
from pdiff_plugins.fields.surfaces.chamfer import chamfer
from pdiff_plugins.fields.surfaces.meshes import NOTHING, surface
from pdiff_plugins.fields.task import FieldTask
from tests.fields.helpers import CUBE, uniform, volume


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
    expected = torch.tensor([[0, 12.5, inf], [50, 12.5, inf], [inf, inf, 0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(chamfer([origin, far], (origin, far)), 50 * (1 - torch.eye(2, dtype=torch.float64)))


def test_shapes_without_surface_are_told_apart_and_cover_nothing():
    real = [uniform(40, 3, seed=seed) for seed in range(6)]
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
        predictions=lambda source, split: train_PT.T,
    )
    alone, among = (Space(view, Context(seed=0), points=30, most=6) for _ in range(2))
    among.real()
    among.source(train_PT.T[6:])
    assert alone.source(train_PT.T[:6]) == among.source(train_PT.T[:6])
    assert alone.source(train_PT.T[:6])["to_train"] > 0, "the points of equal shapes are drawn apart"
    assert alone.real() == among.real()


@pytest.mark.parametrize("kind", ["ply", "obj", "glb"])
def test_meshes_are_written_and_read_back(kind, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    from pdiff_plugins.fields.shapes.files import write

    write(CUBE, tmp_path / f"cube.{kind}")
    read = trimesh.load_mesh(tmp_path / f"cube.{kind}")
    assert read.volume == pytest.approx(1) and len(read.faces) == 12
