"""Files of data by chance: images, meshes, COCO's annotations, and the published sets' own formats."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io
import torch
import trimesh
from PIL import Image

from pdiff.context import Context
from pdiff.data import DatasetSplits
from pdiff_plugins.coco.data import CocoDetection, CocoSegmentation
from pdiff_plugins.fields.shapes.files import read_all
from pdiff_plugins.images.in_memory import Cifar10, FashionMnist, Mnist, Stl10, Svhn
from pdiff_plugins.images.on_disk import Flowers102, Food101, ImageFolder, OxfordPets
from tests.campaign.mutation import of_bytes, of_json
from tests.campaign.weights import Attempt, Trial
from tests.coco import small_coco

FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "ICO", "TGA")
CPU = torch.device("cpu")


def quiet(root: Path) -> Context:
    return Context(seed=0, data_root=root, download=False, warn=lambda line: None)


def read_through(data: DatasetSplits) -> None:
    """Take examples of every split, as training and evaluation do."""
    generator = torch.Generator().manual_seed(0)
    for split in (data.train, data.validation, data.test):
        split.targets  # noqa: B018 - masks are read here
        if len(split):
            split.batch(torch.arange(min(2, len(split))), CPU, generator)
            split.batch(torch.arange(min(2, len(split))), CPU)


def pictures() -> list[bytes]:
    """Return an image in every format and mode, and some with EXIF."""
    noise, wholes = np.random.default_rng(0).integers(0, 256, (24, 20, 4), np.uint8), []
    for mode in ("RGB", "L", "CMYK", "RGBA", "P", "1", "I;16", "F"):
        deep = mode == "I;16"
        colours = Image.fromarray(noise[..., 0].astype("u2")) if deep else Image.fromarray(noise).convert(mode)
        for kind in FORMATS:
            file = io.BytesIO()
            try:
                colours.save(file, kind)
            except (OSError, ValueError, KeyError):  # a mode that the format has not
                continue
            wholes.append(file.getvalue())
    for orientation in (1, 3, 6, 8, 9, 65535):
        file, exif = io.BytesIO(), Image.Exif()
        exif[0x0112], exif[0x010E] = orientation, "x" * 200
        Image.fromarray(noise).convert("RGB").save(file, "JPEG", exif=exif)
        wholes.append(file.getvalue())
    return wholes


def images(folder: Path) -> Trial:
    wholes, root = pictures(), folder / "pictures"
    for number, part in enumerate(("train/a", "train/b", "test/a", "test/b") * 2):
        (root / part).mkdir(parents=True, exist_ok=True)
        (root / part / f"{number}.png").write_bytes(wholes[0])
    dataset = ImageFolder(root="pictures", image_size=8, validation=0.5)

    def trial(chance: random.Random) -> list[Attempt]:
        raw = chance.choice(wholes)
        path = root / chance.choice(("train/a/0.png", "test/b/3.png"))
        path.write_bytes(raw if chance.random() < 0.1 else of_bytes(chance, raw))
        return [lambda: read_through(dataset.load(quiet(folder)))]

    return trial


def meshes(folder: Path) -> Trial:
    ball, kinds = trimesh.creation.icosphere(subdivisions=1), ("obj", "stl", "ply", "off")
    wholes = [(kind, ball.export(file_type=kind)) for kind in (*kinds, "stl_ascii")]
    wholes = [(kind.split("_")[0], raw.encode() if isinstance(raw, str) else raw) for kind, raw in wholes]

    def trial(chance: random.Random) -> list[Attempt]:
        kind, raw = chance.choice(wholes)
        path = folder / f"mesh.{kind if chance.random() < 0.95 else chance.choice(kinds)}"
        path.write_bytes(of_bytes(chance, raw))
        return [lambda: read_all([path])]

    return trial


def coco(folder: Path) -> Trial:
    small_coco.write(folder / "coco", train=4, val=2)
    file = small_coco.file_of(folder / "coco")
    whole = file.read_text()
    runs = whole.replace('"segmentation": [[', '"segmentation": {"size": [40, 40], "counts": [1600]}, "was": [[', 1)

    def trial(chance: random.Random) -> list[Attempt]:
        file.write_bytes(of_json(chance, chance.choice((whole, whole, runs))))
        boxes = CocoDetection(validation=0.5, longest=chance.choice((0, 20)))
        masks = CocoSegmentation(validation=0.5, image_size=16)
        return [lambda: read_through(boxes.load(quiet(folder))), lambda: read_through(masks.load(quiet(folder)))]

    return trial


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def idx_files(folder: Path) -> Trial:
    chooser = np.random.default_rng(0)
    wholes = {}
    for subset in ("train", "t10k"):
        wholes[f"{subset}-images-idx3-ubyte"] = idx(chooser.integers(0, 256, (12, 28, 28), np.uint8))
        wholes[f"{subset}-labels-idx1-ubyte"] = idx(chooser.integers(0, 10, 12, np.uint8))

    def trial(chance: random.Random) -> list[Attempt]:
        dataset = chance.choice((Mnist, FashionMnist))(image_size=8, validation=0.5)
        raw = folder / ("MNIST" if isinstance(dataset, Mnist) else "FashionMNIST") / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        for name, whole in wholes.items():
            (raw / name).write_bytes(whole)
        name = chance.choice(list(wholes))
        (raw / name).write_bytes(of_bytes(chance, wholes[name]))
        return [lambda: read_through(dataset.load(quiet(folder)))]

    return trial


def signed(folder: Path) -> Trial:
    """CIFAR, STL-10 and SVHN: files of any bytes and sizes under the published names."""
    cifar = [f"cifar-10-batches-py/{name}" for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch")]
    files = {
        Cifar10: [*cifar, "cifar-10-batches-py/batches.meta"],
        Stl10: [f"stl10_binary/{name}.bin" for name in ("train_X", "train_y", "test_X", "test_y")],
        Svhn: ["svhn/train_32x32.mat", "svhn/test_32x32.mat"],
        Flowers102: ["flowers-102/setid.mat", "flowers-102/imagelabels.mat"],
    }
    matrix = io.BytesIO()
    scipy.io.savemat(matrix, {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.ones((4, 1), np.uint8)})
    bases = [matrix.getvalue(), bytes(3073 * 4), b"", bytes(96 * 96 * 3), b"\x80\x04}q\x00."]

    def trial(chance: random.Random) -> list[Attempt]:
        reader = chance.choice(list(files))
        for name in files[reader]:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(of_bytes(chance, chance.choice(bases)))
        return [lambda: read_through(reader(image_size=8).load(quiet(folder)))]

    return trial


def listings(folder: Path) -> Trial:
    """The text that lists a set's images: Pets' and Food-101's."""
    pets, food = folder / "oxford-iiit-pet", folder / "food-101"
    small = io.BytesIO()
    Image.new("RGB", (9, 9)).save(small, "JPEG")
    names = [f"breed_{number}" for number in range(37)]
    for place in (pets / "annotations", pets / "images", food / "meta", food / "images"):
        place.mkdir(parents=True)
    for name in names:
        (pets / "images" / f"{name}.jpg").write_bytes(small.getvalue())
    listed = "\n".join(f"{name} {number + 1} 1 1" for number, name in enumerate(names))
    table = '{"pie": ["pie/1", "pie/2"], "soup": ["soup/1"]}'

    def trial(chance: random.Random) -> list[Attempt]:
        for subset in ("trainval", "test"):
            text = of_bytes(chance, listed.encode()) if chance.random() < 0.7 else listed.encode()
            (pets / "annotations" / f"{subset}.txt").write_bytes(text)
        for subset in ("train", "test"):
            (food / "meta" / f"{subset}.json").write_bytes(of_json(chance, table))
        sets = (OxfordPets(image_size=8, validation=0.5), Food101(image_size=8))
        return [(lambda dataset=dataset: read_through(dataset.load(quiet(folder)))) for dataset in sets]

    return trial


KINDS: dict[str, tuple[int, Callable[[Path], Trial]]] = {
    "images": (10, images), "meshes": (8, meshes), "COCO": (10, coco), "IDX": (6, idx_files),
    "CIFAR, STL, SVHN, Flowers": (4, signed), "listings": (4, listings),
}  # fmt: skip
"""As in `tests.campaign.weights`."""
