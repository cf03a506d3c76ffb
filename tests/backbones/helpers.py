"""Codecs and denoisers at the size of a test, and data of a known rank."""

from __future__ import annotations

import torch

from pdiff.services import Absent

SMALL = {"width": 16, "depth": 1, "heads": 2}
ALONE = Absent("a codec alone")


def named(component):
    return component.name


def size(module):
    return sum(p.numel() for p in module.parameters())


def low_rank(rows, dim, rank, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, rank, generator=g) @ torch.randn(rank, dim, generator=g) / rank**0.5
