"""Networks read by what they say, and fields moved in closed form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.errors import UserError
from pdiff.objective import Objective
from pdiff.running.progress import Progress
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.backbones.probes import Probes
from pdiff_plugins.fields.moves import SHIFT, moved_once, with_moved
from pdiff_plugins.fields.shapes.plane import FieldSplit
from pdiff_plugins.fields.shapes.polygons import grid
from pdiff_plugins.fields.task import FieldTask, Siren
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.maths.normalise import per_column

QUICK = {"latent": 4, "probes": 32, "hidden": 16, "steps": 60, "batch_size": 16, "points": 16, "lr": 5e-3}


def fields(count=30, keys="", **options):
    """Return (zoo, context) of fields near one another; `keys` limits the selection to entries that end so."""
    torch.manual_seed(0)
    model = Siren(width=6, **options).build(input_shape=(2,), outputs=1)
    layout = Layout.of(model, [key for key in model.state_dict() if key.endswith(keys)])
    theta_ND = layout.vector(model.state_dict()) + 0.1 * torch.randn(count, layout.dim)
    zoo = Zoo(theta_ND, layout, model.state_dict(), [{"run": n, "metrics": {}, "label": n % 2} for n in range(count)])
    split = FieldSplit(grid(8), torch.rand(64, count), torch.zeros(count))
    return zoo, Context(seed=3, progress=Progress(), objective=Objective(model, layout, FieldTask(), split))


def drawn(zoo, ctx, theta_MD, points_P2):
    return ctx.objective.outputs(theta_MD, points_P2)[..., 0]


@given(st.floats(0.01, 0.5))
@settings(max_examples=10)
def test_a_moved_field_is_the_field_at_moved_points(reach):
    zoo, ctx = fields(count=4)
    moved_ND = moved_once(zoo, reach, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    matrix_N22, shift_N2 = (2 * torch.rand(*shape, generator=generator) - 1 for shape in ((4, 2, 2), (4, 2)))
    for number in range(4):
        points_P2 = grid(4) @ (torch.eye(2) + reach * matrix_N22[number]).T + SHIFT * reach * shift_N2[number]
        expected_P = drawn(zoo, ctx, zoo.theta_ND[number : number + 1], points_P2)
        assert torch.allclose(drawn(zoo, ctx, moved_ND[number : number + 1], grid(4)), expected_P, atol=1e-5)


def test_copies_come_after_the_checkpoints_and_keep_their_labels():
    zoo, ctx = fields(count=3)
    more = with_moved(zoo, 2, 0.1, ctx)
    assert torch.equal(more.theta_ND[:3], zoo.theta_ND) and more.theta_ND.unique(dim=0).shape[0] == 9
    assert [row["label"] for row in more.rows] == [0, 1, 0] * 3
    assert with_moved(zoo, 0, 0.1, ctx) is zoo


def test_only_fields_that_read_coordinates_are_moved():
    zoo, ctx = fields(frequencies=2)
    with pytest.raises(UserError, match=r"method.moved: moves fields that read coordinates as they are"):
        with_moved(zoo, 1, 0.1, ctx)
    with pytest.raises(UserError, match=r"method.moved: moves fields"):
        with_moved(zoo, 1, 0.1, ctx.replace(objective=None))
    zoo, ctx = fields(keys="bias")
    with pytest.raises(UserError, match=r"the first layer, which is not selected; select it, or leave moved out"):
        with_moved(zoo, 1, 0.1, ctx)


def test_without_copies_a_method_is_what_it_was_before_there_were_any():
    assert not {"moved", "reach"} & set(PDiff().identity())
    assert PDiff(moved=2).identity()["reach"] == PDiff().reach


def fitted(zoo, ctx, **options):
    """Return (module, normalised checkpoints, context of the codec)."""
    normaliser = per_column(zoo)
    x_ND, own = normaliser.encode(zoo.theta_ND), ctx.replace(objective=ctx.objective.through(normaliser.decode))
    torch.manual_seed(0)
    codec = Probes(**QUICK | options)
    module = codec.build(dim=zoo.layout.dim)
    codec.fit(module, x_ND, own)
    return module, x_ND, own


def test_a_decoded_network_says_what_the_first_one_said():
    zoo, ctx = fields()
    errors = {}
    for steps in (1, 50):
        module, x_ND, own = fitted(zoo, ctx, steps=steps, latent=16, lr=2e-2)
        decoded_ND = module.decode(module.encode(x_ND)).detach()
        said, known = (own.objective.predictions(own_ND, grid(8)) for own_ND in (decoded_ND, x_ND))
        errors[steps] = float((said - known).square().mean())
    variance = float(known.var(dim=0, correction=0).mean())
    assert errors[50] < 0.4 * variance < errors[1]


def test_a_latent_does_not_depend_on_the_order_of_hidden_units():
    zoo, ctx = fields()
    module, x_ND, _ = fitted(zoo, ctx, steps=1)
    normaliser, order = per_column(zoo), torch.randperm(6)
    theta_ND = zoo.theta_ND.clone()
    entries = zoo.layout.tensors(theta_ND)
    for key in ("hidden.0.weight", "hidden.0.bias"):
        entries[key].copy_(entries[key][:, order].clone())
    entries["hidden.1.weight"].copy_(entries["hidden.1.weight"][:, :, order].clone())
    assert not torch.allclose(theta_ND, zoo.theta_ND)
    assert torch.allclose(module.encode(normaliser.encode(theta_ND)), module.encode(x_ND), atol=1e-4)


def test_latents_of_one_unit_keep_their_relation_and_the_gate_asks_what_networks_say():
    zoo, ctx = fields()
    method = PDiff(codec=Probes(**QUICK), steps=2, batch_size=16, timesteps=4, labels=True, moved=1)
    generator = method.fit(zoo, ctx)
    assert generator.space.scale_Z.unique().numel() == 1
    assert 0 < generator.facts["codec"]["explained"] < 1
    loaded = method.load(generator.tensors(), zoo, ctx)
    assert torch.equal(loaded.sample(5, ctx), generator.sample(5, ctx))


def test_latents_beyond_the_outputs_are_zero():
    module, x_ND, _ = fitted(*fields(), steps=1, latent=40)
    assert module.encode(x_ND)[:, 32:].abs().max() == 0


def test_networks_are_asked_where_there_is_a_task_with_a_gradient():
    zoo, ctx = fields()
    codec, x_ND = Probes(**QUICK), per_column(zoo).encode(zoo.theta_ND)
    with pytest.raises(UserError, match=r"method.codec: probes asks networks, and there is no task here"):
        codec.fit(codec.build(dim=zoo.layout.dim), x_ND, ctx.replace(objective=None))
    model = nn.Linear(2, 3)
    split = TensorSplit(torch.rand(20, 2), torch.arange(20) % 3)
    objective = Objective(model, Layout.of(model, ["weight", "bias"]), Classification(), split)
    with pytest.raises(UserError, match=r"predictions of task classification have no gradient"):
        codec.fit(codec.build(dim=9), torch.randn(20, 9), ctx.replace(objective=objective))


def test_networks_are_asked_all_at_once_as_one_by_one():
    zoo, ctx = fields(count=3)
    together_MP = ctx.objective.predictions(zoo.theta_ND, grid(4))
    for theta_D, own_P in zip(zoo.theta_ND, together_MP, strict=True):
        assert torch.allclose(FieldTask().predict(ctx.objective._network(theta_D), grid(4)), own_P, atol=1e-6)
