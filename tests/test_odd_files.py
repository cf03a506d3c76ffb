"""Files that are damaged, odd or hostile: each is read, or refused in a line that names it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pdiff.checkpoints.reading import load_state
from pdiff.errors import UserError
from pdiff.files import read_json, read_metadata
from pdiff.mapped import KEPT
from pdiff.running.memory import needs, ran_out, told_when_out
from pdiff_plugins.fields.shapes import folder as mesh_folder
from pdiff_plugins.images.on_disk import ImageFolder
from tests.campaign import files
from tests.campaign.options import Options
from tests.coco import small_coco
from tests.coco.helpers import load_boxes, load_masks


def test_files_by_chance(tmp_path):
    tally = files.run(Options(count=150, work=tmp_path))
    assert {kind: count.failures for kind, count in tally.counts.items() if count.failed} == {}
    assert len(tally.counts) == len(files.KINDS)


@pytest.mark.parametrize(
    ("table", "values", "told"),
    [
        ("images", {"width": "wide"}, "image 000.png: width = 'wide'; a whole number from 1 to 65535"),
        ("images", {"height": 1e400}, "height = inf; a whole number"),
        ("images", {"height": 0}, "height = 0; a whole number"),
        ("categories", {"id": "one"}, "categories: id = 'one'; a whole number"),
        ("annotations", {"bbox": [0, 0, 1, 10**400]}, "four numbers were expected"),
        ("annotations", {"area": "large"}, "area = 'large'; a number was expected"),
    ],
)
def test_coco_numbers_that_are_none(tmp_path, table, values, told):
    root = small_coco.write(tmp_path / "coco", train=4, val=2)
    small_coco.change(root, table, 0, **values)
    with pytest.raises(UserError) as caught:
        load_boxes(root)
    assert told in str(caught.value) and "instances_train2017.json" in str(caught.value)


@pytest.mark.parametrize("corner", [1e12, -1e12, float("nan"), 10**400])
def test_an_outline_far_from_its_image_is_refused(tmp_path, corner):
    root = small_coco.write(tmp_path / "coco", train=4, val=2)
    small_coco.change(root, "annotations", 0, segmentation=[[0, 0, 9, 9, corner, 3]])
    with pytest.raises(UserError, match="annotation 0: segmentation: "):
        load_masks(root).train.targets  # noqa: B018
        load_masks(root).validation.targets  # noqa: B018


def test_json_of_many_brackets_and_metadata_of_no_file(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "x.safetensors").write_bytes(b"\xff" * 40)
    for read, name in ((read_json, "deep.json"), (read_metadata, "x.safetensors")):
        with pytest.raises(UserError, match=name):
            read(tmp_path / name)


@pytest.mark.parametrize("value", [torch.eye(3, device="meta"), torch.eye(3) * 1j])
def test_a_tensor_that_no_network_takes_is_named(tmp_path, value):
    torch.save({"fc.weight": value}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x\.pt: fc\.weight is no dense tensor of real numbers"):
        load_state(tmp_path / "x.pt")


def test_only_the_splits_of_an_image_folder_are_walked(tmp_path, monkeypatch):
    for name in ("train/a/x.png", "test/a/y.png", "elsewhere/z.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"1")
    before = ImageFolder(root=".").content(tmp_path)
    (tmp_path / "elsewhere" / "w.png").write_bytes(b"2")
    assert ImageFolder(root=".").content(tmp_path) == before
    (tmp_path / "train" / "a" / "x.png").write_bytes(b"longer")
    assert ImageFolder(root=".").content(tmp_path) != before
    monkeypatch.setattr(mesh_folder, "MOST", 4)
    with pytest.raises(UserError, match="holds over 4 files; name the folder of the meshes alone"):
        mesh_folder.MeshFolder(root=".").files(tmp_path)


def test_what_the_disk_cannot_hold_is_told_before(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"^noise: 1,000,000,000,000 networks of 10 .* need 37,252.9 GiB, .* lower"):
        needs("noise", 10**12, 10, "sample.count", tmp_path / "not" / "yet")
    needs("noise", 10, 10, "sample.count", tmp_path)
    held = 2**20
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(UserError, match=r"0\.0 GiB are free"):
        needs("collect", 1, held, "collect.count", tmp_path)
    with open(tmp_path / f"snapshot{KEPT}", "wb") as file:
        file.truncate(4 * held)
    needs("collect", 1, held, "collect.count", tmp_path)  # a killed run's vectors have their place already


@pytest.mark.parametrize("count", [10**12, 10**18])
def test_a_stage_without_memory_says_what_to_lower(count):
    told = r"^fit: memory ran out \(.+\); lower the sizes and batch_size of the method$"
    with pytest.raises(UserError, match=told), told_when_out("fit"):
        torch.nn.Linear(count, 100)
    assert not ran_out(RuntimeError("value cannot be converted to type int without overflow"))
    with pytest.raises(ZeroDivisionError), told_when_out("fit"):
        1 / 0  # noqa: B018
