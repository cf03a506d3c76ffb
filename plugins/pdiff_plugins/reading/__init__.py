"""Weights are read: what a network's score is, told from its weights alone."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.reading.readers.equivariant import Equivariant
from pdiff_plugins.reading.readers.neuron_transformer import NeuronTransformer
from pdiff_plugins.reading.readers.probes import ProbeReader


@hookimpl
def register_readers(register: Any) -> None:
    for reader in (NeuronTransformer, Equivariant, ProbeReader):
        register(reader)
