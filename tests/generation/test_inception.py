"""Inception: what it says is missing, and a file of its weights."""

from __future__ import annotations

import builtins
import sys

import pytest
import torch

from pdiff.components import Task
from pdiff.data import Batch
from pdiff.errors import UserError
from pdiff.files import save_tensors
from pdiff_plugins.generation.task import Generation
from tests.generation.helpers import refused, unet


def test_inception_says_what_is_missing(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.delitem(sys.modules, "pdiff_plugins.generation.nets.inception", raising=False)
        patched.setattr(builtins, "__import__", without("torch_fidelity", builtins.__import__))
        with pytest.raises(
            UserError, match=r"torch-fidelity, which is missing; pip install 'neural-pdiff\[generation\]'"
        ):
            Generation().measure().of(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    pytest.importorskip("torch_fidelity")
    other = tmp_path / "resnet.safetensors"
    save_tensors(other, {"conv1.weight": torch.zeros(3)})
    for weights, said in (
        (tmp_path / "no.pth", "no.pth: no such file"),
        (other, r"resnet\.safetensors: lacks"),
    ):
        with pytest.raises(UserError, match=said) as error:
            features = {"name": "inception", "weights": str(weights)}
            task = Task.model_validate({"name": "generation", "features": features})
            task.measure().of(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
        assert "task.features.weights" in str(error.value) and "\n" not in str(error.value)
        with pytest.raises(UserError, match=said):
            task.loss(unet(), Batch(torch.zeros(1, 1, 8, 8), torch.zeros(1)))
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refused)
    with pytest.raises(UserError, match=r"could not be fetched .no route to host and more.; connect"):
        Generation().measure().of(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def without(name, original):
    def imported(wanted, *args, **options):
        if wanted.split(".")[0] == name:
            raise ImportError(wanted)
        return original(wanted, *args, **options)

    return imported


def test_inception_takes_a_file_of_its_weights(tmp_path):
    """With random weights, as its published ones are 95 MB: grey images are those of three equal channels."""
    pytest.importorskip("torch_fidelity")
    from pdiff_plugins.generation.nets.inception import Inception

    torch.manual_seed(0)
    with torch.no_grad():
        weights = {key: value for key, value in Inception().state_dict().items()}
    torch.save(weights, tmp_path / "inception.pth")
    task = Task.model_validate(
        {"name": "generation", "features": {"name": "inception", "weights": str(tmp_path / "inception.pth")}}
    )
    grey = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    features = task.measure().of(grey)
    assert features.shape == (2, 2048)
    own = Inception().eval()
    own.load_state_dict(weights)
    torch.testing.assert_close(own(grey.expand(-1, 3, -1, -1).float() / 127.5 - 1), features)
