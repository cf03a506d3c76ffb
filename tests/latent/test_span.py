"""Principal components as sums of checkpoints: those of a basis, whatever the windows, stored in kilobytes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdiff.context import Context
from pdiff.testing import Points
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.backbones.codecs import Pca
from pdiff_plugins.backbones.nets.linear_codec import PcaModule
from pdiff_plugins.latent import space, span
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.maths import normalise

CTX = Context(seed=0, warn=lambda line: None)
LAYOUT = Layout((Entry("w", (30, 3), 0), Entry("n.running_var", (20,), 90, positive=True), Entry("b", (7,), 110)))


def zoo(count: int = 12, seed: int = 0, scale: float = 1.0) -> Zoo:
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(117, generator=generator) + scale * torch.randn(count, 117, generator=generator)
    theta[:, 90:110] = theta[:, 90:110].abs() + 0.1
    return Zoo(theta, LAYOUT, {e.key: theta[0, e.columns].view(e.shape) for e in LAYOUT.entries}, [{}] * count)


def dense(own: Zoo, latent: int, faithful: bool) -> tuple[PcaModule, normalise.Normaliser]:
    """Return components with a basis, of the normalised checkpoints."""
    normaliser = normalise.per_tensor(own) if faithful else normalise.per_column(own)
    module = PcaModule(117, latent)
    module.fit(normaliser.encode(own.theta_ND).double())
    return module.double(), normaliser


@pytest.mark.parametrize("faithful", [False, True])
def test_a_span_says_what_a_basis_says(faithful: bool) -> None:
    own = zoo()
    module, normaliser = dense(own, 5, faithful)
    fitted, z_NZ, facts = span.fit(own, 5, faithful)
    x_ND = normaliser.encode(own.theta_ND).double()
    known_NZ = module.encode(x_ND)
    signs_Z = (known_NZ * z_NZ).sum(dim=0).sign()
    torch.testing.assert_close(z_NZ * signs_Z, known_NZ, rtol=1e-4, atol=1e-4)
    new_MZ = torch.randn(6, 5, generator=torch.Generator().manual_seed(1)).double() * z_NZ.std(dim=0)
    expected = normaliser.decode(module.decode(new_MZ * signs_Z).float())
    torch.testing.assert_close(fitted.decode(new_MZ, CTX), expected, rtol=1e-3, atol=1e-4)
    error = float((module.decode(known_NZ) - x_ND).square().mean())
    assert facts["error"] == pytest.approx(error, rel=1e-4)
    assert facts["explained"] == pytest.approx(1 - error / float((x_ND - x_ND.mean(dim=0)).square().mean()), rel=1e-5)


@pytest.mark.parametrize("faithful", [False, True])
def test_networks_that_are_not_of_the_zoo_have_the_scores_that_a_basis_gives(faithful: bool) -> None:
    own, others = zoo(), zoo(5, seed=1).theta_ND
    module, normaliser = dense(own, 5, faithful)
    fitted, z_NZ, _ = span.fit(own, 5, faithful)
    torch.testing.assert_close(fitted.encode(own.theta_ND, Points(own), CTX), z_NZ.float(), rtol=1e-4, atol=1e-3)
    known_MZ = module.encode(normaliser.encode(others).double())
    signs_Z = (module.encode(normaliser.encode(own.theta_ND).double()) * z_NZ).sum(dim=0).sign()
    torch.testing.assert_close(
        fitted.encode(others, Points(own), CTX), (known_MZ * signs_Z).float(), rtol=1e-3, atol=1e-3
    )
    own_space, _ = space.fit(PDiff(codec=Pca(latent=5), faithful=faithful), own, Points(own), CTX)
    expected = normaliser.decode(module.decode(known_MZ).float())
    torch.testing.assert_close(own_space.through(others, Points(own), CTX), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("faithful", [False, True])
def test_with_all_directions_it_is_exact_and_the_rest_is_zero(faithful: bool) -> None:
    own = zoo(6)
    fitted, z_NZ, facts = span.fit(own, 9, faithful)
    assert z_NZ.shape == (6, 9) and z_NZ[:, 5:].abs().max() == 0 and facts["explained"] == pytest.approx(1)
    torch.testing.assert_close(fitted.decode(z_NZ, CTX), own.theta_ND, rtol=1e-5, atol=1e-5)


@given(st.integers(1, 60), st.integers(1, 400))
@settings(deadline=None, max_examples=20)
def test_windows_change_nothing(columns: int, numbers: int) -> None:
    own = zoo()
    whole, z_NZ, _ = span.fit(own, 4, False)
    decoded = whole.decode(z_NZ, CTX)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalise, "COLUMNS", columns)
        patch.setattr(normalise, "NUMBERS", numbers)
        again, again_NZ, _ = span.fit(own, 4, False)
        torch.testing.assert_close(again_NZ, z_NZ, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(again.decode(again_NZ, CTX), decoded, rtol=1e-6, atol=1e-6)


def test_checkpoints_that_hardly_differ_keep_their_differences() -> None:
    own = zoo(8, scale=1e-4)
    fitted, z_NZ, _ = span.fit(own, 7, False)
    away = (own.theta_ND - own.theta_ND.mean(dim=0)).abs().max()
    assert (fitted.decode(z_NZ, CTX) - own.theta_ND).abs().max() < 1e-2 * away


def test_equal_checkpoints_have_no_directions() -> None:
    own = zoo(4)
    same = Zoo(own.theta_ND[:1].repeat(4, 1), LAYOUT, own.anchor, own.rows)
    fitted, z_NZ, facts = span.fit(same, 3, False)
    assert facts["explained"] == 1 and facts["variance"] == 0
    torch.testing.assert_close(fitted.decode(z_NZ + 1, CTX), same.theta_ND)


def test_what_is_stored_has_no_basis_and_samples_the_same() -> None:
    own = zoo()
    method = PDiff(steps=3, timesteps=10, batch_size=4, codec=Pca(latent=4))
    generator = method.fit(own, Points(own), CTX)
    tensors = {key: value.clone() for key, value in generator.tensors().items()}
    assert max(value.numel() for key, value in tensors.items() if "denoiser" not in key) < 117
    again = method.load(tensors, own, Points(own), CTX)
    assert again.sample(5, Points(own), CTX).equal(generator.sample(5, Points(own), CTX))


def test_more_checkpoints_than_numbers_and_augmented_ones_have_a_basis() -> None:
    own = zoo(200)
    fitted, z_NZ = space.fit(PDiff(codec=Pca(latent=4)), own, Points(own), CTX)
    assert isinstance(fitted.fitted, space.Coded) and z_NZ.shape == (200, 4)
    few = zoo()
    assert isinstance(space.fit(PDiff(codec=Pca(latent=4)), few, Points(few), CTX, whole=False)[0].fitted, space.Coded)


def test_many_samples_of_few_checkpoints_are_written_by_narrow_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalise, "NUMBERS", 300)
    own, many_MD = zoo(3), torch.empty(100, 117)
    widths = [theta_NW.shape[1] for _, _, theta_NW in normalise.read(own.theta_ND, LAYOUT, many_MD)]
    assert sum(widths) == 117 and max(widths) == 3


@pytest.mark.parametrize("count", [12, 200])
def test_what_is_not_whitened_keeps_its_relation(count: int) -> None:
    own, method = zoo(count), PDiff(codec=Pca(latent=4))
    (whole, y_NZ), (fitted, z_NZ) = (space.fit(method, own, Points(own), CTX, whiten=white) for white in (True, False))
    torch.testing.assert_close(y_NZ.std(dim=0), torch.ones(4))
    assert z_NZ.square().sum(dim=1).mean() == pytest.approx(4, rel=0.1) and fitted.scale_Z.std() == 0
    torch.testing.assert_close(z_NZ.std(dim=0) / z_NZ[:, 0].std(), whole.scale_Z / whole.scale_Z[0])
    torch.testing.assert_close(whole.decode(y_NZ, CTX), fitted.decode(z_NZ, CTX), rtol=1e-4, atol=1e-4)
