"""Networks trained as one: the gradients of each alone, and which networks are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pdiff.context import Context
from pdiff.data import Batch
from pdiff.errors import UserError
from pdiff.zoo import Layout
from pdiff_plugins.collectors.seeds.layers import JointLayers
from pdiff_plugins.collectors.seeds.network import Network
from pdiff_plugins.images.classification import Classification
from tests.collectors.helpers import CTX, NETS, batch_norm, builder, built, collect, options, splits


class Odd(nn.Module):
    """Convolutions and poolings of all sorts, some of which are left to torch."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 4, (3, 2), stride=(2, 3), padding=(1, 0))
        self.b = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
        self.c = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.d = nn.Conv2d(6, 4, 3, padding="same", dilation=2)
        self.e = nn.Conv2d(4, 4, 1, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.LayerNorm([4, 4, 4], bias=False), nn.LayerNorm(4)])
        self.head = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        x = self.norms[0](self.a(x)).relu()
        x = F.max_pool2d(x, 2, stride=1) + F.avg_pool2d(x, 3, 1, padding=1)[:, :, 1:, 1:]
        x = self.e(self.d(self.c(self.b(x).relu())))
        x = self.norms[1](F.interpolate(x, size=4)).relu()
        x = F.max_pool2d(F.avg_pool2d(x, 1), (2, 1))
        x = self.norms[2](x.mean(dim=(2, 3)))
        return self.head(x)


class Shared(nn.Module):
    """One block under two names, and two layers with one matrix."""

    def __init__(self):
        super().__init__()
        block = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh())
        self.first, self.blocks, self.head = nn.Linear(4, 6), nn.ModuleList([block, block]), nn.Linear(6, 3)
        self.ends = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6, bias=False)])
        self.ends[1].weight = self.ends[0].weight

    def forward(self, x):
        x = self.ends[0](self.blocks[1](self.blocks[0](self.first(x)))).tanh()
        return self.head(self.ends[1](x))


@pytest.mark.parametrize(("make", "shape"), [*NETS.values(), (Odd, (2, 11, 14)), (Shared, (4,))])
def test_gradients_are_those_of_one_network_alone(make, shape) -> None:
    models = [built(make, seed).double().train() for seed in range(3)]
    template, ctx = built(make, 9).double().train(), Context(seed=0)
    network = Network(template, Layout.of(template, list(template.state_dict())), Classification(), ctx)
    theta_GT, buffers = network.stacked(models)
    x = torch.randn(3, 8, *shape, dtype=torch.float64).round(decimals=1)  # equal values in one window, too
    y = torch.randint(3, (3, 8))
    before = {name: id(entry) for name, entry in template.state_dict(keep_vars=True).items()}
    gradient_GT, losses_G, *after = network.trace(Batch(x, y), theta_GT, buffers)(theta_GT, x, y, *buffers)
    assert {name: id(entry) for name, entry in template.state_dict(keep_vars=True).items()} == before
    for index, model in enumerate(models):
        loss = F.cross_entropy(model(x[index]), y[index])
        loss.backward()
        assert losses_G[index].item() == pytest.approx(loss.item(), rel=1e-12)
        expected = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        torch.testing.assert_close(gradient_GT[index], expected, atol=1e-11, rtol=1e-9)
        for own, buffer in zip(after, model.buffers(), strict=True):
            torch.testing.assert_close(own[index], buffer, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_of_images_is_each_networks_own(training, affine) -> None:
    models = [nn.BatchNorm2d(3, affine=affine).double().train(training) for _ in range(4)]
    x = torch.randn(4, 6, 3, 5, 4, dtype=torch.float64)
    for model in models:
        model.running_var.uniform_(0.5, 2)
        model.running_mean.normal_()
    state, buffers = torch.func.stack_module_state(models)
    buffers = {key: value.clone() for key, value in buffers.items()}

    def forward(state, buffers, x):
        with JointLayers():
            return torch.func.functional_call(models[0], (state, buffers), (x,)), buffers

    given, after = torch.func.vmap(forward)(state, buffers, x)
    for network, model in enumerate(models):
        torch.testing.assert_close(given[network], model(x[network]), rtol=1e-12, atol=1e-12)
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(after[name][network], buffer, rtol=1e-12, atol=1e-12)


def test_of_equal_values_in_a_window_the_first_has_the_gradient() -> None:
    x = torch.zeros(2, 8, 1, 4, 4).permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3)

    def loss(x):
        with JointLayers():
            return F.max_pool2d(x, 2).sum()

    own = torch.func.grad(lambda x: torch.func.vmap(loss)(x).sum())(x)
    single = x[0].clone().requires_grad_()
    F.max_pool2d(single, 2).sum().backward()
    assert own[0].equal(single.grad)


def test_independent_runs_need_everything_selected() -> None:
    with pytest.raises(UserError, match=r"'1.running_mean' is not selected.*'entire'"):
        collect(options(), "batch_norm", [key for key, _ in batch_norm().named_parameters()])
    with pytest.raises(UserError, match="names no trainable parameter"):
        collect(options(start="base"), "batch_norm", ["1.running_mean"])


def test_networks_that_draw_random_numbers_are_refused() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.2), nn.Linear(6, 3))

    for rate, match in ((0.2, "dropout or the like"), (0.0, None)):
        model = make()
        model[1].p = rate
        layout = Layout.of(model, list(model.state_dict()))
        arguments = {"data": splits((4,)), "task": Classification(), "layout": layout, "ctx": CTX}
        arguments["bench"] = builder(make)
        if match is None:
            assert len(options().collect(model, **arguments)) == 12
        else:
            with pytest.raises(UserError, match=match) as caught:
                options().collect(model, **arguments)
            assert "\n" not in str(caught.value)


class Deciding(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x) if x.sum() > 0 else self.head(-x)


def test_networks_that_cannot_be_batched_are_one_line() -> None:
    model = Deciding()
    layout = Layout.of(model, list(model.state_dict()))
    with pytest.raises(UserError, match="cannot be trained together") as caught:
        options().collect(
            model, data=splits((4,)), task=Classification(), layout=layout, bench=builder(Deciding), ctx=CTX
        )  # fmt: skip
    assert "\n" not in str(caught.value)
