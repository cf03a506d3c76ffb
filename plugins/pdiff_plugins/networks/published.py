"""What the networks from torchvision share: their published state dicts, and that they take colour images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pdiff.errors import UserError
from pdiff_plugins.networks.inputs import image_shape
from pdiff_plugins.reach import ask_server, in_torch_cache, offline

if TYPE_CHECKING:
    from pdiff.components import Ahead, Architecture


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
        if offline() and not in_torch_cache(weights.url):
            raise OSError("HF_HUB_OFFLINE is set")
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise _unreachable(weights.url, " ".join(str(error).split())[:100]) from None


def foresee_published(ahead: Ahead, weights: Any) -> None:
    """Say whether torchvision's `weights` can be had, unless they are there."""
    if not in_torch_cache(weights.url):
        answer = ask_server(weights.url)
        if answer.why:
            raise _unreachable(weights.url, answer.why)
        ahead.fetches(f"weights {weights.url}{answer.said}")


def _unreachable(url: str, why: str) -> UserError:
    return UserError(
        f"architecture.weights: {url} could not be fetched ({why}); connect and run again, put "
        f'{url.rpartition("/")[2]} into $TORCH_HOME/hub/checkpoints, or write weights = "path/to/file"'
    )


def refuse_grey(architecture: Architecture, input_shape: tuple[int, ...]) -> None:
    """Raise UserError for inputs that are no images of three channels."""
    channels = image_shape(architecture.name, input_shape)[0]
    if channels != 3:
        raise UserError(f"architecture {architecture.name}: takes images of 3 channels, found {channels}")
