"""The UNet: its published layout, the network of diffusers, and where weights come from."""

from __future__ import annotations

import json

import pytest
import torch

from pdiff.components import Architecture
from pdiff.errors import UserError
from pdiff.files import save_tensors
from pdiff.networks import build_network
from pdiff.testing import tiny_splits
from pdiff_plugins.generation.networks import DdpmUnet
from tests.generation.helpers import SMALL, unet


def test_the_layout_of_ddpm_cifar10_has_its_published_sizes():
    preset = Architecture.model_validate({"name": "ddpm_cifar10"})
    with torch.device("meta"):
        model = preset.build(input_shape=(3, 32, 32), outputs=3)
    assert sum(p.numel() for p in model.parameters()) == 35_746_307
    assert sum(p.numel() for p in model.conv_out.parameters()) == 3_459
    assert model(torch.empty(2, 3, 32, 32, device="meta"), torch.empty(2, device="meta")).shape == (2, 3, 32, 32)


def oracle(channels: int, side: int, widths, layers, attention, groups):
    diffusers = pytest.importorskip("diffusers")
    kinds = ["AttnDownBlock2D" if level in attention else "DownBlock2D" for level in range(len(widths))]
    return diffusers.UNet2DModel(
        sample_size=side, in_channels=channels, out_channels=channels, block_out_channels=widths, norm_eps=1e-6,
        layers_per_block=layers, norm_num_groups=groups, down_block_types=kinds, downsample_padding=0, freq_shift=1,
        up_block_types=[kind.replace("Down", "Up") for kind in reversed(kinds)], flip_sin_to_cos=False,
        attention_head_dim=None,
    )  # fmt: skip


@pytest.mark.parametrize("sizes", [SMALL, {"widths": (8, 16, 16), "layers": 2, "attention": (0, 2), "groups": 8}])
def test_it_is_the_network_of_diffusers(sizes):
    theirs, ours = oracle(3, 16, **sizes).eval(), unet(channels=3, **sizes)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3.0, 977.0])
    with torch.no_grad():
        torch.testing.assert_close(ours(x, t), theirs(x, t).sample, atol=1e-5, rtol=1e-5)


def test_a_folder_that_diffusers_wrote_is_read(tmp_path):
    theirs = oracle(1, 8, **SMALL).eval()
    theirs.save_pretrained(tmp_path)
    ours = build_network(DdpmUnet(**SMALL, weights=str(tmp_path)), tiny_splits((1, 8, 8), 1, 2), seed=0)
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())


CONFIG = {
    "_class_name": "UNet2DModel", "act_fn": "silu", "attention_head_dim": None, "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "layers_per_block": 1, "norm_eps": 1e-6,
    "norm_num_groups": 4,
}  # fmt: skip


def write_folder(folder, state, config=CONFIG, name="diffusion_pytorch_model.safetensors"):
    folder.mkdir(exist_ok=True)
    save_tensors(folder / name, state) if name.endswith("safetensors") else torch.save(state, folder / name)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_weights_come_from_a_folder_or_a_file_also_with_old_names(tmp_path):
    wanted = unet(seed=1).state_dict()
    new_to_old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for key, value in wanted.items():
        for name, before in new_to_old.items():
            key = key.replace(f".{name}.", f".{before}.")
        old[key] = value
    assert sorted(old) != sorted(wanted)
    folders = [write_folder(tmp_path / "new", wanted), write_folder(tmp_path / "old", old, name=f"{STEM}.bin")]
    for weights in [*folders, folders[0] / f"{STEM}.safetensors", folders[1] / f"{STEM}.bin"]:
        found = build_network(DdpmUnet(**SMALL, weights=str(weights)), tiny_splits((1, 8, 8), 1, 2), seed=0)
        assert all(torch.equal(value, wanted[key]) for key, value in found.state_dict().items())
    moved = folders[0].rename(tmp_path / "moved")
    assert DdpmUnet(weights=str(moved)).identity()["weights"].startswith("sha256:")


STEM = "diffusion_pytorch_model"


def test_bad_weights_are_one_line(tmp_path, monkeypatch):
    def said(weights, **options):
        with pytest.raises(UserError) as error:
            build_network(DdpmUnet(**SMALL | options, weights=str(weights)), tiny_splits((1, 8, 8), 1, 2), seed=0)
        assert "\n" not in str(error.value)
        return str(error.value)

    state = unet().state_dict()
    folder = write_folder(tmp_path / "unet", state)
    assert "config.json has layers_per_block = 1, this UNet 2" in said(folder, layers=2)
    write_folder(folder, state, CONFIG | {"downsample_padding": 1})
    assert "config.json has downsample_padding = 1, this UNet 0" in said(folder)
    write_folder(folder, {key: value for key, value in state.items() if key != "conv_in.bias"})
    assert ": lacks 'conv_in.bias'" in said(folder)
    (folder / "config.json").unlink()
    assert "holds no config.json" in said(folder)
    (folder / f"{STEM}.safetensors").unlink()
    assert "neither diffusion_pytorch_model.safetensors nor" in said(folder)
    assert "no such file" in said(tmp_path / "nowhere.safetensors")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "could not be fetched (HF_HUB_OFFLINE is set)" in said("pretrained")


def test_sizes_that_do_not_fit_are_told():
    with pytest.raises(UserError, match="sides that 2 divides, found 7x7"):
        DdpmUnet(**SMALL).build(input_shape=(1, 7, 7), outputs=1)
    with pytest.raises(UserError, match="it is for dataset generation"):
        DdpmUnet(**SMALL).build(input_shape=(1, 8, 8), outputs=10)
    with pytest.raises(ValueError, match="groups = 5 does not divide the width 8"):
        DdpmUnet(**SMALL | {"groups": 5})
