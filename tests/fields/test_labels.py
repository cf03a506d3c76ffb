"""Labels: networks of a label that is asked for, and guidance beyond it."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.running.progress import Progress
from pdiff.testing import Points, tiny_zoo
from pdiff_plugins.backbones.codecs import Pca
from pdiff_plugins.backbones.denoisers import MlpDenoiser
from pdiff_plugins.latent import labels
from pdiff_plugins.latent.pdiff import PDiff


def labelled(count=60):
    """Return a zoo of two labels whose networks differ in their first parameter."""
    zoo = tiny_zoo(count)
    zoo.theta_ND[:, 0] = torch.arange(count) % 2 * 10.0
    for number, row in enumerate(zoo.rows):
        row["label"] = number % 2
    return zoo


def test_a_label_that_is_asked_for_is_drawn():
    zoo, ctx = labelled(), Context(seed=3, progress=Progress())
    bench = Points(zoo)
    options = {
        "codec": Pca(latent=4), "denoiser": MlpDenoiser(width=64, depth=1), "steps": 200, "lr": 5e-3, "timesteps": 20,
        "schedule": "cosine", "labels": True,
    }  # fmt: skip
    generator = PDiff(**options).fit(zoo, bench, ctx)
    drawn = []
    for label in (0, 1):
        own = PDiff(**options, label=label, guidance=1.5).load(generator.tensors(), zoo, bench, ctx)
        drawn.append(float((own.sample(20, bench, ctx)[:, 0] > 5).double().mean()))
    assert drawn[0] < 0.1 and drawn[1] > 0.9
    both = (generator.sample(40, bench, ctx)[:, 0] > 5).double().mean()
    assert 0.2 < both < 0.8


def test_labels_are_asked_for_in_vain():
    zoo, ctx = labelled(), Context(seed=3, progress=Progress())
    method = PDiff(steps=2, timesteps=4, labels=True, label=2)
    with pytest.raises(UserError, match=r"method.label: 2 is none of the labels 0 to 1"):
        method.fit(zoo, Points(zoo), ctx).sample(3, Points(zoo), ctx)
    with pytest.raises(UserError, match=r"method.labels: checkpoint 0 has no label"):
        method.fit(tiny_zoo(), Points(tiny_zoo()), ctx)
    with pytest.raises(ValidationError, match=r"label and guidance are read with labels = true only"):
        PDiff(label=2)


def test_guidance_goes_beyond_the_label():
    def denoiser(z_BZ, t_B, condition_BK):
        return z_BZ if condition_BK is None else z_BZ + 1

    z_BZ, t_B, label_BK = torch.zeros(3, 2), torch.zeros(3), torch.ones(3, 2)
    for guidance in (0.0, 1.0, 2.5):
        assert torch.equal(labels.guided(denoiser, z_BZ, t_B, label_BK, guidance), torch.full((3, 2), guidance))
