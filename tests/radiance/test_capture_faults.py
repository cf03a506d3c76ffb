"""What is wrong with a folder of captures is told before anything is trained, all at once, a line each."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from PIL import Image

from pdiff.components import Ahead
from pdiff.errors import Faults, UserError
from pdiff_plugins.radiance.captures.dataset import PosedImages
from tests.radiance.capturing import edit, load, write


def foresee(root, **options):
    """Return the lines that are said of a folder before a run."""
    dataset = PosedImages(root=str(root), **options)
    with pytest.raises(UserError) as caught:
        dataset.foresee(Ahead(SimpleNamespace(dataset=dataset), "dataset", root.parent, True, None))
    return str(caught.value).splitlines()


def test_all_faults_of_a_folder_are_named_at_once(tmp_path):
    for number in range(4):
        write(tmp_path / f"s{number}", phase=0.1 * number)
    (tmp_path / "s0" / "images" / "4.png").unlink()

    def bend(given):
        frames = given["frames"]
        frames[0]["transform_matrix"] = frames[0]["transform_matrix"][:3]
        frames[1]["transform_matrix"][0] = [2.0, 0.0, 0.0, 1.0]
        frames[2]["transform_matrix"] = "eye"
        del frames[3]["transform_matrix"], frames[4]["file_path"]
        frames[5]["w"] = 9
        frames[6]["transform_matrix"] = [[-x for x in row[:3]] + row[3:] for row in frames[6]["transform_matrix"]]

    edit(tmp_path / "s1", bend)
    edit(tmp_path / "s2", lambda given: given.pop("camera_angle_x"))
    (tmp_path / "s3" / "description.json").write_text('{"text": 3, "tags": ["a"]}')
    (tmp_path / "extra").mkdir()
    lines = foresee(tmp_path)
    wanted = (
        ("s0/transforms.json: frames[4].file_path = 'images/4.png'", "is missing; put the picture there"),
        ("s1/transforms.json: frames[0].transform_matrix: 3x4", "give a 4x4 matrix, camera to world"),
        ("s1/transforms.json: frames[1].transform_matrix: its 3x3 part is no rotation", "without scaling"),
        ("s1/transforms.json: frames[2].transform_matrix: ", "give a 4x4 matrix"),
        ("s1/transforms.json: frames[3].transform_matrix: missing", "give a 4x4 matrix"),
        ("s1/transforms.json: frames[4].file_path: missing", "name the picture"),
        ("s1/transforms.json: frames[5]: w = 9, and 5.png has 8 x 8 pixels", "the lens in their pixels"),
        ("s1/transforms.json: frames[6].transform_matrix: its 3x3 part is no rotation (is mirrored)", "give"),
        ("s2/transforms.json: fl_x: missing, as is camera_angle_x", "give the focal length, in pixels"),
        ("s3/description.json: text = 3", "give a number or words"),
        ("s3/description.json: tags = ['a']", "give a number or words"),
        ("extra: holds neither transforms.json nor transforms_train.json", "take it away"),
    )  # fmt: skip
    assert len(lines) == len(wanted), lines
    for line, (start, end) in zip(lines, wanted, strict=True):
        assert start in line and end in line, line


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"camera_model": "OPENCV_FISHEYE"}, "camera_model = OPENCV_FISHEYE: only cameras that see straight"),
        ({"is_fisheye": True}, "camera_model = fisheye: only cameras that see straight"),
        ({"k4": 0.1}, "k4 = 0.1: lenses have k1, k2, p1, p2 and k3 here; undistort the pictures"),
        ({"k1": "much"}, "k1 = 'much': is no number; mend it"),
        ({"fl_x": -3}, "fl_x = -3: gives no focal length above 0; mend it"),
        ({"camera_angle_x": 7.0}, "camera_angle_x = 7.0: gives no focal length above 0; mend it"),
        ({"h": 7}, "h = 7, and its pictures have 8 x 8 pixels; give the size of the pictures that are there"),
        ({"frames": []}, "frames: none; give a list of frames"),
    ],
)
def test_what_is_wrong_with_all_frames_is_one_line(tmp_path, said, line):
    write(tmp_path / "scene")
    edit(tmp_path / "scene", lambda given: given.update(said))
    (told,) = foresee(tmp_path / "scene")
    assert line in told and "transforms.json: " in told


def test_damaged_files_are_named(tmp_path):
    write(tmp_path / "a" / "s")
    for number in (3, 5):
        file = tmp_path / "a" / "s" / "images" / f"{number}.png"
        file.write_bytes(file.read_bytes()[:60])  # its size can be read
    with pytest.raises(Faults) as caught:
        load(tmp_path / "a")
    assert [line.split(": ")[0][-5:] for line in caught.value.lines] == ["3.png", "5.png"]
    (tmp_path / "a" / "s" / "images" / "4.png").write_bytes(b"none")
    assert "4.png: no readable picture" in foresee(tmp_path / "a")[0]
    (tmp_path / "a" / "s" / "transforms.json").write_text("{")
    assert "transforms.json: no JSON" in foresee(tmp_path / "a")[0]


def test_folders_without_scenes_and_sizes_that_differ_are_told(tmp_path):
    assert "is no folder; put captures there" in foresee(tmp_path / "none")[0]
    (tmp_path / "empty").mkdir()
    assert "holds neither transforms.json nor transforms_train.json, nor does" in foresee(tmp_path / "empty")[0]
    write(tmp_path / "some" / "small", views=4)
    write(tmp_path / "some" / "large", views=4, side=12)
    (line,) = foresee(tmp_path / "some")
    assert line.startswith("dataset.side: ") and "12 x 12 pixels and" in line and "8 x 8; set it" in line
    assert load(tmp_path / "some", side=8).train.shape == (2, 8, 8)
    write(tmp_path / "few", views=2)
    assert "frames: 2 views leave none for train; have at least 3" in foresee(tmp_path / "few")[0]


def test_cameras_that_look_at_no_one_point_ask_for_a_place(tmp_path):
    write(tmp_path / "along", views=4)
    turn = [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 5], [0, 0, 0, 1]]

    def alike(given):
        for number, frame in enumerate(given["frames"]):
            frame["transform_matrix"] = [[*row[:3], row[3] + number] for row in turn[:3]] + turn[3:]

    edit(tmp_path / "along", alike)
    assert "its cameras all look the same way" in foresee(tmp_path / "along")[0]
    write(tmp_path / "out", views=6)

    def outwards(given):
        for frame in given["frames"]:
            rows = frame["transform_matrix"]
            frame["transform_matrix"] = [[-row[0], row[1], -row[2], row[3]] for row in rows[:3]] + rows[3:]

    edit(tmp_path / "out", outwards)
    assert "its cameras look away from each other" in foresee(tmp_path / "out")[0]
    assert load(tmp_path / "out", scale=0.3, near=0.5, far=2.0).train.segments.isfinite().all()
    with pytest.raises(ValueError, match=r"offset = \[1.0, 0.0, 0.0\] goes with a number as scale"):
        PosedImages(root="x", offset=(1, 0, 0))


def test_a_picture_of_unknown_scale_is_refused(tmp_path):
    write(tmp_path / "s", views=4)
    Image.new("F", (8, 8)).save(tmp_path / "s" / "images" / "2.tiff")
    edit(tmp_path / "s", lambda given: given["frames"][2].update(file_path="images/2.tiff"))
    with pytest.raises(UserError, match=r"2.tiff: no readable picture \(pixels of 32 bits, of no known scale"):
        load(tmp_path / "s")


def test_what_takes_much_memory_is_noted(tmp_path, monkeypatch):
    write(tmp_path / "s", views=4)
    dataset = PosedImages(root="s", side=6)
    ahead = Ahead(SimpleNamespace(dataset=dataset), "dataset", tmp_path, True, None)
    dataset.foresee(ahead)
    assert not ahead.said
    monkeypatch.setattr("pdiff_plugins.radiance.captures.dataset.LARGE_GIB", 4 * 36 * 36 / 2**30 - 1e-9)
    dataset.foresee(ahead)
    assert ahead.what("notes") == ["dataset: 144 pixels are rays of 0.0 GiB in memory; side makes them fewer"]
