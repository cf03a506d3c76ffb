"""Where the weights of LPIPS are kept; imports no torch."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

ALEXNET, HEADS = "alexnet-owt-7be5be79.pth", "alex.pth"
"""torchvision's AlexNet, and the weights of its channels by the authors of LPIPS (version 0.1)."""


def files(folder: str) -> tuple[Path, Path]:
    """Return both files; where no folder is named, where torch and torchmetrics keep them."""
    if folder:
        return Path(folder) / ALEXNET, Path(folder) / HEADS
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    hub = Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints"
    spec = importlib.util.find_spec("torchmetrics")
    heads = Path(spec.origin).parent / "functional" / "image" / "lpips_models" if spec and spec.origin else hub
    return hub / ALEXNET, heads / HEADS


def missing(paths: tuple[Path, Path]) -> str:
    """Say which of the files is not there; nothing where both are."""
    return "; ".join(f"there is no {path.name}" for path in paths if not path.is_file())
