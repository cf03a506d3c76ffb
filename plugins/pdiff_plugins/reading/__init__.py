"""Weights are read: what a network's score is, told from its weights alone."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.reading.codec import UnitAutoencoder
from pdiff_plugins.reading.readers.equivariant import Equivariant
from pdiff_plugins.reading.readers.neuron_transformer import NeuronTransformer
from pdiff_plugins.reading.readers.probes import ProbeReader
from pdiff_plugins.reading.readers.statistics import Statistics


@hookimpl
def register_readers(register: Any) -> None:
    for reader in (Statistics, NeuronTransformer, Equivariant, ProbeReader):
        register(reader)


@hookimpl
def register_backbones(register: Any) -> None:
    register(UnitAutoencoder)


@hookimpl
def register_evaluators(register: Any) -> None:
    from pdiff_plugins.reading.evaluator import PredictProperty

    register(PredictProperty)


@hookimpl
def register_commands(app: Any) -> None:
    from pdiff_plugins.reading.commands import read

    app.command()(read)
