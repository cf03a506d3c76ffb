"""Your own captures: rays, colours and splits of files as instant-ngp, nerfstudio and Blender write them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from pdiff.errors import UserError
from pdiff_plugins.maths.decibels import psnr
from pdiff_plugins.radiance.captures.dataset import PosedImages
from pdiff_plugins.radiance.rays import around
from tests.radiance.capturing import DISTANCE, FOCAL, VIEW, edit, load, opencv, pose, write

TRAIN, VALIDATION, TEST = [2, 3, 4, 5, 6, 7], [1, 9], [0, 8]
"""Of ten views, of which one in eight is held out."""


def parts(data):
    return data.train, data.validation, data.test


def test_rays_and_colours_are_those_that_the_pictures_were_taken_with(tmp_path):
    segments, colours = write(tmp_path)
    data = load(tmp_path)
    assert data.input_shape == (7,) and data.outputs == 3
    for split, index in zip(parts(data), (TRAIN, VALIDATION, TEST), strict=True):
        assert split.shape == (len(index), 8, 8) and split.segments.ndim == 2
        assert torch.allclose(split.segments, segments[index].flatten(0, 1), atol=1e-5)
        assert float(psnr(split.targets[:, 0][None], colours[index].flatten(0, 1))) > 55, "eight bits"
    assert data.train.abouts == [{"label": tmp_path.name, "text": tmp_path.name.replace("_", " ").replace("-", " ")}]


def test_scenes_are_moved_to_where_their_cameras_look(tmp_path):
    segments, _ = write(tmp_path, scale=2.5, offset=(3.0, -1.0, 0.5))
    train = load(tmp_path, scale="auto", distance=DISTANCE).train
    assert torch.allclose(train.segments, segments[TRAIN].flatten(0, 1), atol=1e-4)
    given = load(tmp_path, scale=0.4, offset=(-1.2, 0.4, -0.2)).train
    assert torch.allclose(given.segments, segments[TRAIN].flatten(0, 1), atol=1e-4)


def test_the_box_of_instant_ngp_fills_the_cube(tmp_path):
    # instant-ngp has places times scale plus offset in a box about 0.5 whose side is aabb_scale.
    offset = (0.5, 0.7, 0.3)
    ngp = {"scale": 0.2, "offset": list(offset), "aabb_scale": 2}
    segments, _ = write(tmp_path, scale=5.0, offset=[(0.5 - x) / 0.2 for x in offset], told=ngp)
    train = load(tmp_path, scale="file").train
    assert torch.allclose(train.segments, segments[TRAIN].flatten(0, 1), atol=1e-5)
    edit(tmp_path, lambda given: given.update(offset="middle"))
    with pytest.raises(UserError, match=r"scale, offset or aabb_scale of its transforms are no numbers"):
        load(tmp_path, scale="file")


def test_rays_are_seen_between_near_and_far(tmp_path):
    write(tmp_path)
    segments = load(tmp_path, near=2.0, far=4.5).train.segments
    assert torch.allclose((segments[:, 3:] - segments[:, :3]).norm(dim=1), torch.tensor(2.5), atol=1e-5)
    place = torch.tensor(pose(0, 0))[0, 3]
    assert place == pytest.approx(DISTANCE)
    # The middle of a picture is looked at from as far as the camera stands.
    middle = segments.view(6, 8, 8, 6)[:, 3:5, 3:5].mean(dim=(1, 2))
    assert torch.allclose(middle[:, :3].norm(dim=1), torch.tensor(DISTANCE - 2.0), atol=0.02)
    with pytest.raises(ValueError, match=r"near = 2.0, far = 1.0: rays end before they begin"):
        PosedImages(root="x", near=2.0, far=1.0)


def test_blender_scenes_have_their_own_splits_and_names_without_endings(tmp_path):
    write(tmp_path)
    told = json.loads((tmp_path / "transforms.json").read_text())
    (tmp_path / "transforms.json").unlink()
    chosen = {"train": [0, 1, 2, 3], "val": [4, 5], "test": [6, 7, 8]}
    for name, numbers in chosen.items():
        (tmp_path / name).mkdir()
        frames = []
        for number in numbers:
            (tmp_path / "images" / f"{number}.png").rename(tmp_path / name / f"r_{number}.png")
            frames.append(told["frames"][number] | {"file_path": f"./{name}/r_{number}", "rotation": 0.01})
        (tmp_path / f"transforms_{name}.json").write_text(json.dumps(told | {"frames": frames}))
    assert [split.shape[0] for split in parts(load(tmp_path))] == [4, 2, 3]
    (tmp_path / "transforms_test.json").unlink()
    data = load(tmp_path, hold=3)
    assert [split.shape[0] for split in parts(data)] == [3, 1, 2], "val is for scores, and of train one is chosen by"
    (tmp_path / "transforms.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match=r"holds both transforms.json and transforms_train.json; take one of them away"):
        load(tmp_path)


def test_nerfstudio_names_the_views_of_its_splits(tmp_path):
    segments, _ = write(tmp_path)
    named = {"train_filenames": [0, 1, 2], "val_filenames": [3], "test_filenames": [5, 7]}
    lens = {"fl_x": 8 * FOCAL, "fl_y": 8 * FOCAL, "cx": 4.0, "cy": 4.0, "w": 8, "h": 8, "camera_model": "OPENCV",
            "k1": 0.0, "applied_transform": [[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]]}  # fmt: skip
    lists = {key: [f"images/{number}.png" for number in numbers] for key, numbers in named.items()}
    edit(tmp_path, lambda given: (given.pop("camera_angle_x"), given.update(lens | lists)))
    for split, numbers in zip(parts(load(tmp_path)), named.values(), strict=True):
        assert torch.allclose(split.segments, segments[numbers].flatten(0, 1), atol=1e-5)
    edit(tmp_path, lambda given: given["test_filenames"].append("images/77.png"))
    with pytest.raises(UserError, match=r"test_filenames: 'images/77.png' is no frame's file_path \(1 such\)"):
        load(tmp_path)


def test_lenses_are_undone(tmp_path):
    write(tmp_path, side=16)
    lens = {"fl_x": 12.0, "fl_y": 13.0, "cx": 7.5, "cy": 8.25}
    bent = {"k1": -0.12, "k2": 0.03, "p1": 0.004, "p2": -0.006}
    edit(tmp_path, lambda given: given.update(lens | bent))
    matrix = torch.tensor(pose(0, 0))
    edit(tmp_path, lambda given: given["frames"][0].update(transform_matrix=matrix.tolist()))
    segments = load(tmp_path, near=1.0, far=2.0).test.segments[:256]
    seen_P3 = (segments[:, 3:] - segments[:, :3]) @ matrix[:3, :3]  # right, up, backwards
    plane_P2 = torch.stack([seen_P3[:, 0] / -seen_P3[:, 2], seen_P3[:, 1] / seen_P3[:, 2]], dim=1)
    pixels = opencv(plane_P2.double(), *lens.values(), *bent.values())
    rows, columns = np.divmod(np.arange(256), 16)
    assert np.abs(pixels - np.stack([columns, rows], axis=1) - 0.5).max() < 1e-4
    edit(tmp_path, lambda given: given.update(k1=-2.0))
    with pytest.raises(UserError, match=r"images/0.png: its lens \(k1.*\) bends the picture's edge so far"):
        load(tmp_path)


def test_pictures_are_cut_and_resized_with_their_lenses(tmp_path):
    write(tmp_path, side=8)
    tall = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    for number in range(10):
        Image.fromarray(tall).save(tmp_path / "images" / f"{number}.png")
    edit(tmp_path, lambda given: given.update(fl_x=30.0, fl_y=20.0, cx=7.0, cy=13.0))
    whole, small = (load(tmp_path, side=side, near=1.0, far=2.0).test for side in (0, 8))
    assert whole.shape == (2, 24, 16) and small.shape == (2, 8, 8)
    middle = torch.from_numpy(tall[4:20]).float().view(8, 2, 8, 2, 3).mean(dim=(1, 3)) / 255
    assert torch.allclose(small.targets.view(2, 8, 8, 3)[0], middle, atol=1e-5)
    # In the plane before the camera a small pixel lies in the middle of the four that it covers.
    turn = torch.tensor(json.loads((tmp_path / "transforms.json").read_text())["frames"][0]["transform_matrix"])[:3, :3]
    planes = []
    for split, shape in ((whole, (24, 16)), (small, (8, 8))):
        seen_P3 = (split.segments[:, 3:] - split.segments[:, :3]).view(2, -1, 3)[0] @ turn
        planes.append((seen_P3[:, :2] / -seen_P3[:, 2:]).view(*shape, 2))
    assert torch.allclose(planes[0][4:20].reshape(8, 2, 8, 2, 2).mean(dim=(1, 3)), planes[1], atol=1e-5)
    odd = load(tmp_path, side=5).test.targets.view(2, 5, 5, 3)[0]
    assert torch.allclose(odd.mean(dim=(0, 1)), middle.mean(dim=(0, 1)), atol=1e-5), "each pixel counts as much"


def test_pictures_are_put_on_white_whatever_their_depth(tmp_path):
    write(tmp_path, views=3)
    half = np.full((8, 8, 4), (200, 100, 0, 51), np.uint8)
    Image.fromarray(half).save(tmp_path / "images" / "0.png")
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "images" / "1.png")
    turned = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8).repeat(3).reshape(8, 8, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "images" / "2.png", exif=exif)
    train, validation, test = parts(load(tmp_path, hold=3))
    assert torch.allclose(test.targets[:, 0], torch.tensor([200, 100, 0]) / 255 * 0.2 + 0.8, atol=1e-6)
    assert torch.allclose(validation.targets, torch.tensor(40000 / 65535), atol=1e-6)
    assert torch.equal((train.targets[:, 0, 0] * 255).round(), torch.arange(64.0)), "as stored, not turned"


def test_scenes_are_called_by_their_folders_or_by_what_stands_in_them(tmp_path):
    for number, name in enumerate(("red_box 2", "red_box 10", "mug", "chair")):
        write(tmp_path / name, phase=0.1 * number)
    (tmp_path / "mug" / "caption.txt").write_text("A blue mug.\n\nA mug in blue\n")
    (tmp_path / "chair" / "description.json").write_text('{"text": "a chair", "label": "seat", "legs": 4}')
    data = load(tmp_path)
    assert data.train.abouts == [
        {"text": "a chair", "label": "seat", "legs": 4},
        {"label": "mug", "text": "A blue mug.", "wordings": ["A blue mug.", "A mug in blue"]},
        {"label": "red_box 2", "text": "red box 2"},
        {"label": "red_box 10", "text": "red box 10"},
    ]
    assert data.train.segments.shape == (6 * 64, 4, 6) and data.input_shape == (4, 7)


def test_scenes_of_one_set_of_cameras_share_their_rays_and_all_have_as_many_views(tmp_path):
    segments, _ = write(tmp_path / "a", views=10)
    write(tmp_path / "b", views=10)
    assert load(tmp_path).train.segments.shape == (6 * 64, 6)
    more, _ = write(tmp_path / "c", views=17, phase=0.3)
    said = []
    data = load(tmp_path, warn=said.append)
    assert [split.shape[0] for split in parts(data)] == [6, 2, 2] and len(said) == 1
    assert "of each are used 6 of 12 train, 2 of 3 test views" in said[0]
    assert torch.allclose(data.train.segments[:, 0], segments[TRAIN].flatten(0, 1), atol=1e-5)
    kept = [number for number in range(17) if number % 8 > 1][::2]
    assert torch.allclose(data.train.segments[:, 2], more[kept].flatten(0, 1), atol=1e-5), "evenly spaced"


def test_what_is_kept_is_asked_for_by_what_the_files_hold(tmp_path):
    write(tmp_path / "one")
    dataset = PosedImages(root="one")
    before = dataset.content(tmp_path)
    (tmp_path / "one" / "notes.txt").write_text("not read")
    (tmp_path / "one").rename(tmp_path / "two")
    moved = PosedImages(root="two").content(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "two" / "images" / "3.png")
    changed = PosedImages(root="two").content(tmp_path)
    assert before == moved != changed


def test_the_angle_of_a_view_is_read_as_a_focal_length(tmp_path):
    segments, _ = write(tmp_path)
    for said in ({"fl_x": 8 * FOCAL}, {"x_fov": math.degrees(VIEW)}, {"camera_angle_y": VIEW}):
        given = json.loads((tmp_path / "transforms.json").read_text())
        given = {"frames": given["frames"]} | said
        (tmp_path / "transforms.json").write_text(json.dumps(given))
        assert torch.allclose(load(tmp_path).train.segments, segments[TRAIN].flatten(0, 1), atol=1e-5), said
    own = around([0.0], [0.0], 8, DISTANCE, 0.9)
    frame = {"file_path": "images/0.png", "transform_matrix": pose(0.0, 0.0), "camera_angle_x": 0.9}
    edit(tmp_path, lambda given: given["frames"].__setitem__(0, frame))
    assert torch.allclose(load(tmp_path).test.segments[:64], own, atol=1e-5), "a frame's own comes first"
