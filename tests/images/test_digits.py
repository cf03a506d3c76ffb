"""The digits: scikit-learn's, cut by the seed; options of all sets in memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError

from pdiff_plugins.images.digits import Digits
from pdiff_plugins.images.in_memory import Cifar10
from tests.images.helpers import context, everything


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    splits = Digits(image_size=8, mean=(0.0,), std=(1.0,)).load(context())
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [1038, 259, 500]
    assert (splits.input_shape, splits.outputs) == ((1, 8, 8), 10)
    pixels, labels = load_digits(return_X_y=True)
    test = everything(splits.test)
    assert torch.equal(test.inputs.flatten(1), torch.tensor(pixels[-500:] / 16).float())  # as trained elsewhere
    assert test.targets.tolist() == labels[-500:].tolist()


def test_the_digits_are_standardised_by_default():
    inputs = everything(Digits(image_size=8).load(context()).train).inputs
    assert abs(inputs.mean()) < 0.02 and abs(inputs.std() - 1) < 0.02


def test_the_holdout_follows_the_seed_and_the_test_split_does_not():
    first, again, other = (Digits().load(context(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(everything(first.validation).inputs, everything(again.validation).inputs)
    assert not torch.equal(first.validation.targets, other.validation.targets)
    assert torch.equal(everything(first.test).inputs, everything(other.test).inputs)


def test_train_and_validation_are_disjoint_and_cover_the_rest():
    splits = Digits(image_size=8).load(context())
    images = torch.cat([everything(part).inputs for part in (splits.train, splits.validation)]).flatten(1)
    whole = everything(Digits(image_size=8, validation=0).load(context()).train).inputs.flatten(1)
    assert sorted(images.tolist()) == sorted(whole.tolist())


def test_without_validation_train_is_whole_and_in_order():
    splits = Digits(validation=0.0).load(context())
    assert (len(splits.train), len(splits.validation)) == (1297, 0)
    assert everything(splits.validation).inputs.shape == (0, 1, 16, 16)
    assert splits.train.targets[:5].tolist() == [0, 1, 2, 3, 4]


def test_grey_images_become_colour_on_request():
    splits = Digits(channels=3, mean=(0.1, 0.2, 0.3)).load(context())
    inputs = everything(splits.test).inputs
    assert splits.input_shape == (3, 16, 16) == tuple(inputs.shape[1:])
    assert torch.allclose(inputs[:, 0] - inputs[:, 2], torch.tensor(0.2 / 0.376), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"mean": [0.5, 0.5]},
        {"std": [0.0]},
        {"std": []},
        {"crop_scale": [0.5, 0.4]},
        {"crop_scale": [0.0, 1.0]},
        {"validation": 1.0},
        {"image_size": 0},
        {"augment": "blur"},
    ],
)
@pytest.mark.parametrize("dataset", [Digits, Cifar10])
def test_options_out_of_bounds_are_refused(dataset, options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        dataset(**options)


def test_importing_the_plugins_imports_no_heavy_library():
    modules = "pdiff_plugins.images.in_memory, pdiff_plugins.images.on_disk, pdiff_plugins.images.digits"
    code = f"import sys, {modules}; print({{'torch', 'numpy', 'PIL'}} & set(sys.modules))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "set()\n"
