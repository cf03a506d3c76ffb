"""An ensemble goes out as a folder, and answers the same in a fresh process that has torch and nothing of pdiff."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pdiff.ensembles import Ensemble
from pdiff.errors import UserError
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.images.splits import Preprocess, Transform
from pdiff_plugins.networks.small import ConvNetMini, MlpMini, ResNet20, VitMini
from pdiff_plugins.networks.timm import TimmModel
from pdiff_plugins.tasks.labels import Multilabel
from pdiff_plugins.tasks.regression import Regression
from tests.helpers import HANG_S

FRESH = """
import json, sys

class Refusing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("pdiff", "pdiff_plugins", "safetensors", "timm", "torchvision"):
            raise ImportError(f"{name} is asked for")

sys.meta_path.insert(0, Refusing())
import numpy as np, torch
sys.path.insert(0, sys.argv[1])
from ensemble import Ensemble

told = {}
for folder in sys.argv[1:]:
    ensemble, wanted = Ensemble(folder), np.load(folder + ".npz")
    inputs = [torch.from_numpy(wanted[name]) for name in sorted(wanted.files) if name.startswith("input")]
    got = {"average": ensemble(*inputs), **ensemble.uncertainty(*inputs, calibrated=False, batch_size=2)}
    if "images" in wanted.files:
        got["raw"] = ensemble.uncertainty(torch.from_numpy(wanted["images"]), raw=True)["probabilities"]
    wanted = {name: torch.from_numpy(wanted[name]) for name in got}
    told[folder] = {name: float((value - wanted[name]).abs().max() / wanted[name].abs().max().clamp_min(1))
                    for name, value in got.items()}
print(json.dumps(told))
"""
IMAGE = (3, 16, 16)


def members(architecture, shape=IMAGE, own: int = 0, outputs: int = 5) -> list[nn.Module]:
    """Return networks whose last `own` entries differ; 0: all."""
    torch.manual_seed(0)
    network = architecture.build(input_shape=shape, outputs=outputs)
    network.eval()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    for key, value in state.items():
        if key.endswith("running_mean"):
            state[key] = torch.randn_like(value) / 10
        elif value.is_floating_point() and not key.endswith("running_var"):
            state[key] = value + 0.05 * torch.randn_like(value)
    kept = []
    for _ in range(3):
        kept.append(architecture.build(input_shape=shape, outputs=outputs).eval())
        differing = [key for key, value in state.items() if value.is_floating_point() and "running_var" not in key]
        changes = {key: state[key] + 0.1 * torch.randn_like(state[key]) for key in differing[-own:]}
        kept[-1].load_state_dict(state | changes)
    return kept


def written(networks, task, folder: Path, *inputs, preprocess=None, images=None) -> Ensemble:
    """Write an ensemble and, beside it, what it answers itself."""
    example = inputs[0][:2] if len(inputs) == 1 else tuple(value[:2] for value in inputs)
    ensemble = Ensemble(networks, task, preprocess, example=example)
    assert ensemble.export(folder) == folder
    with torch.no_grad():
        wanted = {"average": ensemble(*inputs), **ensemble.uncertainty(inputs[0] if len(inputs) == 1 else inputs)}
    if images is not None:
        wanted |= {"raw": ensemble.predict(preprocess(images)), "images": images}
    wanted |= {f"input{number}": value for number, value in enumerate(inputs)}
    np.savez(f"{folder}.npz", **{name: value.numpy() for name, value in wanted.items()})
    return ensemble


def check_fresh(folder: Path) -> None:
    """Fail where a folder below answers otherwise in a fresh process."""
    folders = sorted(str(path) for path in folder.iterdir() if path.is_dir())
    done = subprocess.run([sys.executable, "-I", "-c", FRESH, *folders], capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == folders
    assert not {(name, key): off for name, of in told.items() for key, off in of.items() if not off <= 1e-6}
    known = {"", ".py", ".json", ".md", ".safetensors", ".npz", ".pyc"}
    assert {path.suffix for path in folder.rglob("*")} <= known


class Two(nn.Module):
    """Two inputs, a buffer that no state dict has, and places that count from the length of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("scale", torch.full((4,), 2.0), persistent=False)

    def forward(self, x, mask):
        place = torch.arange(x.shape[1], device=x.device)
        return self.layer(((x + place[:, None]) * mask[..., None] * self.scale).mean(dim=1)) + torch.tensor([1.0, 2.0])


def test_a_folder_answers_as_the_ensemble_where_pdiff_is_not(tmp_path: Path) -> None:
    task, image = Classification(), torch.randn(5, *IMAGE)
    transform = Transform(16, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), resize=18)
    images = torch.randint(0, 256, (3, 3, 21, 30), dtype=torch.uint8)
    written(members(MlpMini()), task, tmp_path / "mlp", image, preprocess=Preprocess(transform), images=images)
    written(members(ConvNetMini(), own=2), task, tmp_path / "convnet", image)
    written(members(ResNet20(), own=6), task, tmp_path / "resnet", image)
    written(members(VitMini(), own=4), task, tmp_path / "vit", image)
    written(members(ConvNetMini()), Multilabel(), tmp_path / "labels", image)
    written([Two(), Two()], Regression(), tmp_path / "two", torch.randn(5, 3, 4), torch.rand(5, 3).round())
    check_fresh(tmp_path)
    assert (tmp_path / "mlp" / "preprocess.py").is_file()


def test_what_a_folder_does_not_take_is_told_in_a_sentence(tmp_path: Path) -> None:
    from pdiff.exporting.ensemble import Ensemble as Plain

    grey, preprocess = torch.randn(5, 1, 16, 16), Preprocess(Transform(16, (0.5,), (0.2,), channels=1))
    written(members(MlpMini(), (1, 16, 16)), Classification(), tmp_path / "grey", grey, preprocess=preprocess)
    plain, images = Plain(tmp_path / "grey"), torch.zeros(4, 1, 20, 13, dtype=torch.uint8)
    takes = r"give tensors of floats \[B, 1, 16, 16\]; raw images go to uncertainty\(images, raw=True\)$"
    for wrong, given in ((grey[:, 0], r"floats \[B, 16, 16\]"), (grey.numpy(), "a ndarray"),
                         (grey.expand(-1, 3, -1, -1), r"floats \[B, 3, 16, 16\]"),
                         (grey.byte(), r"whole numbers \[B, 1, 16, 16\]")):  # fmt: skip
        for asked in (plain, plain.uncertainty):
            with pytest.raises(ValueError, match=f"^given {given}; {takes}"):
                asked(wrong)
    with pytest.raises(ValueError, match=f"^given floats .* and floats .*; {takes}"):
        plain(grey, grey)
    with pytest.raises(ValueError, match=f"^given a ndarray; {takes}"):
        plain.uncertainty(images.numpy(), raw=True)
    for wrong in (images[:, 0], images.expand(-1, 3, -1, -1)):
        with pytest.raises(ValueError, match=r"^images have the shape \[4, .*; give \[B, 1, height, width\]$"):
            plain.uncertainty(wrong, raw=True)
    assert torch.allclose(plain.double()(grey.double()), plain.float()(grey).double(), atol=1e-5)


class Placed(nn.Module):
    """Members share no number, and yet something that they go on from: places."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.head = nn.Embedding(8, 4), nn.Linear(4, 3)

    def forward(self, x):
        places = self.places(torch.arange(x.shape[1], device=x.device))
        return self.head((x[:, :, None] + places).mean(dim=1))


def test_members_that_share_no_number_share_what_is_counted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    written([Placed().eval() for _ in range(3)], Classification(), tmp_path / "placed", torch.randn(5, 8))
    check_fresh(tmp_path)


@pytest.mark.slow
def test_a_network_of_timm_answers_as_well(tmp_path: Path) -> None:
    lite = TimmModel(model="efficientnet_lite0", weights="")
    written(members(lite, (3, 32, 32), own=4), Classification(), tmp_path / "lite", torch.randn(5, 3, 32, 32))
    check_fresh(tmp_path)


def test_what_members_share_is_stored_and_computed_once(tmp_path: Path) -> None:
    from pdiff.exporting.ensemble import read

    networks = members(ConvNetMini(), own=2)
    written(networks, Classification(), tmp_path / "few", torch.randn(2, *IMAGE))
    tensors = read(tmp_path / "few" / "members.safetensors")
    own = {key for key in tensors if key.startswith("members.")}
    last = list(networks[0].state_dict())[-2:]
    assert own == {f"members.{key}" for key in last} and all(len(tensors[key]) == 3 for key in own)
    assert all(torch.equal(tensors[f"members.{key}"][1], networks[1].state_dict()[key]) for key in last)
    shared, member = (tmp_path / "few" / "network.py").read_text().split("def member(")
    assert "conv2d" in shared and "conv2d" not in member and "linear" in member


def test_what_torch_export_cannot_trace_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    class Branching(nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else -super().forward(x)

    class OfTwo(nn.Linear):
        def forward(self, x):
            return super().forward(x.reshape(2, -1))

    for network in (Branching(4, 3), OfTwo(4, 3)):
        ensemble = Ensemble([network], Classification(), example=torch.randn(2, 4))
        with pytest.raises(UserError, match=f"{type(network).__name__} cannot be written as plain torch: ") as caught:
            ensemble.export(tmp_path / "out")
        assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_folder_that_is_there_stays_unless_it_is_replaced(tmp_path: Path) -> None:
    ensemble = Ensemble(members(MlpMini()), Classification(), example=torch.randn(2, *IMAGE))
    folder = ensemble.export(tmp_path / "out")
    with pytest.raises(UserError, match="is there already"):
        ensemble.export(folder)
    fewer = Ensemble(ensemble.members[:2], Classification(), example=torch.randn(2, *IMAGE))
    assert json.loads((fewer.export(folder, overwrite=True) / "ensemble.json").read_text())["members"] == 2
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds notes\.txt, which would be lost"):
        ensemble.export(folder, overwrite=True)
    assert (folder / "notes.txt").is_file() and [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(UserError, match="without an example of its inputs"):
        Ensemble(ensemble.members, Classification()).export(tmp_path / "other")


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted while the old one was taken away, half of it stayed at its place, and the new one was lost."""
    ensemble = Ensemble(members(MlpMini()), Classification(), example=torch.randn(2, *IMAGE))
    folder, taken = ensemble.export(tmp_path / "out"), shutil.rmtree

    def interrupted(path: Path, **options: Any) -> None:
        if Path(path).exists() and not Path(path).name.endswith(".part"):
            next(Path(path).iterdir()).unlink()
            raise KeyboardInterrupt
        taken(path, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Ensemble(ensemble.members[:2], Classification(), example=torch.randn(2, *IMAGE)).export(folder, overwrite=True)
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "ensemble.json", "ensemble.py", "members.safetensors", "network.py",
    }  # fmt: skip
    assert json.loads((folder / "ensemble.json").read_text())["members"] in (2, 3)
