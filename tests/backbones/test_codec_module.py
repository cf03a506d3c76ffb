"""What the modules of codecs declare beside encoding and decoding."""

from __future__ import annotations

import pytest
from torch import nn

from pdiff_plugins.backbones.codec_module import OneScale, Saying, Tokened
from pdiff_plugins.backbones.codecs import Autoencoder, Conv1dCodec, Identity, Pca
from pdiff_plugins.backbones.probes import Probes
from pdiff_plugins.backbones.transformers import TransformerCodec

DECLARED = {
    Identity(): (), Pca(): (), Autoencoder(): (), Conv1dCodec(channels=(4,)): (),
    TransformerCodec(width=8, heads=2): (Tokened,), Probes(): (OneScale, Saying),
}  # fmt: skip


@pytest.mark.parametrize("codec", DECLARED, ids=lambda codec: codec.name)
def test_a_codec_declares_what_methods_ask_it_for_and_no_more(codec):
    module = codec.build(dim=20)
    assert isinstance(module, nn.Module)
    assert tuple(kind for kind in (OneScale, Saying, Tokened) if isinstance(module, kind)) == DECLARED[codec]
