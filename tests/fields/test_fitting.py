"""Networks fitted to shapes together: each its own, and the same bytes after a kill."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pdiff.context import Context
from pdiff.networks import build_network
from pdiff.running.snapshot import Snapshot
from pdiff_plugins.fields.network import Siren
from tests.fields.helpers import collected


def test_networks_draw_their_shapes_and_a_shared_start_keeps_them_near(data):
    spread = {}
    for start in ("mean", "independent"):
        zoo = collected(data, start=start)
        assert min(row["metrics"]["psnr"] for row in zoo.rows) > 11, start
        unit = F.normalize(zoo.theta_ND, dim=1)
        spread[start] = float((unit @ unit.T).mean())
    assert spread["mean"] > 0.8 and spread["independent"] < 0.4
    assert [row["label"] for row in zoo.rows] == data.train.labels[:8].tolist()


def test_a_network_does_not_depend_on_how_many_others_there_are(data):
    few, more = (collected(data, start="first", shapes=shapes, steps=20) for shapes in (3, 6))
    assert torch.allclose(few.theta_ND, more.theta_ND[:3], atol=1e-4)


def test_with_biases_alone_the_weights_are_shared_and_trained(data):
    zoo = collected(data, keys="bias", steps=30)
    before = build_network(Siren(), data, 0).state_dict()
    assert zoo.layout.dim == 16 + 16 + 1
    assert not torch.equal(zoo.anchor["out.weight"], before["out.weight"])
    points, field = data.train.inputs[:50], build_network(Siren(), data, 0)
    field.load_state_dict(zoo.state_dict(zoo.theta_ND[3]))
    drawn = field(points).sigmoid()[:, 0] - data.train.targets[:50, 3]
    average = data.train.targets[:, :8].mean(dim=1)[:50] - data.train.targets[:50, 3]
    assert drawn.square().mean() < average.square().mean()


class Killed(Exception):
    pass


class Snapping(Snapshot):
    """Saves at every step, and dies at one of them."""

    def __init__(self, folder, name="snapshot", dies_at=0):
        super().__init__(folder, name, 0.0)
        self.dies_at = dies_at

    def scope(self, name):
        return Snapping(self.folder, f"{self.name}-{name}", self.dies_at)

    def due(self):
        return True

    def save(self, tensors, state):
        super().save(tensors, state)
        if self.name == "snapshot" and state["step"] == self.dies_at:
            raise Killed


def test_a_fit_that_was_killed_ends_in_the_same_bytes(data, tmp_path):
    whole = collected(data, steps=8)
    with pytest.raises(Killed):
        collected(data, steps=8, ctx=Context(seed=0, snapshot=Snapping(tmp_path, dies_at=5)))
    again = collected(data, steps=8, ctx=Context(seed=0, snapshot=Snapping(tmp_path)))
    assert torch.equal(whole.theta_ND, again.theta_ND) and whole.rows == again.rows
