"""Support: the few examples that tell a task, from a split or from a person's folders. E examples, F features."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pdiff.checkpoints.names import natural
from pdiff.context import derive
from pdiff.data import arguments, leaves
from pdiff.errors import UserError
from pdiff.files import sha256_of
from pdiff_plugins.images.splits import Decoder


def drawn(targets_E: Tensor, classes: Sequence[int], shots: int, draw: int) -> Tensor:
    """Return the numbers of so many examples of each class, `[classes, shots]`: no two are the same.

    A draw is the same for all who ask, and gives a class its examples wherever it stands among the classes. Raises
    UserError for too few.
    """
    if targets_E.ndim != 1:
        raise UserError("its targets are no classes; choose a dataset of classes")
    rows = []
    for number in classes:
        of_class = (targets_E == number).nonzero().flatten()
        if len(of_class) < shots:
            raise UserError(f"class {number} has {len(of_class)} examples to draw {shots} from; draw fewer")
        generator = torch.Generator().manual_seed(derive(draw, "support", number))
        rows.append(of_class[torch.randperm(len(of_class), generator=generator)[:shots]])
    return torch.stack(rows)


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """Return the images of each subfolder, by its name, in natural order. Raises UserError where there are none."""
    from torchvision import datasets

    if not folder.is_dir():
        raise UserError(f"examples = {str(folder)!r}: no such folder; it holds a subfolder of images for each class")
    try:
        listed = datasets.ImageFolder(folder)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"examples = {str(folder)!r}: {reason}; put one subfolder of images per class there") from None
    files: dict[str, list[Path]] = {name: [] for name in sorted(listed.classes, key=natural)}
    for path, target in listed.samples:
        files[listed.classes[target]].append(Path(path))
    return files


def digest(folders: Mapping[str, Sequence[Path]]) -> str:
    """Return a digest of the names and bytes of images."""
    lines = (f"{name}/{path.name} {sha256_of(path)}" for name, paths in folders.items() for path in paths)
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()


def images(paths: Sequence[Path], preprocess: nn.Module, channels: int) -> Tensor:
    """Return inputs `[E, ...]` of image files of any sizes. Raises UserError for a file that is none."""
    decoder, inputs = Decoder(0), []
    for path in paths:
        image = decoder.image(path).convert("L" if channels == 1 else "RGB")
        pixels_HWC = torch.from_numpy(np.array(image)).view(image.height, image.width, -1)
        inputs.append(preprocess(pixels_HWC.permute(2, 0, 1)[None]))
    return torch.cat(inputs)


def flat(inputs: Any) -> Tensor:
    """Return inputs as they are, `[B, F]`."""
    return torch.cat([values.flatten(1).float() for values in leaves(inputs)], dim=1)


def hidden(network: nn.Module) -> Callable[[Any], Tensor]:
    """Return what gives a network's last hidden layer `[B, F]`: the inputs of its last Linear. Raises UserError."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise UserError("encoder.by = 'base': the base network has no Linear layer; write by = 'inputs'")

    @torch.no_grad()
    def features(inputs: Any) -> Tensor:
        given: list[Tensor] = []
        hook = layers[-1].register_forward_pre_hook(lambda _, values: given.append(values[0]))
        try:
            positional, named = arguments(inputs)
            network.eval()(*positional, **named)
        finally:
            hook.remove()
        return given[-1].flatten(1)

    return features
