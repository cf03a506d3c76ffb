"""The collector of widths: a padded network trains as the narrow one does by itself."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pdiff.context import derive
from pdiff.errors import UserError
from pdiff.training.loop import epoch_order
from pdiff.zoo import Layout
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.networks.small import HyperCnn, MlpMini
from pdiff_plugins.widths.surgery import narrow
from pdiff_plugins.widths.units import LivingUnits
from tests.widths.helpers import CNN, MLP, NARROW, SHAPES, bench, collect, network, options, splits, units_of


@pytest.mark.parametrize(("architecture", "optimizer"), [(MLP, "adamw"), (MLP, "adam"), (MLP, "sgd"), (CNN, "adamw")])
def test_dead_units_stay_exactly_dead(architecture, optimizer: str) -> None:
    zoo, units = (
        collect(architecture, **{} if optimizer == "adamw" else {"optimizer": optimizer}),
        units_of(architecture),
    )
    assert [row["about"]["width"] for row in zoo.rows] == [3] * 3 + [8] * 3
    assert [(row["about"]["width"], row["part"]) for row in zoo.holdout.rows] == [(5, "held out")] * 2
    for part in (zoo, zoo.holdout):
        for row, theta_D in zip(part.rows, part.theta_ND, strict=True):
            mask_D = units.mask(row["about"]["width"])
            assert not theta_D[~mask_D].any() and theta_D[mask_D].ne(0).float().mean() > 0.99


@pytest.mark.parametrize("architecture", [MLP, CNN], ids=["mlp", "cnn"])
def test_a_padded_network_trains_as_the_narrow_one_does(architecture) -> None:
    zoo, units = collect(architecture), units_of(architecture)
    run, chosen = 6, options()
    begun = bench(architecture).build(derive(7, "run", run)).state_dict()
    start_D = units.layout.vector(begun) * units.starting(5)
    small = network(NARROW[architecture])
    small.load_state_dict(narrow(start_D, 5, units), strict=True)
    train = splits(SHAPES[architecture]).train
    adam = torch.optim.AdamW(small.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay)
    for step in range(chosen.steps):
        adam.param_groups[0]["lr"] = chosen.lr * 0.5 * (1 + torch.tensor(torch.pi * step / chosen.steps).cos().item())
        index = epoch_order(len(train), chosen.batch_size, step, derive(7, "run", run))
        adam.zero_grad()
        F.cross_entropy(small(train.inputs[index]), train.targets[index]).backward()
        adam.step()
    ours = narrow(zoo.holdout.theta_ND[0], 5, units)
    for key, value in small.state_dict().items():
        torch.testing.assert_close(ours[key], value, atol=2e-4, rtol=2e-3)


@pytest.mark.parametrize("architecture", [MLP, CNN], ids=["mlp", "cnn"])
def test_a_start_has_the_deviation_of_a_narrow_networks_start(architecture) -> None:
    units, small = units_of(architecture), network(NARROW[architecture])
    starts = [narrow(bench(architecture).start(seed) * units.starting(5), 5, units) for seed in range(40)]
    for key, value in small.state_dict().items():
        if value.ndim > 1:  # uniform within the inverse root of what a unit reads
            bound = value[0].numel() ** -0.5
            most = max(float(start[key].abs().max()) for start in starts)
            assert most == pytest.approx(bound, rel=0.1), key


def test_shared_starts_are_the_first_units_of_one_network() -> None:
    zoo, units = collect(MLP, start="shared", lr=1e-9, weight_decay=0.0), units_of(MLP)
    first, last = zoo.theta_ND[0] / units.starting(3).clamp_min(1e-12), zoo.theta_ND[-1]
    mask_D = units.mask(3)
    torch.testing.assert_close(first[mask_D], last[mask_D], atol=1e-5, rtol=1e-5)
    assert torch.allclose(zoo.theta_ND[0], zoo.theta_ND[1], atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "shape", "says"),
    [(MlpMini(hidden=(8,)), (1, 6, 6), "LayerNorm"), (HyperCnn(activation="sigmoid"), (1, 28, 28), "not 0 at 0")],
)
def test_an_architecture_whose_units_cannot_be_dead_is_refused_in_a_line(architecture, shape, says: str) -> None:
    from pdiff.networks import build_network
    from pdiff.testing import bench_of
    from pdiff.zoo import Zoo

    data = splits(shape)
    model = build_network(architecture, data, 0)
    layout = Layout.of(model, list(model.state_dict()))
    served = bench_of(Zoo.of_one(dict(model.state_dict()), layout), architecture, Classification(), data)
    with pytest.raises(UserError, match=says) as told:
        options().collect(model, data=data, task=Classification(), layout=layout, bench=served, ctx=None)  # type: ignore[arg-type]
    assert "\n" not in str(told.value)
    assert isinstance(LivingUnits.of(served, layout, "test"), LivingUnits)


def test_a_width_beyond_the_architecture_is_refused() -> None:
    with pytest.raises(UserError, match="the widest layer has 8 units"):
        collect(MLP, widths=(4, 9))
    with pytest.raises(ValueError, match="4 stands twice"):
        options(widths=(4, 8), held_out=(4,))
