"""Meshes of scenes, with colours at their vertices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pdiff.errors import UserError
from pdiff_plugins.fields.shapes.files import write
from pdiff_plugins.radiance.task import SHIFT
from tests.radiance.drawing import INSIDE, SHARP, ball, renderer

LEVEL = 0.65


@pytest.fixture(autouse=True)
def _extras():
    pytest.importorskip("skimage")
    pytest.importorskip("trimesh")


def meshes(*theta, side=40):
    return list(renderer().meshes(torch.stack(theta), side, LEVEL))


@pytest.mark.parametrize("ending", ["ply", "glb"])
def test_a_ball_is_a_closed_mesh_of_its_size_in_its_colour(ending, tmp_path):
    import trimesh

    write(meshes(ball(place=(0.1, 0, 0.2), radius=0.5))[0], tmp_path / f"ball.{ending}")
    read = trimesh.load(tmp_path / f"ball.{ending}", force="mesh")
    radius = 0.5 - (LEVEL * (INSIDE - SHIFT) + SHIFT) / SHARP  # where density, which rises inwards, reaches the level
    assert read.is_watertight and read.volume == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.03)
    assert read.centroid == pytest.approx([0.1, 0, 0.2], abs=0.01)
    colours = np.asarray(read.visual.vertex_colors)[:, :3].astype(int)
    assert np.abs(colours - [230, 51, 26]).max() <= 1


def test_an_obj_has_the_shape_and_no_colours(tmp_path):
    import trimesh

    write(meshes(ball())[0], tmp_path / "ball.obj")
    first = next(line for line in (tmp_path / "ball.obj").read_text().splitlines() if line.startswith("v "))
    assert len(first.split()) == 4 and trimesh.load_mesh(tmp_path / "ball.obj").is_watertight


def test_a_colour_that_depends_on_the_view_is_that_seen_from_outside():
    (mesh,) = meshes(ball(radius=0.6, colour=(0.5, 0.5, 0.5), turned=2.0))
    inward_V3 = -mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    assert np.abs(mesh.colours / 255 - 1 / (1 + np.exp(-2 * inward_V3))).max() < 0.06


def test_what_lies_beyond_the_ball_that_is_seen_is_left_out_and_nothing_is_nothing():
    outside, beyond, large = meshes(ball(place=(0.9, 0.9, 0.9)), ball(radius=-9), ball(radius=3))
    assert not len(outside) and not len(beyond)
    assert np.linalg.norm(large.vertices, axis=1).max() < 1.05 and len(large)


def test_the_report_writes_meshes_and_says_that_obj_has_no_colours(drawn):
    import trimesh

    from pdiff_plugins.fields.surfaces.export import Meshes

    files = sorted((drawn.folder / "meshes").iterdir())
    assert [file.name for file in files] == ["hypernetwork-001.obj", "hypernetwork-002.obj"]
    view, said = drawn.pipeline.view(drawn.scores), []
    view.warn = said.append
    (path, *_) = Meshes(format="ply", side=12, samples=1).render(view, drawn.folder)
    assert len(trimesh.load(path).visual.vertex_colors) and not said
    Meshes(format="obj", side=12, samples=1).render(view, drawn.folder)
    assert said == ["report meshes: format = 'obj' holds no colours; take 'ply' or 'glb' for them"]


def test_networks_that_draw_nothing_have_no_meshes(tmp_path):
    from pdiff.testing import tiny_run
    from pdiff_plugins.fields.surfaces.export import Meshes

    view = tiny_run(tmp_path).view({})
    with pytest.raises(UserError, match="report meshes: draws networks that are shapes or scenes"):
        Meshes().render(view, tmp_path)
