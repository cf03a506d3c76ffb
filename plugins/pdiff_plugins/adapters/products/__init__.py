"""Adapters judged, coded and merged by their products B A, which all factors of one function share."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.adapters.products.canonical import Canonical
from pdiff_plugins.adapters.products.codec import Products
from pdiff_plugins.adapters.products.methods import MeanAdapter


@hookimpl
def register_transforms(register: Any) -> None:
    register(Canonical)


@hookimpl
def register_backbones(register: Any) -> None:
    register(Products)


@hookimpl
def register_methods(register: Any) -> None:
    register(MeanAdapter)
