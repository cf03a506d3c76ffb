"""Networks read by what they say, and fields moved in closed form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.errors import UserError
from pdiff.objective import Objective
from pdiff.running.progress import Progress
from pdiff.testing import Points
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.backbones.probes import Probes
from pdiff_plugins.fields.moves import SHIFT, Moved, move
from pdiff_plugins.fields.network import Siren
from pdiff_plugins.fields.shapes.plane import FieldSplit
from pdiff_plugins.fields.shapes.polygons import grid
from pdiff_plugins.fields.task import FieldTask
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.maths.normalise import per_column
from tests.backbones.helpers import ALONE

CTX = Context(seed=3, progress=Progress())
QUICK = {"latent": 4, "probes": 32, "hidden": 16, "steps": 60, "batch_size": 16, "points": 16, "lr": 5e-3}


def fields(count=30, keys="", **options):
    """Return (zoo, bench) of fields near one another; `keys` limits the selection to entries that end so."""
    torch.manual_seed(0)
    model = Siren(width=6, **options).build(input_shape=(2,), outputs=1)
    layout = Layout.of(model, [key for key in model.state_dict() if key.endswith(keys)])
    theta_ND = layout.vector(model.state_dict()) + 0.1 * torch.randn(count, layout.dim)
    zoo = Zoo(theta_ND, layout, model.state_dict(), [{"run": n, "metrics": {}, "label": n % 2} for n in range(count)])
    split = FieldSplit(grid(8), torch.rand(64, count), torch.zeros(count))
    return zoo, Points(zoo, objective=Objective(model, layout, FieldTask(), split))


def drawn(bench, theta_MD, points_P2):
    return bench.objective.outputs(theta_MD, points_P2)[..., 0]


@given(st.floats(0.01, 0.5))
@settings(max_examples=10)
def test_a_moved_field_is_the_field_at_moved_points(reach):
    zoo, bench = fields(count=4)
    moved_ND = zoo.theta_ND.clone()
    move(moved_ND, zoo.layout, reach, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    matrix_N22, shift_N2 = (2 * torch.rand(*shape, generator=generator) - 1 for shape in ((4, 2, 2), (4, 2)))
    for number in range(4):
        points_P2 = grid(4) @ (torch.eye(2) + reach * matrix_N22[number]).T + SHIFT * reach * shift_N2[number]
        expected_P = drawn(bench, zoo.theta_ND[number : number + 1], points_P2)
        assert torch.allclose(drawn(bench, moved_ND[number : number + 1], grid(4)), expected_P, atol=1e-5)


def test_copies_come_after_the_checkpoints_and_keep_their_labels():
    zoo, bench = fields(count=3)
    more = Moved(copies=2, reach=0.1).zoo(zoo, bench, CTX)
    assert torch.equal(more.theta_ND[:3], zoo.theta_ND) and more.theta_ND.unique(dim=0).shape[0] == 9
    assert [row["label"] for row in more.rows] == [0, 1, 0] * 3


def test_only_fields_that_read_coordinates_are_moved():
    zoo, bench = fields(frequencies=2)
    with pytest.raises(UserError, match=r"^moved: moves fields that read coordinates as they are"):
        Moved(copies=1).zoo(zoo, bench, CTX)
    zoo, bench = fields(keys="bias")
    with pytest.raises(UserError, match=r"the first layer, which is not selected; select it, or leave moved out"):
        Moved(copies=1).zoo(zoo, bench, CTX)


def test_a_method_learns_its_copies_and_the_zoo_is_left_as_it_is():
    zoo, bench = fields()
    options = {"steps": 2, "batch_size": 31, "timesteps": 4}
    said = []
    for augment in ([], [Moved(copies=1)]):
        PDiff(**options, augment=augment).fit(zoo, bench, CTX.replace(warn=said.append))
    assert [line for line in said if "batch_size = 31 is more than the 30 checkpoints" in line] == said[:1] != []
    once, again = (
        PDiff(**options | {"batch_size": 30}, augment=[Moved(copies=copies)]).fit(zoo, bench, CTX) for copies in (1, 2)
    )
    assert len(zoo) == 30 and not torch.equal(once.sample(3, bench, CTX), again.sample(3, bench, CTX))
    with pytest.raises(ValidationError, match=r"temperature is no step on a zoo; it goes into \[\[sample.step\]\]"):
        PDiff(augment=[{"name": "temperature", "factor": 0.5}])


def fitted(zoo, bench, **options):
    """Return (module, normalised checkpoints, bench of the codec)."""
    normaliser = per_column(zoo)
    x_ND, own = normaliser.encode(zoo.theta_ND), bench.through(normaliser.decode)
    torch.manual_seed(0)
    codec = Probes(**QUICK | options)
    module = codec.build(dim=zoo.layout.dim)
    codec.fit(module, x_ND, own, CTX)
    return module, x_ND, own


def test_a_decoded_network_says_what_the_first_one_said():
    zoo, bench = fields()
    errors = {}
    for steps in (1, 50):
        module, x_ND, own = fitted(zoo, bench, steps=steps, latent=16, lr=2e-2)
        decoded_ND = module.decode(module.encode(x_ND)).detach()
        said, known = (own.objective.predictions(own_ND, grid(8)) for own_ND in (decoded_ND, x_ND))
        errors[steps] = float((said - known).square().mean())
    variance = float(known.var(dim=0, correction=0).mean())
    assert errors[50] < 0.4 * variance < errors[1]


def test_a_latent_does_not_depend_on_the_order_of_hidden_units():
    zoo, bench = fields()
    module, x_ND, _ = fitted(zoo, bench, steps=1)
    normaliser, order = per_column(zoo), torch.randperm(6)
    theta_ND = zoo.theta_ND.clone()
    entries = zoo.layout.tensors(theta_ND)
    for key in ("hidden.0.weight", "hidden.0.bias"):
        entries[key].copy_(entries[key][:, order].clone())
    entries["hidden.1.weight"].copy_(entries["hidden.1.weight"][:, :, order].clone())
    assert not torch.allclose(theta_ND, zoo.theta_ND)
    assert torch.allclose(module.encode(normaliser.encode(theta_ND)), module.encode(x_ND), atol=1e-4)


def test_latents_of_one_unit_keep_their_relation_and_the_gate_asks_what_networks_say():
    zoo, bench = fields()
    zoo.condition_NC = torch.eye(len(zoo))
    method = PDiff(codec=Probes(**QUICK), steps=2, batch_size=16, timesteps=4, augment=[Moved(copies=1)])
    generator = method.fit(zoo, bench, CTX)
    assert generator.space.scale_Z.unique().numel() == 1
    assert 0 < generator.facts["codec"]["explained"] < 1
    assert generator.facts["examples"] == 60 * 16 * 16, "a gradient of each decoded network at each point"
    loaded = method.load(generator.tensors(), zoo, bench, CTX)
    assert loaded.conditional and torch.equal(loaded.sample(5, bench, CTX), generator.sample(5, bench, CTX))
    new_MD = zoo.theta_ND[:3] + 0.01
    assert loaded.through(new_MD, bench, CTX).equal(generator.through(new_MD, bench, CTX))
    older = {key: value for key, value in generator.tensors().items() if not key.startswith("reading.")}
    assert method.load(older, zoo, bench, CTX).through(new_MD, bench, CTX) is None, "it decodes only"


def test_latents_beyond_the_outputs_are_zero():
    module, x_ND, _ = fitted(*fields(), steps=1, latent=40)
    assert module.encode(x_ND)[:, 32:].abs().max() == 0


def test_of_classes_probabilities_are_kept():
    model = nn.Linear(2, 3)
    layout = Layout.of(model, ["weight", "bias"])
    split = TensorSplit(torch.rand(20, 2), torch.arange(20) % 3)
    objective = Objective(model, layout, Classification(), split)
    own_MBK, inputs = torch.randn(4, 9), torch.rand(5, 2)
    with torch.no_grad():
        one_by_one = objective.log_probabilities(own_MBK, inputs).exp()
    torch.testing.assert_close(objective.probabilities(own_MBK, inputs), one_by_one)
    codec, x_ND = Probes(**QUICK | {"steps": 300}), torch.randn(40, 9, generator=torch.Generator().manual_seed(0))
    module = codec.build(dim=9)
    codec.fit(module, x_ND, Points(fields()[0], objective=objective), CTX)
    with torch.no_grad():
        decoded_ND = module.decode(module.encode(x_ND))
        said, known = (objective.probabilities(each_ND, split.inputs) for each_ND in (decoded_ND, x_ND))
    assert (said - known).square().mean() < 0.3 * (known - known.mean(dim=0)).square().mean()


def test_networks_are_asked_where_there_is_a_task_with_a_gradient(monkeypatch):
    zoo, _ = fields()
    codec, x_ND = Probes(**QUICK), per_column(zoo).encode(zoo.theta_ND)
    with pytest.raises(UserError, match=r"there is no objective to ask for"):
        codec.fit(codec.build(dim=zoo.layout.dim), x_ND, ALONE, CTX)
    model = nn.Linear(2, 3)
    split = TensorSplit(torch.rand(20, 2), torch.arange(20) % 3)
    objective = Objective(model, Layout.of(model, ["weight", "bias"]), Classification(), split)
    monkeypatch.setattr(Classification, "log_probabilities", lambda task, model, inputs: None)
    with pytest.raises(UserError, match=r"predictions of task classification have no gradient"):
        codec.fit(codec.build(dim=9), torch.randn(20, 9), Points(zoo, objective=objective), CTX)


def test_networks_are_asked_all_at_once_as_one_by_one():
    zoo, bench = fields(count=3)
    together_MP = bench.objective.predictions(zoo.theta_ND, grid(4))
    for theta_D, own_P in zip(zoo.theta_ND, together_MP, strict=True):
        assert torch.allclose(FieldTask().predict(bench.objective._network(theta_D), grid(4)), own_P, atol=1e-6)
