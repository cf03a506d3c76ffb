"""The codec of products: against the components of products written out, in other factors, stored, and in a method."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.testing import Points, tiny_zoo
from pdiff_plugins.adapters.products import span
from pdiff_plugins.adapters.products.codec import Products
from pdiff_plugins.latent.flows import FlowMatching
from pdiff_plugins.latent.pdiff import PDiff
from tests.adapters.products.helpers import all_products, products_of, regauged, tiny_adapters, zoo_of

CTX = Context(seed=0, warn=lambda line: None)


def units(zoo):
    """Return products `[N, Z]` written out, each layer in units of its own spread."""
    parts = products_of(zoo.theta_ND, zoo.layout)
    parts += [zoo.theta_ND[:, e.columns].double() for e in zoo.layout.entries if e.key.endswith("bias")]
    centred = [part.flatten(1) - part.flatten(1).mean(dim=0) for part in parts]
    return torch.cat([part / part.square().mean().sqrt() for part in centred], dim=1)


def test_latents_are_principal_components_of_products() -> None:
    zoo = zoo_of(9, bias=True)
    fitted, z_NZ, facts = span.fit(zoo, 5)
    x_NP = units(zoo)
    u, s, _ = torch.linalg.svd(x_NP, full_matrices=False)
    torch.testing.assert_close((z_NZ * z_NZ[0].sign()).abs(), (u[:, :5] * s[:5]).abs())
    assert facts["explained"] == pytest.approx(float(s[:5].square().sum() / s.square().sum()))
    assert facts["variance"] == pytest.approx(1) and 0 < facts["cut"] < 1
    torch.testing.assert_close(fitted.encode(zoo.theta_ND, Points(zoo), CTX), z_NZ.float(), atol=1e-4, rtol=1e-4)


def test_other_factors_have_the_same_latents() -> None:
    zoo = zoo_of(9)
    fitted, z_NZ, _ = span.fit(zoo, 5)
    again_NZ = fitted.encode(regauged(zoo.theta_ND, zoo.layout, torch.Generator()), Points(zoo), CTX)
    torch.testing.assert_close(again_NZ, z_NZ.float(), atol=1e-4, rtol=1e-4)


def test_with_all_components_checkpoints_come_back_as_they_were() -> None:
    zoo = zoo_of(6, bias=True)
    fitted, z_NZ, facts = span.fit(zoo, 5)
    theta_ND = fitted.decode(z_NZ.float(), CTX)
    own_NP, back_NP = (all_products(each_ND, zoo.layout) for each_ND in (zoo.theta_ND, theta_ND))
    torch.testing.assert_close(back_NP, own_NP, atol=1e-3, rtol=1e-3)
    assert facts["cut"] < 1e-9 and facts["explained"] == pytest.approx(1)
    torch.testing.assert_close(
        fitted.decode(fitted.encode(theta_ND, Points(zoo), CTX), CTX), theta_ND, atol=1e-3, rtol=1e-3
    )


METHODS = [
    PDiff(codec=Products(latent=4), steps=3, timesteps=6, batch_size=8),
    FlowMatching(codec=Products(latent=4), steps=3, batch_size=8, sampling_steps=3),
]


@pytest.mark.parametrize("method", METHODS)
def test_methods_sample_adapters_and_stored_ones_the_same(method) -> None:
    zoo, bench = tiny_adapters(8)
    generator = method.fit(zoo, bench, CTX)
    gate = generator.facts["codec"]
    assert {"cut", "explained", "score_decoded", "score_original"} <= set(gate)
    theta_MD = generator.sample(5, bench, CTX)
    tensors = {key: value.clone() for key, value in generator.tensors().items()}
    again = method.load(tensors, zoo, bench, CTX)
    assert theta_MD.shape == (5, zoo.layout.dim) and again.sample(5, bench, CTX).equal(theta_MD)
    new_MD = regauged(zoo.theta_ND[:3], zoo.layout, torch.Generator())
    through_MD = again.through(new_MD, bench, CTX)
    kept_MD = generator.through(zoo.theta_ND[:3], bench, CTX)
    assert through_MD is not None and kept_MD is not None
    torch.testing.assert_close(through_MD, kept_MD, atol=1e-3, rtol=1e-2)


def test_what_it_cannot_stand_on_is_refused() -> None:
    with pytest.raises(UserError, match="the selection holds no adapters"):
        PDiff(codec=Products(), steps=3).fit(tiny_zoo(9), Points(tiny_zoo(9)), CTX)
    with pytest.raises(UserError, match=r"method\.codec: products reads a run's own adapters"):
        Products().build(dim=10)
    zoo = zoo_of(4)
    same = replace(zoo, theta_ND=zoo.theta_ND[:1].repeat(4, 1))
    fitted, z_NZ, facts = span.fit(same, 3)
    assert facts["explained"] == 1 and facts["variance"] == 0
    back_NP, own_NP = (all_products(each, zoo.layout) for each in (fitted.decode(z_NZ.float() + 1, CTX), same.theta_ND))
    torch.testing.assert_close(back_NP, own_NP, atol=1e-4, rtol=1e-4)
