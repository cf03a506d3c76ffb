"""Corruptions against closed forms and SciPy, and that an example's depends on nothing but the example."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from pdiff.data import DatasetSplits
from pdiff.errors import UserError
from pdiff_plugins.fields.shapes.plane import Shapes2d
from pdiff_plugins.images.digits import Digits
from pdiff_plugins.images.in_memory import Cifar10
from pdiff_plugins.images.splits import ImageSplit
from pdiff_plugins.uncertainty.foreign.corruptions import CORRUPT, LEVELS, corrupted
from pdiff_plugins.uncertainty.foreign.entries import KINDS, STRENGTHS
from tests.images.helpers import CPU, context, everything
from tests.uncertainty.foreign.helpers import DIGITS8, pixels, run_on


def test_every_kind_has_five_strengths_that_grow():
    dataset = Digits(**DIGITS8)
    view = run_on(dataset)
    clean = pixels(view.bench.examples("test"), dataset)
    assert set(CORRUPT) == set(LEVELS) == set(KINDS)
    for kind in KINDS:
        far = []
        for strength in STRENGTHS:
            split = corrupted(view, kind, strength, context())
            changed = pixels(split, dataset)
            assert changed.shape == clean.shape and changed.min() >= -1e-6 and changed.max() <= 1 + 1e-6
            assert torch.equal(split.targets, view.bench.examples("test").targets)
            far.append((changed - clean).abs().mean().item())
        assert far == sorted(far) and 0 < far[0] < far[4], kind


def colour(side: int, count: int = 6, images: torch.Tensor | None = None):
    """Return an image set of random colour images, and a view of a run on it."""
    dataset = Cifar10(image_size=side, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    if images is None:
        images = torch.randint(256, (count, 3, side, side), generator=torch.Generator().manual_seed(side))
    split = ImageSplit(images.to(torch.uint8), torch.zeros(len(images), dtype=torch.int64), dataset.transform())
    return dataset, run_on(dataset, DatasetSplits(split, split, split, dataset.shape, 10))


def seen(dataset, split) -> np.ndarray:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (dataset.mean, dataset.std))
    return (everything(split).inputs * std + mean).numpy()


@pytest.mark.parametrize("side", [8, 33, 224])
def test_blur_is_scipys(side):
    dataset, view = colour(side, 2)
    clean = seen(dataset, view.bench.examples("test"))
    for strength, level in zip(STRENGTHS, (1, 2, 3, 4, 6), strict=True):
        sigma = level * math.sqrt(side / 224)
        options = {"sigma": (0, 0, sigma, sigma), "mode": "nearest", "truncate": math.ceil(3 * sigma) / sigma}
        ours = seen(dataset, corrupted(view, "blur", strength, context()))
        np.testing.assert_allclose(ours, gaussian_filter(clean.astype(np.float64), **options), atol=2e-5)


def test_what_nothing_is_drawn_for_has_a_closed_form():
    dataset, view = colour(224, 2)
    clean = seen(dataset, view.bench.examples("test"))

    def ours(kind, strength):
        return seen(dataset, corrupted(view, kind, strength, context()))

    means = clean.mean((2, 3), keepdims=True)
    np.testing.assert_allclose(ours("contrast", 5), means + 0.15 * (clean - means), atol=1e-5)
    np.testing.assert_allclose(ours("brightness", 3), np.minimum(clean + 0.3, 1), atol=1e-5)
    squares = clean.reshape(2, 3, 112, 2, 112, 2).mean((3, 5)).repeat(2, 2).repeat(2, 3)
    np.testing.assert_allclose(ours("pixelate", 2), squares, atol=1e-5)


def test_of_eight_pixels_ever_fewer_differ():
    dataset, view = colour(8, 1)
    left = [len(np.unique(seen(dataset, corrupted(view, "pixelate", n, context()))[0, 0], axis=0)) for n in STRENGTHS]
    assert left == [7, 6, 5, 5, 4]


def test_noise_has_the_moments_that_it_says():
    grey = torch.full((4, 3, 64, 64), 128)
    grey[:, 1] = 64  # so that the channels are no grey image's
    dataset, view = colour(64, images=grey)
    for strength, level in zip(STRENGTHS[:3], LEVELS["noise"], strict=False):
        noise = seen(dataset, corrupted(view, "noise", strength, context()))[:, 0] - 128 / 255
        assert abs(noise.mean()) < 0.003 and noise.std() == pytest.approx(level, rel=0.03)
    for strength, level in zip(STRENGTHS[:4], LEVELS["shot"], strict=False):
        shot = seen(dataset, corrupted(view, "shot", strength, context()))[:, 1]
        assert shot.mean() == pytest.approx(64 / 255, rel=0.03)
        assert shot.var() == pytest.approx(64 / 255 / level, rel=0.05)


def test_occlusion_is_one_grey_square_within_the_image():
    dataset, view = colour(32, 40, torch.zeros(40, 3, 32, 32))
    for strength, side in zip(STRENGTHS, (4, 8, 12, 16, 20), strict=True):
        hidden = seen(dataset, corrupted(view, "occlusion", strength, context()))[:, 0] > 0.25
        assert (hidden.any(1).sum(1) == side).all() and (hidden.any(2).sum(1) == side).all()
        assert (hidden.sum((1, 2)) == side * side).all()
        assert len({tuple(np.argwhere(one)[0]) for one in hidden}) > 20


def test_a_grey_image_in_three_channels_stays_grey():
    grey = torch.randint(256, (3, 1, 32, 32), generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    dataset, view = colour(32, images=torch.cat([grey, grey.flip(1) * torch.tensor([1, 0, 1]).view(3, 1, 1)]))
    for kind in KINDS:
        changed = seen(dataset, corrupted(view, kind, 4, context()))
        assert np.abs(changed[:3] - changed[:3, :1]).max() < 1e-5
        assert np.abs(changed[3:] - changed[3:, :1]).max() > 0.05


DIGEST = f"""
import hashlib, torch
from pdiff_plugins.images.digits import Digits
from pdiff_plugins.uncertainty.foreign.corruptions import corrupted
from pdiff_plugins.uncertainty.foreign.entries import KINDS
from tests.images.helpers import context
from tests.uncertainty.foreign.helpers import run_on
view = run_on(Digits(**{DIGITS8!r}))
for kind in KINDS:
    inputs = corrupted(view, kind, 3, context(seed=5)).batch(torch.arange(60), torch.device("cpu")).inputs
    print(kind, hashlib.sha256(inputs.numpy().tobytes()).hexdigest())
"""


def test_bytes_are_the_same_in_another_process_of_another_seed_and_in_batches_of_any_size():
    told = subprocess.run(
        [sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    view = run_on(Digits(**DIGITS8))
    for line, kind in zip(told, KINDS, strict=True):
        split = corrupted(view, kind, 3, context(seed=1))
        for size in (60, 7, 1):
            parts = [split.batch(index, CPU).inputs for index in torch.arange(60).split(size)]
            assert line == f"{kind} {hashlib.sha256(torch.cat(parts).numpy().tobytes()).hexdigest()}"
        generator = torch.Generator()
        assert torch.equal(split.batch(torch.tensor([9, 3]), CPU, generator).inputs, torch.cat(parts)[[9, 3]])


def test_what_cannot_be_corrupted_is_refused_in_one_line():
    view = run_on(Digits(**DIGITS8))
    for kind, strength in (("fog", 1), ("noise", 0), ("noise", 6)):
        with pytest.raises(UserError, match=r"give one of noise, shot, .* in 1 to 5$"):
            corrupted(view, kind, strength, context())
    view.recipe.dataset = Shapes2d()
    with pytest.raises(UserError, match=r"^corruptions: dataset shapes2d is no image set, .*; take 'noise' away$"):
        corrupted(view, "noise", 1, context())
