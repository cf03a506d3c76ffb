"""Images in files, as the run's own preprocessing makes inputs of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from pdiff.checkpoints.names import natural
from pdiff.errors import UserError
from pdiff_plugins.images.on_disk import FileDataset
from pdiff_plugins.images.splits import UNREADABLE, Decoder, FileSplit
from pdiff_plugins.predicting.arrays import DEPTHS

if TYPE_CHECKING:
    from pdiff.api import Run
    from pdiff.data import Inputs

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
CPU = torch.device("cpu")


def images_at(run: Run, path: Path) -> tuple[list[str], Callable[[int], Iterator[Inputs]], str]:
    """Return the images of a folder, or one, by name. Raises UserError where there are none, or nobody knows how."""
    root = path if path.is_dir() else path.parent
    files = sorted(_files(path), key=lambda file: natural(file.relative_to(root).as_posix()))
    if not files:
        raise UserError(f"{path}: holds no images ({', '.join(ENDINGS)})")
    ready = _preparing(run, path)
    names = [file.relative_to(root).as_posix() for file in files]

    def batches(size: int) -> Iterator[Inputs]:
        for start in range(0, len(files), size):
            yield ready(files[start : start + size])

    return names, batches, f"prepared as the evaluation images of dataset {run.recipe.dataset.name}"


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for file in path.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if file.suffix.lower() in ENDINGS and not hidden and file.is_file():
            yield file


def _preparing(run: Run, path: Path) -> Callable[[list[Path]], Tensor]:
    """Return what makes inputs `[B, C, H, W]` of files. Raises UserError where nobody knows how."""
    dataset, preprocess, shape = run.recipe.dataset, run.preprocess, run.pipeline.data.input_shape
    if isinstance(dataset, FileDataset):
        decoder, transform = Decoder(0), dataset.transform()

        def as_evaluated(files: list[Path]) -> Tensor:
            split = FileSplit(files, torch.zeros(len(files), dtype=torch.int64), transform, decoder)
            return split.batch(torch.arange(len(files)), CPU).inputs

        return as_evaluated
    if preprocess is None or len(shape) != 3 or shape[0] not in DEPTHS:
        raise UserError(
            f"{path}: dataset {dataset.name} does not say how inputs are made of images; give arrays as its splits "
            f"have them, each {shape}, in a .npz"
        )

    def one(file: Path) -> Tensor:
        return preprocess(_pixels(file, shape[0])[None])[0]

    def prepared(files: list[Path]) -> Tensor:
        with ThreadPoolExecutor() as pool:
            return torch.stack(list(pool.map(one, files)))

    return prepared


def _pixels(path: Path, channels: int) -> Tensor:
    """Return `[C, H, W]`, upright: bytes, or of 16 bits floats of 0..1.

    Raises UserError for what is no image, or one whose pixels can be read in several ways.
    """
    try:
        with Image.open(path) as file:
            wide = file.mode.startswith("I;16") or (file.mode == "I" and file.format == "PNG")
            _require_plain(path, file, wide)
            image = ImageOps.exif_transpose(file)
            if wide:
                grey = torch.from_numpy(np.asarray(image).astype(np.float32) / 65535)
                return grey.expand(channels, *grey.shape)
            array = np.array(image.convert("L" if channels == 1 else "RGB"))
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable image ({reason}); replace it, or take it away") from None
    pixels = torch.from_numpy(array)
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def _require_plain(path: Path, file: Image.Image, wide: bool) -> None:
    """Raise UserError where nobody knows what a pixel's numbers mean, or what is behind it."""
    if file.mode in ("F", "I") and not wide:
        raise UserError(f"{path}: has pixels of 32 bits, of no known scale; save it with 8 or 16 bits")
    if ("A" in file.getbands() or "transparency" in file.info) and np.asarray(file.convert("RGBA"))[..., 3].min() < 255:
        raise UserError(f"{path}: is transparent in places; put it on the background that the networks know")
