"""PCA: exact at full rank, that of scikit-learn, the same whatever the blocks."""

from __future__ import annotations

import pytest
import torch

from pdiff.context import Context
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.backbones.codecs import Pca
from pdiff_plugins.backbones.nets import linear_codec
from tests.backbones.helpers import ALONE, low_rank


def pca(x, latent):
    codec = Pca(latent=latent)
    module = codec.build(dim=x.shape[1])
    codec.fit(module, x, ALONE, Context(seed=0))
    return module


@pytest.mark.parametrize(("rows", "dim"), [(20, 300), (200, 30)])
def test_pca_of_full_rank_is_exact(rows, dim):
    x = 3 + torch.randn(rows, dim, generator=torch.Generator().manual_seed(0))
    module = pca(x, min(rows - 1, dim))
    torch.testing.assert_close(module.decode(module.encode(x)), x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("rows", "dim"), [(20, 300), (200, 30)])
def test_pca_is_sklearns(rows, dim):
    from sklearn.decomposition import PCA

    x = low_rank(rows, dim, 15) + 2
    ours, theirs = pca(x, 6), PCA(6, svd_solver="full").fit(x.double().numpy())
    cosines = (ours.components.double() * torch.tensor(theirs.components_)).sum(1).abs()
    torch.testing.assert_close(cosines, torch.ones(6, dtype=torch.float64), rtol=1e-5, atol=0)
    spread = ours.encode(x).var(0).double()
    torch.testing.assert_close(spread, torch.tensor(theirs.explained_variance_), rtol=1e-4, atol=0)


def test_pca_beyond_the_rank_is_zero_and_its_components_are_orthonormal():
    x = low_rank(10, 50, 4)
    module = pca(x, 30)
    assert module.latent_dim == 30
    expected = torch.diag((torch.arange(30) < 4).float())
    torch.testing.assert_close(module.components @ module.components.T, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(module.decode(module.encode(x)), x, rtol=1e-4, atol=1e-5)


def test_pca_does_not_turn_over_with_the_order_of_the_rows():
    x = low_rank(12, 40, 5)
    torch.testing.assert_close(pca(x.flip(0), 5).components, pca(x, 5).components, rtol=1e-4, atol=1e-6)


def test_pca_of_blocks_is_that_of_the_whole(monkeypatch):
    x = low_rank(12, 40, 5) + 3
    whole = pca(x, 5)
    monkeypatch.setattr(linear_codec, "COLUMNS", 7)
    torch.testing.assert_close(pca(x, 5).components, whole.components, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(pca(x, 5).mean, whole.mean)


def test_normaliser_and_gaussian_do_not_depend_on_the_blocks(monkeypatch):
    from pdiff_plugins.baselines.plain import Gaussian
    from pdiff_plugins.maths import normalise

    layout = Layout((Entry("w", (3, 5), 0), Entry("running_var", (8,), 15, positive=True)))
    theta = torch.randn(6, 23, generator=torch.Generator().manual_seed(0)).abs()
    zoo = Zoo(theta, layout, {"w": theta[0, :15], "running_var": theta[0, 15:]}, [{}] * 6)
    x = layout.to_free(theta).double()
    drawn = Gaussian().draw(zoo, 4, Context(seed=0))
    monkeypatch.setattr(normalise, "COLUMNS", 4)
    own = normalise.per_column(zoo)
    torch.testing.assert_close(own.mean, x.mean(0).float())
    expected = [(x - x.mean(0))[:, columns].square().mean().sqrt() for columns in (slice(15), slice(15, 23))]
    torch.testing.assert_close(own.scale, layout.per_entry(torch.stack(expected)))
    torch.testing.assert_close(own.decode(own.encode(theta)), theta)
    torch.testing.assert_close(Gaussian().draw(zoo, 4, Context(seed=0)), drawn)
