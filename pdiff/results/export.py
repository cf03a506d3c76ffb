"""Networks as files of their own: whole state dicts that their architecture loads with strict=True."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pdiff.errors import UserError
from pdiff.files import make_folder, save_tensors
from pdiff.zoo import Zoo


def write_networks(zoo: Zoo, theta_MD: Tensor, folder: Path) -> list[Path]:
    """Write each network to a file of a folder and return the paths. Raises UserError where it holds others."""
    make_folder(folder)
    paths = [folder / f"network-{index:04d}.safetensors" for index in range(len(theta_MD))]
    other = sorted(set(folder.glob("*.safetensors")) - set(paths))
    if other:
        raise UserError(f"{folder}: holds other networks already ({other[0].name}); choose an empty folder")
    for path, theta_D in zip(paths, theta_MD, strict=True):
        save_tensors(path, zoo.state_dict(theta_D))
    return paths


def in_name(value: Any) -> str:
    """Return an option as a folder's name shows it."""
    text = "-".join(f"{key}-{item}" for key, item in value.items()) if isinstance(value, Mapping) else str(value)
    return "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in text)
