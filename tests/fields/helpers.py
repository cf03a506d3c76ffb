"""Shapes and fields at the size of a test."""

from __future__ import annotations

import numpy as np
import torch

from pdiff.context import Context
from pdiff.networks import build_network
from pdiff.testing import bench_of
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.fields.collector import Fields
from pdiff_plugins.fields.network import Siren
from pdiff_plugins.fields.shapes.plane import DigitFields
from pdiff_plugins.fields.surfaces.meshes import Mesh
from pdiff_plugins.fields.task import FieldTask

SMALL = DigitFields(side=16)


def collected(data, keys="", ctx=None, **options):
    """Return the zoo of a few shapes; `keys` limits the selection to entries that end so."""
    own = {"shapes": 8, "steps": 40, "points": 64} | options
    model = build_network(Siren(), data, 0)
    layout = Layout.of(model, [key for key in model.state_dict() if key.endswith(keys)])
    bench = bench_of(Zoo.of_one(model.state_dict(), layout), Siren(), FieldTask(), data)
    ctx = ctx or Context(seed=0)
    return Fields(**own).collect(model, data=data, task=FieldTask(), layout=layout, bench=bench, ctx=ctx)


CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)], np.float32)
SQUARES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
CUBE = Mesh(CORNERS, np.array([face for a, b, c, d in SQUARES for face in ((a, b, c), (a, c, d))]))


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def volume(mesh):
    """Return the volume enclosed (divergence theorem); below zero where faces are turned inside out."""
    a, b, c = mesh.corners.astype(np.float64).transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)
