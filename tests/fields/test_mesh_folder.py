"""A folder of meshes as fields: what is read, told, refused and kept."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from pdiff.components import Ahead
from pdiff.context import Context
from pdiff.errors import Faults, UserError
from pdiff_plugins.fields.evaluation.evaluator import ShapeMetrics
from pdiff_plugins.fields.shapes.folder import MeshFolder
from pdiff_plugins.fields.shapes.plane import Shapes2d
from pdiff_plugins.fields.shapes.space import Shapes3d
from pdiff_plugins.fields.surfaces.export import Meshes
from pdiff_plugins.fields.surfaces.meshes import surface
from pdiff_plugins.fields.task import FieldTask


@pytest.fixture
def folder(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    (tmp_path / "meshes").mkdir()
    for number in range(6):
        box = trimesh.creation.box((1, 1, 1 + number))
        box.export(tmp_path / "meshes" / f"box{number}.{('obj', 'ply', 'off')[number % 3]}")
    return tmp_path


def load(folder, warn=print, near=50, **options):
    own = MeshFolder(root="meshes", resolution=8, near=near, **options)
    return own.load(Context(seed=0, data_root=folder, warn=warn))


def test_meshes_fill_the_cube_and_are_kept(folder, monkeypatch):
    data = load(folder)
    targets = torch.cat([split.targets for split in (data.train, data.validation, data.test)], dim=1)
    assert [split.targets.shape[1] for split in (data.train, data.validation, data.test)] == [4, 1, 1]
    # Sides of 1.8 of 2 in the longest axis, and 1.8 / (1 + number) in the others.
    shares = sorted(targets.mean(dim=0).tolist())
    assert shares[-1] == pytest.approx(0.9**3, abs=0.3) and shares[0] < 0.1
    assert data.train.near.values.shape == (4, 50) and 0.2 < data.train.near.values.mean() < 0.8
    monkeypatch.setattr(MeshFolder, "_sampled", None)
    assert torch.equal(load(folder).train.targets, data.train.targets), "read again"
    monkeypatch.undo()
    alone = load(folder, near=0).train
    assert alone.near is None and torch.equal(alone.targets, data.train.targets)


def test_meshes_with_holes_are_named_and_used(folder):
    import trimesh

    box = trimesh.creation.box((1, 1, 1))
    for number in range(4):
        trimesh.Trimesh(box.vertices, box.faces[:-1]).export(folder / "meshes" / f"holey{number}.ply")
    for _ in ("read", "kept"):
        said = []
        data = load(folder, warn=said.append, validation=0)
        (line,) = said
        assert "dataset.root: 4 of 10 meshes (holey0.ply, holey1.ply, holey2.ply, ...) not watertight; what" in line
    assert data.train.targets.shape[1] + data.test.targets.shape[1] == 10 and len(data.validation) == 0


def test_meshes_with_nothing_inside_are_named(folder):
    import trimesh

    square = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    trimesh.Trimesh(square, [[0, 1, 2], [0, 2, 3]]).export(folder / "meshes" / "sheet.ply")
    said = []
    load(folder, warn=said.append)
    assert len(said) == 2 and "1 of 7 meshes (sheet.ply) without any point of the grid inside; raise" in said[1]


def test_a_mesh_that_changed_is_read_again(folder):
    file = folder / "meshes" / "box2.off"
    own, before = MeshFolder(root="meshes"), load(folder).train.targets
    content = own.content(folder)
    changed = file.read_text().replace("-1.5", "-0.1")
    assert len(changed) == file.stat().st_size
    file.write_text(changed)
    again = own.content(folder)
    assert again != content and not torch.equal(load(folder).train.targets, before)
    (folder / "meshes").rename(folder / "moved")
    assert MeshFolder(root="moved").content(folder) == again


def test_meshes_that_leave_none_to_train_on_are_refused(folder):
    for test, sizes in ((0.95, "6 test and 0 validation"), (0.8, "5 test and 1 validation")):
        with pytest.raises(UserError, match=f"dataset: {sizes} shapes leave none of 6 to train on; lower its test, te"):
            load(folder, test=test)


def test_files_that_are_no_meshes_are_named_all_at_once(folder):
    (folder / "meshes" / "damaged.ply").write_text("ply\nformat ascii 1.0\nelement vert")
    (folder / "meshes" / "empty.obj").write_text("v 0 0 0\n")
    (folder / "meshes" / "line.obj").write_text("v 0 0 0\nv .1 .1 .1\nv .3 .3 .3\nf 1 2 3\n")
    with pytest.raises(Faults) as caught:
        load(folder)
    named = [line.split(": ")[0].split("/")[-1] for line in caught.value.lines]
    assert named == ["damaged.ply", "empty.obj", "line.obj"]
    assert caught.value.lines[2].endswith("line.obj: its triangles have no area; mend it or remove it")
    for path in list((folder / "meshes").iterdir())[:5]:
        path.unlink()
    with pytest.raises(UserError, match=r"dataset.root: .* holds 4 meshes .*; put at least 5 there"):
        load(folder)
    with pytest.raises(UserError, match=r"dataset.root = 'no': .* is no folder; put meshes there, or name another"):
        MeshFolder(root="no").content(folder)


def test_what_the_extra_brings_is_asked_for_by_name(folder, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    extra = r"pip install 'neural-pdiff\[fields3d\]'"
    with pytest.raises(UserError, match="dataset mesh_folder: needs trimesh, which is missing; " + extra):
        load(folder)
    with pytest.raises(UserError, match="needs scikit-image, which is missing; " + extra):
        surface(torch.ones(8))
    ahead = Ahead(SimpleNamespace(dataset=Shapes3d(), task=FieldTask()), "dataset", folder, True, None)
    Shapes3d().foresee(ahead)
    assert ahead.what("notes") == [
        "shapes in space are drawn, measured and exported with scikit-image and trimesh: "
        "pip install 'neural-pdiff[fields3d]'"
    ]
    for component, lacks in ((ShapeMetrics(), "evaluate fields: needs scikit-image"), (Meshes(), "report meshes")):
        with pytest.raises(UserError, match=f"{lacks}.*{extra}"):
            component.foresee(ahead)
    ShapeMetrics().foresee(replace(ahead, recipe=SimpleNamespace(dataset=Shapes2d(), task=FieldTask())))
