"""Embedded: another dataset's examples as a frozen network has them before its last layer."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from pdiff import UserError
from pdiff.components import KINDS
from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.files import save_tensors
from pdiff.networks import build_network
from pdiff.testing import TinyData, TinyNet, check_component, tiny_splits
from pdiff_plugins.conditions.shots import embedding
from pdiff_plugins.conditions.shots.embedded import Embedded
from tests.helpers import ROOT

DIGITS = {"name": "digits", "image_size": 8, "mean": (0.5,), "std": (0.5,), "augment": "none"}
OPTIONS = {"of": DIGITS, "architecture": {"name": "mlp", "hidden": (24, 6)}, "classes": (0, 1, 2, 3), "steps": 300}
AGAIN = """
import torch
from pathlib import Path
from pdiff.components import KINDS
from pdiff.context import Context
from tests.conditions.shots.test_embedded import OPTIONS
data = KINDS["dataset"].model_validate({"name": "embedded"} | OPTIONS).load(Context(seed=1, data_root=Path("data")))
print(data.test.inputs.double().sum().item().hex())
"""


class Named(TinyData):
    """Tiny data whose classes have names."""

    name = "named"

    def load(self, ctx):
        return replace(tiny_splits(), names=("cat", "dog", "frog"))


def ctx(folder, seed=1):
    return Context(seed=seed, data_root=folder)


def test_keeps_the_contract_of_datasets(tmp_path):
    check_component(Embedded, strict=True, data_root=tmp_path, **OPTIONS | {"steps": 3})


def test_features_are_standardised_and_tell_base_classes_apart(tmp_path):
    data = Embedded.model_validate(OPTIONS).load(ctx(tmp_path))
    of = KINDS["dataset"].model_validate(DIGITS).load(ctx(tmp_path))
    assert data.input_shape == (6,) and data.outputs == 10 and torch.equal(data.test.targets, of.test.targets)
    for split in ("train", "validation", "test"):
        assert data.split(split).inputs.shape == (len(of.split(split)), 6)
    deviation, mean = torch.std_mean(data.train.inputs, dim=0)
    assert mean.abs().max() < 1e-4 and ((deviation - 1).abs() < 1e-3).logical_or(deviation == 0).all()
    base = data.test.targets < 4
    features, targets = data.test.inputs[base], data.test.targets[base]
    means = torch.stack([data.train.inputs[data.train.targets == number].mean(dim=0) for number in range(4)])
    assert (torch.cdist(features, means).argmin(dim=1) == targets).float().mean() > 0.9


def test_features_are_the_last_layers_inputs_of_the_weights_named(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(*build_network(TinyNet(), tiny_splits(), seed=5).eval())
    for norm in (m for m in net if isinstance(m, nn.BatchNorm1d)):
        norm.running_var.mul_(3)
    save_tensors(tmp_path / "net.safetensors", net.state_dict())
    architecture = TinyNet(weights=str(tmp_path / "net.safetensors"))
    data = Embedded(of=TinyData(), architecture=architecture, steps=0).load(ctx(tmp_path))
    with torch.no_grad():
        train, test = (net[:-1](tiny_splits().split(split).inputs) for split in ("train", "test"))
    deviation = torch.where(train.std(dim=0) > 1e-6, train.std(dim=0), 1.0)
    assert torch.allclose(data.test.inputs, (test - train.mean(dim=0)) / deviation, atol=1e-5)


def test_another_process_reads_what_was_computed(tmp_path, monkeypatch):
    root = tmp_path / "data"
    data = Embedded.model_validate(OPTIONS).load(ctx(root))
    known = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    command = [sys.executable, "-c", AGAIN]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=known)
    assert done.stdout.strip() == data.test.inputs.double().sum().item().hex()
    monkeypatch.setattr(embedding, "_computed", lambda *_: pytest.fail("was computed again"))
    assert torch.equal(Embedded.model_validate(OPTIONS).load(ctx(root)).test.inputs, data.test.inputs)
    assert len(list((root / "embedded").glob("*.safetensors"))) == 1


def test_other_options_and_seeds_have_other_features(tmp_path):
    small = OPTIONS | {"steps": 3}
    first = Embedded.model_validate(small).load(ctx(tmp_path))
    for other, seed in ((small, 2), (small | {"steps": 4}, 1), (small | {"classes": (4, 5)}, 1)):
        assert not torch.equal(Embedded.model_validate(other).load(ctx(tmp_path, seed)).test.inputs, first.test.inputs)
    assert len(list((tmp_path / "embedded").glob("*.safetensors"))) == 4


def test_only_the_classes_named_are_learnt_from(tmp_path):
    """Other classes may hold anything: a network that learnt from them would have other features."""

    class Poisoned(TinyData):
        """Tiny data in which a class is spoilt."""

        name = "poisoned"

        def load(self, ctx):
            data = tiny_splits()
            spoilt = torch.where((data.train.targets == 2)[:, None], 1e3, data.train.inputs)
            return replace(data, train=TensorSplit(spoilt, data.train.targets))

    options = {"architecture": TinyNet(), "classes": (0, 1), "steps": 5, "batch_size": 8}
    made = [Embedded(of=of, **options).load(ctx(tmp_path)).train for of in (TinyData(), Poisoned())]
    spread = [split.inputs[split.targets < 2] for split in made]
    scaled = [(x - x.mean(dim=0)) / x.std(dim=0).clamp_min(1e-9) for x in spread]
    assert torch.allclose(*scaled, atol=1e-2)


def test_classes_can_be_named(tmp_path):
    tiny = {"of": Named(), "architecture": TinyNet(), "steps": 2}
    named, numbered = (Embedded(classes=c, **tiny).load(ctx(tmp_path)) for c in (("cat", "frog"), (0, 2)))
    assert torch.equal(named.test.inputs, numbered.test.inputs) and named.names == ("cat", "dog", "frog")
    for classes, words in ((("cow",), "no class 'cow'"), ((3,), "no class 3"), (("cat", 0), "twice")):
        with pytest.raises(UserError, match=words):
            Embedded(classes=classes, **tiny).load(ctx(tmp_path))


def test_a_file_of_other_examples_is_refused(tmp_path):
    tiny = Embedded(of=TinyData(), architecture=TinyNet(), steps=2)
    tiny.load(ctx(tmp_path))
    (file,) = (tmp_path / "embedded").glob("*.safetensors")
    save_tensors(file, {"train": torch.zeros(3, 8)})
    with pytest.raises(UserError, match="delete it"):
        tiny.load(ctx(tmp_path))
