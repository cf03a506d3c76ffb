"""Inception-v3 as the Fréchet inception distance takes it; needs torch-fidelity (the extra `generation`)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from pdiff.components import Ahead
from pdiff.errors import UserError
from pdiff_plugins.generation.frechet import to_pixels
from pdiff_plugins.reach import ask_server, in_torch_cache


class Inception(FeatureExtractorInceptionV3):  # type: ignore[misc]  # torch-fidelity has no types
    """From images in -1..1, grey ones repeated, to the 2,048 features before the last layer."""

    def __init__(self) -> None:
        # Its author's constructor unpickles whatever file it is given; ours is given an empty one.
        empty = io.BytesIO()
        torch.save({}, empty)
        empty.seek(0)
        super().__init__("inception-v3-compat", ["2048"], feature_extractor_weights_path=empty)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        return nn.Module.load_state_dict(self, state_dict or self.state_dict(), *args, **options)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(to_pixels(x_BCHW).expand(-1, 3, -1, -1))[0]


def published() -> dict[str, Tensor]:
    """Return the weights that torch-fidelity publishes, kept in torch.hub's folder. Raises UserError."""
    try:
        return torch.hub.load_state_dict_from_url(URL_INCEPTION_V3, progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # of the network, or of what it gave
        raise _unreachable(" ".join(str(error).split())[:120]) from None


def foresee_published(ahead: Ahead) -> None:
    """Say whether the weights can be had, unless they are there."""
    if not in_torch_cache(URL_INCEPTION_V3):
        answer = ask_server(URL_INCEPTION_V3)
        if answer.why:
            raise _unreachable(answer.why)
        ahead.fetches(f"weights {URL_INCEPTION_V3}{answer.said}")


def _unreachable(why: str) -> UserError:
    return UserError(
        f"task.features.weights: the weights of Inception ({URL_INCEPTION_V3}) could not be fetched ({why}); "
        'connect and run again, or write weights = "path/to/file.pth"'
    )
