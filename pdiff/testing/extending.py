"""What is promised by selectors that add to a network what is generated, as adapters are."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pdiff.components import Selector
from pdiff.testing.asserts import same_state, seeded, stored
from pdiff.zoo import Layout

CLOSE = 1e-5
"""By how much outputs and coordinates may differ, as a share of the largest."""


def extended(component: Selector, model: nn.Module, inputs: Tensor) -> nn.Module:
    """Return the network with what the selector adds: its own entries and outputs are what they were."""
    plain, name = model.state_dict(), component.name
    larger, again, other = (copy.deepcopy(model) for _ in range(3))
    for seed, network in ((0, larger), (0, again), (1, other)):
        seeded(seed, component.extend, network)
    state = larger.state_dict()
    same_state(state, again.state_dict(), f"{name}: extend() draws from elsewhere than torch's global generator")
    assert any(not torch.equal(state[key], value) for key, value in other.state_dict().items()), (
        f"{name}: extend() adds the same whatever the seed; networks of several starts would be one"
    )
    same_state({key: state[key] for key in plain if key in state}, plain, f"{name}: extend() changes what it finds")
    assert len(state) > len(plain), f"{name}: extends, but adds no entry"
    _close(larger(inputs), model(inputs), f"{name}: a network that is new extended has other outputs")
    return larger


def check_plain(
    component: Selector, model: nn.Module, larger: nn.Module, layout: Layout, inputs: Tensor,
    same: Callable[[Tensor, Layout], Tensor] | None,
) -> None:  # fmt: skip
    """Any selected vector is a network of the plain architecture; of one function there is one row of coordinates.

    `same` returns vectors of the same functions.
    """
    name = component.name
    theta_MD = torch.randn(3, layout.dim, generator=torch.Generator().manual_seed(0))
    rows = theta_MD if same is None else torch.cat([theta_MD, same(theta_MD.clone(), layout)])
    outputs = []
    for theta_D in rows:
        larger.load_state_dict(larger.state_dict() | layout.tensors(theta_D))
        given = component.plain(larger.state_dict())
        network = copy.deepcopy(model)
        network.load_state_dict(stored(given), strict=True)
        outputs.append(network(inputs))
        _close(outputs[-1], larger(inputs), f"{name}: plain() gives a network of other outputs")
    z_MZ = component.coordinates(rows, layout)
    assert z_MZ.shape[0] == len(rows) and z_MZ.isfinite().all(), f"{name}: coordinates() gives no row for each network"
    assert torch.cdist(z_MZ[:3], z_MZ[:3])[0, 1:].min() > CLOSE, f"{name}: other networks have the same coordinates"
    if same is not None:
        _close(torch.stack(outputs[3:]), torch.stack(outputs[:3]), f"{name}: the case's functions differ", 10 * CLOSE)
        _close(z_MZ[3:], z_MZ[:3], f"{name}: the same function has other coordinates")


def _close(ours: Tensor, theirs: Tensor, otherwise: str, within: float = CLOSE) -> None:
    far = (ours - theirs).abs().max().item() / max(theirs.abs().max().item(), 1e-30)
    assert far <= within, f"{otherwise} (by {far:.1g} of the largest)"
