"""Surgery: functions that stay, and narrow networks that load into the smaller architecture."""

from __future__ import annotations

import pytest
import torch

from pdiff_plugins.widths.surgery import cut, lengths, narrow, split, width_of
from tests.widths.helpers import CNN, MLP, NARROW, SHAPES, network, outputs, units_of


def some(architecture, width: int, count: int = 3) -> torch.Tensor:
    """Return random networks of a width."""
    units = units_of(architecture)
    noise_MD = torch.randn(count, units.layout.dim, generator=torch.Generator().manual_seed(2))
    return 0.3 * noise_MD * units.mask(width)


def examples(architecture) -> torch.Tensor:
    return torch.randn(5, *SHAPES[architecture], generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("architecture", [MLP, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("width", [6, 7, 8])
def test_splitting_keeps_the_function(architecture, width: int) -> None:
    theta_MD, units, x = some(architecture, 3), units_of(architecture), examples(architecture)
    wide_MD = split(theta_MD, 3, width, units, torch.Generator().manual_seed(0))
    assert [width_of(theta_D, units) for theta_D in wide_MD] == [width] * 3
    torch.testing.assert_close(outputs(architecture, wide_MD, x), outputs(architecture, theta_MD, x))


@pytest.mark.parametrize("architecture", [MLP, CNN], ids=["mlp", "cnn"])
def test_a_network_cut_or_split_to_its_own_width_is_itself(architecture) -> None:
    theta_MD, units = some(architecture, 5), units_of(architecture)
    assert cut(theta_MD, 5, 5, units).equal(theta_MD)
    assert split(theta_MD, 5, 5, units, torch.Generator()).equal(theta_MD)


def test_the_units_that_are_read_least_are_cut() -> None:
    theta_MD, units = some(MLP, 8, count=1), units_of(MLP)
    read_U = lengths(theta_MD[0], units, 0)
    state = units.layout.tensors(theta_MD[0])
    torch.testing.assert_close(read_U, state["3.weight"].norm(dim=0).double())
    kept = read_U.argsort(descending=True)[:3].sort().values
    small = narrow(cut(theta_MD, 8, 3, units)[0], 3, units)
    assert small["1.weight"].equal(state["1.weight"][kept]) and small["3.weight"].equal(state["3.weight"][:, kept])


@pytest.mark.parametrize("architecture", [MLP, CNN], ids=["mlp", "cnn"])
def test_cutting_undoes_splitting_by_units_that_nobody_reads(architecture) -> None:
    theta_MD, units, x = some(architecture, 8), units_of(architecture), examples(architecture)
    for theta_D in theta_MD:
        for group, left in enumerate(units.living(5)):
            for entry, axis, read in units.places(group):
                if read:
                    value = theta_D[entry.columns].view(units.symmetry.shape(entry.key))
                    value.narrow(axis, left, units.sizes[group] - left).zero_()
    torch.testing.assert_close(outputs(architecture, cut(theta_MD, 8, 5, units), x), outputs(architecture, theta_MD, x))


@pytest.mark.parametrize("architecture", [MLP, CNN], ids=["mlp", "cnn"])
def test_a_narrow_network_loads_into_the_smaller_architecture_and_says_the_same(architecture) -> None:
    theta_MD, units, x = some(architecture, 5), units_of(architecture), examples(architecture)
    small = network(NARROW[architecture])
    for theta_D, wanted in zip(theta_MD, outputs(architecture, theta_MD, x), strict=True):
        small.load_state_dict(narrow(theta_D, 5, units), strict=True)
        torch.testing.assert_close(small(x), wanted, atol=1e-6, rtol=1e-5)
