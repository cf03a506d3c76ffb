"""What the networks from torchvision share: their published state dicts, and that they take colour images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pdiff.errors import UserError
from pdiff_plugins.networks.inputs import image_shape

if TYPE_CHECKING:
    from pdiff.components import Architecture


def load_published(model: nn.Module, weights: Any, outputs: int) -> None:
    """Load torchvision's `weights` (a member of its enumeration). Raises UserError: other outputs, no network."""
    classes = len(weights.meta["categories"])
    if outputs != classes:
        raise UserError(
            f"architecture.weights: the pretrained network has {classes} outputs, the data set asks for {outputs}; "
            'take a data set with the same classes, name a file, or write weights = ""'
        )
    # Files from BatchNorm's days count their batches, which frozen norms do not.
    expected = model.state_dict()
    state = {key: value for key, value in _fetched(weights).items() if key in expected or "num_batches" not in key}
    model.load_state_dict(state)


def _fetched(weights: Any) -> dict[str, Tensor]:
    try:
        if offline() and not (Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]).is_file():
            raise OSError("it is not there, and nothing is to be fetched")
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        name, why = weights.url.rpartition("/")[2], " ".join(str(error).split())[:100]
        raise UserError(
            f"architecture.weights: {weights.url} could not be fetched ({why}); connect and run again, put {name} into "
            '$TORCH_HOME/hub/checkpoints, or write weights = "path/to/file"'
        ) from None


def offline() -> bool:
    """True where nothing is to be fetched, by the variable that the Hugging Face hub reads."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def refuse_grey(architecture: Architecture, input_shape: tuple[int, ...]) -> None:
    """Raise UserError for inputs that are no images of three channels."""
    channels = image_shape(architecture.name, input_shape)[0]
    if channels != 3:
        raise UserError(f"architecture {architecture.name}: takes images of 3 channels, found {channels}")
