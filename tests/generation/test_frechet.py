"""The Fréchet distance and precision of features."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pdiff.context import Context
from pdiff_plugins.generation.frechet import Features, Gaussian, outside, to_pixels
from pdiff_plugins.generation.networks import DigitFeatures
from pdiff_plugins.generation.task import Generation
from tests.generation.helpers import CPU, digits_data


def test_the_distance_of_known_gaussians():
    """One feature: (m1 - m2)^2 + (s1 - s2)^2; independent ones add up; of itself it is 0."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(400, 1, generator=generator), 3 + 2 * torch.randn(300, 1, generator=generator)
    apart = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    assert Gaussian(a).distance(Gaussian(b)) == pytest.approx(apart.item(), rel=1e-5)
    x = torch.randn(50, 6, generator=generator)
    assert Gaussian(x).distance(Gaussian(x)) == pytest.approx(0, abs=1e-12)
    assert Gaussian(x).distance(Gaussian(x + 2)) == pytest.approx(6 * 4)
    assert Gaussian(x).distance(Gaussian(3 * x - 2 * x.mean(0))) == pytest.approx(4 * Gaussian(x).variance)
    assert Gaussian(x).variance == pytest.approx(x.double().var(dim=0).sum().item())
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    y = torch.randn(70, 6, generator=generator).double()
    turned = Gaussian(x.double() @ rotation).distance(Gaussian(y @ rotation))
    assert turned == pytest.approx(Gaussian(x).distance(Gaussian(y)))


@pytest.mark.parametrize(("count", "features"), [(300, 12), (9, 30)])
def test_the_distance_is_that_of_scipys_matrix_root(count, features):
    linalg = pytest.importorskip("scipy.linalg")
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(features, features, generator=generator)
    a, b = (torch.randn(count, features, generator=generator) @ m for m in (mix, torch.eye(features)))
    first, second = (x.double().T.cov().numpy() for x in (a, b))
    root = linalg.sqrtm(first @ second)
    apart = (a.double().mean(0) - b.double().mean(0)).square().sum().item()
    expected = apart + first.trace() + second.trace() - 2 * root.trace().real
    assert Gaussian(a).distance(Gaussian(b)) == pytest.approx(expected, rel=1e-5)


class Pooled(nn.Module):
    """Features of uint8 or of -1..1 images: means of four quarters, per channel."""

    num_features = 12

    def forward(self, x):
        x = x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x
        return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


def test_the_distance_is_that_of_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid")
    generator = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (200, 3, 8, 8), generator=generator, dtype=torch.uint8)
    fake = torch.randint(0, 180, (150, 3, 8, 8), generator=generator, dtype=torch.uint8)
    metric = fid.FrechetInceptionDistance(feature=Pooled(), input_img_size=(3, 8, 8))
    metric.set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    own = Features(DigitFeatures(), 0)
    own.networks[CPU] = Pooled()
    distance = Gaussian(own.of(fake)).distance(Gaussian(own.of_real(real)))
    assert distance == pytest.approx(metric.compute().item(), rel=1e-4)


def test_outside_the_manifold_is_farther_than_the_third_neighbour():
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0], [100.0]])
    found = torch.tensor([[-2.9], [-3.1], [1.5], [60.0], [4.9], [5.1], [400.0]])
    radii = [3.0, 2.0, 2.0, 3.0, 99.0]
    slow = [all(abs(x - r) > d for r, d in zip(real[:, 0].tolist(), radii, strict=True)) for x in found[:, 0].tolist()]
    assert outside(found, real).tolist() == slow == [False, True, False, False, False, False, True]


def test_the_score_is_one_for_real_images_and_zero_for_average_features():
    task = Generation(features=DigitFeatures())
    data = digits_data().load(Context(seed=0))
    real = data.test.targets
    features = task.measure().of_real(real)
    average = features.mean(dim=0).expand_as(features)
    noise = task.measure().of(to_pixels(torch.randn(real.shape)))
    score = task.score(torch.stack([features, average, noise]), real)
    assert score[:2].tolist() == pytest.approx([1, 0], abs=1e-6) and score[2] < -1
    wrong = task.wrong(torch.stack([features, noise]), real)
    assert not wrong[0].any() and wrong[1].double().mean() > 0.8


def test_the_digits_features_tell_digits_apart():
    """Their nearest neighbour has the same class for nine in ten of the digits that the classifier never saw."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    network = DigitFeatures().build(input_shape=(1, 8, 8), outputs=0)
    again = DigitFeatures().build(input_shape=(1, 8, 8), outputs=0)
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), again.parameters(), strict=True))
    with torch.no_grad():
        features = network(torch.from_numpy(pixels / 8 - 1).float().view(-1, 1, 8, 8))
    nearest = torch.cdist(features[-500:], features[:-500]).argmin(dim=1)
    assert (labels[-500:] == labels[:-500][nearest]).mean() > 0.9
