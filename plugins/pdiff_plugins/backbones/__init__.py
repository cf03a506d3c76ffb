"""Codecs and denoisers."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.backbones.codecs import Autoencoder, Conv1dCodec, Identity, Pca
from pdiff_plugins.backbones.denoisers import Conv1dDenoiser, MlpDenoiser
from pdiff_plugins.backbones.probes import Probes
from pdiff_plugins.backbones.transformers import TransformerCodec, TransformerDenoiser


@hookimpl
def register_backbones(register: Any) -> None:
    for codec in (Identity, Pca, Conv1dCodec, Autoencoder, TransformerCodec, Probes):
        register(codec)
    for denoiser in (Conv1dDenoiser, MlpDenoiser, TransformerDenoiser):
        register(denoiser)
