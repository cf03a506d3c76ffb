"""Names as Kohya's scripts and diffusers write them, and others by rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from pdiff.context import Context
from pdiff_plugins.adapters.files import names
from pdiff_plugins.adapters.selector import Lora
from pdiff_plugins.collectors.folder.collector import Folder
from tests.adapters.files.helpers import extended, fault, read, written
from tests.collectors.test_collectors import collect

PATHS = ("down_blocks.0.attentions.0.transformer_blocks.0.attn1", "mid_block.attentions.0.transformer_blocks.0.attn1")


class Attention(nn.Module):
    """Layers named as in a U-Net of diffusers."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_out = nn.Linear(6, 4), nn.ModuleList([nn.Linear(4, 6)])
        self.proj_in = nn.Conv2d(6, 6, 1)


def unet() -> nn.Module:
    torch.manual_seed(0)
    root = nn.Module()
    for path in PATHS:
        at = root
        for part in path.split(".")[:-1]:
            if part not in dict(at.named_children()):
                at.add_module(part, nn.Module())
            at = at.get_submodule(part)
        at.add_module("attn1", Attention())
    return root


LAYERS = [f"{path}.{layer}" for path in PATHS for layer in ("to_q", "to_out.0", "proj_in")]
SHAPES = {"to_q": ((2, 6), (4, 2)), "0": ((2, 4), (6, 2)), "proj_in": ((2, 6, 1, 1), (6, 2, 1, 1))}


def numbers(layer: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(LAYERS.index(layer))
    first, second = (torch.randn(shape, generator=generator) for shape in SHAPES[layer.rpartition(".")[2]])
    return first, second


def kohya(before: str = "lora_unet_", alpha: float | None = 1.0) -> dict[str, torch.Tensor]:
    """Return a file as sd-scripts writes it: half precision, underscores for dots, alpha as a number of its own."""
    state = {}
    for layer in LAYERS:
        first, second = numbers(layer)
        key = before + layer.replace(".", "_")
        state |= {f"{key}.lora_down.weight": first.half(), f"{key}.lora_up.weight": second.half()}
        state |= {} if alpha is None else {f"{key}.alpha": torch.tensor(alpha).half()}
    return state


def diffusers(down: str, up: str, before: str = "unet.") -> dict[str, torch.Tensor]:
    """Return a file as pytorch_lora_weights.safetensors of diffusers is, of its several ways of naming."""
    state = {}
    for layer in LAYERS:
        first, second = numbers(layer)
        state |= {f"{before}{layer}{down}": first, f"{before}{layer}{up}": second}
    return state


def holds(model: nn.Module, scale: float, close: float = 0.0) -> bool:
    pairs = [(model.get_submodule(layer), *numbers(layer)) for layer in LAYERS]
    return all(
        torch.allclose(layer.lora_A.weight, first, atol=close)
        and torch.allclose(layer.lora_B.weight, second * scale, atol=close)
        for layer, first, second in pairs
    )


@pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (1.0, 0.5), (2.0, 1.0)])
def test_kohyas_names_are_found_and_alpha_is_read_as_scale(tmp_path: Path, alpha, scale) -> None:
    folder = written(tmp_path, kohya(alpha=alpha), "a", r=None)
    model, said = read(folder / "a.safetensors", Lora(rank=2), unet())
    assert holds(model, scale, 0.01)
    assert said == ([] if scale == 1 else ["collect: 1 file: scale 0.5 worked into B, as the network's is 1"])


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (".lora_A.weight", ".lora_B.weight"), (".lora.down.weight", ".lora.up.weight"),
        (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", ["unet.", "transformer.", ""])
def test_diffusers_names_are_found(tmp_path: Path, down, up, before) -> None:
    if down == ".lora_A.weight" and not before:
        return  # pdiff's own
    folder = written(tmp_path, diffusers(down, up, before), "pytorch_lora_weights", r=None)
    assert holds(read(folder / "pytorch_lora_weights.safetensors", Lora(rank=2), unet())[0], 1.0)


def test_the_oldest_names_of_diffusers_are_found() -> None:
    key = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight"
    assert names.entry(key) == ("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", "A")


def test_other_names_are_read_by_rules(tmp_path: Path) -> None:
    theirs = {key.replace("mid_block", "middle"): value for key, value in kohya().items()}
    theirs |= {"lora_te_q.lora_down.weight": torch.ones(2, 3), "lora_te_q.alpha": torch.tensor(1.0)}
    file = written(tmp_path, theirs, "a", r=None) / "a.safetensors"
    rules = {"lora_unet_middle_*": "lora_unet_mid_block_*"}
    assert "has 'lora_te_q', which the selector does not adapt" in fault(file, Lora(rank=2), unet(), **rules)
    assert holds(read(file, Lora(rank=2), unet(), **rules | {"lora_te_*": ""})[0], 0.5, 0.01)


def test_what_is_no_plain_lora_of_kohya_is_refused(tmp_path: Path) -> None:
    more = {"lora_unet_mid_block.hada_w1_a": torch.ones(2, 2)}
    file = written(tmp_path, kohya() | more, "a", r=None) / "a.safetensors"
    said = fault(file, Lora(rank=2), unet())
    assert "has 'lora_unet_mid_block.hada_w1_a', which is no adapter's" in said


def test_a_zoo_of_such_files_is_read_by_the_collector(tmp_path: Path) -> None:
    for task, number in (("winter", 1), ("summer", 2)):
        for step in (100, 200):
            scaled = {key: value * number for key, value in kohya(f"{task}_").items()}
            written(tmp_path / task, scaled, f"{task}-step{step}", r=None)
        (tmp_path / task / "task.json").write_text(json.dumps({"about": {"season": task}}))
    rules = {"winter_*": "lora_unet_*", "summer_*": "lora_unet_*"}
    model, selector = extended(unet(), Lora(rank=2)), Lora(rank=2)
    warned: list[str] = []
    zoo = collect(
        Folder(path=str(tmp_path), rename=rules), model, selector.select(model), Context(seed=7, warn=warned.append)
    )
    assert [(row["run"], row["step"], row["about"]["season"]) for row in zoo.rows] == [
        (0, 100, "summer"), (0, 200, "summer"), (1, 100, "winter"), (1, 200, "winter"),
    ]  # fmt: skip
    state = zoo.state_dict(zoo.theta_ND[2])
    for layer in LAYERS:
        first, second = numbers(layer)
        assert state[f"{layer}.lora_A.weight"].equal(first.half().float())
        assert torch.allclose(state[f"{layer}.lora_B.weight"], second.half().float() / 2)
    assert len(warned) == 1 and "are one adapter, and 1 more pairs of files" in warned[0]
