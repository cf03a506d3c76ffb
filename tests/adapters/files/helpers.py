"""Networks with adapters of every kind of layer, and files of these in the form that others write."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.errors import UserError
from pdiff.files import save_tensors
from pdiff_plugins.adapters.files.reading import AdapterReader
from pdiff_plugins.adapters.selector import Lora

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["fc", "head"], "bias": "none"}


class Block(nn.Module):
    """A layer whose name ends as another's does."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc(x).tanh()


class Small(nn.Module):
    """Two linear layers and a block between them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.block, self.head = nn.Linear(4, 6), Block(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.fc(x).tanh()))


def small() -> nn.Module:
    torch.manual_seed(0)
    return Small().eval()


class Mixed(nn.Module):
    """Every kind of layer that can have an adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.attn = nn.Embedding(11, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.along, self.grouped = nn.Conv1d(8, 8, 3, padding="same"), nn.Conv2d(4, 8, 3, padding=1, groups=2)
        self.conv, self.block, self.head = nn.Conv2d(8, 6, 3, stride=2, padding=1), Block(), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.emb(x)
        h = h + self.attn(h, h, h, need_weights=False)[0]
        h = h + self.along(h.transpose(1, 2)).transpose(1, 2)
        return self.head(self.block(self.conv(self.grouped(h.reshape(len(h), 4, -1, 8))).mean((2, 3))))


def mixed() -> nn.Module:
    torch.manual_seed(0)
    return Mixed().eval()


MIXED = Lora(rank=4, alpha=3, targets=("*", "emb"), ranks={"head": 2, "attn": 3})


def extended(base: nn.Module, selector: Lora, drawn: int | None = None) -> nn.Module:
    """Return the network with adapters, and where asked with what is selected drawn at random."""
    model = copy.deepcopy(base)
    selector.extend(model)
    generator = torch.Generator().manual_seed(drawn or 0)
    for key in selector.select(model) if drawn is not None else ():
        parameter = model.get_parameter(key)
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator)
    return model


def written(folder: Path, state: dict[str, Tensor], name: str = "adapter_model", **config: Any) -> Path:
    """Write an adapter as PEFT does, its configuration unless that is None."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / f"{name}.safetensors", state)
    if config.get("r", 2) is not None:
        (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    return folder


def factors(rank: int = 2, layers: tuple[str, ...] = ("fc", "block.fc", "head"), end: str = "") -> dict[str, Tensor]:
    """Return PEFT's entries of a `Small` network's adapter."""
    sizes, generator = {"fc": (4, 6), "block.fc": (6, 6), "head": (6, 3)}, torch.Generator().manual_seed(1)
    state = {}
    for layer in layers:
        inputs, outputs = sizes[layer]
        state[f"base_model.model.{layer}.lora_A{end}.weight"] = torch.randn(rank, inputs, generator=generator)
        state[f"base_model.model.{layer}.lora_B{end}.weight"] = torch.randn(outputs, rank, generator=generator)
    return state


def read(path: Path, selector: Lora, base: nn.Module | None = None, **rename: str) -> tuple[nn.Module, list[str]]:
    """Return a network with a file's adapter, and what was said of it."""
    model = extended(base or small(), selector)
    reader = AdapterReader(model, rename, selector.select(model))
    assert reader.takes(path)
    model.load_state_dict(reader.read(path), strict=False)
    return model, reader.said()


def fault(path: Path, selector: Lora, base: nn.Module | None = None, **rename: str) -> str:
    """Return the one line in which a file is refused."""
    try:
        read(path, selector, base, **rename)
    except UserError as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return str(error)
    raise AssertionError("it was read")


def delta(state: dict[str, Tensor], layer: str, scale: float) -> Tensor:
    """Return what an adapter adds to a linear layer's weight."""
    before = f"base_model.model.{layer}"
    (first,), (second,) = ([value for key, value in state.items() if f"{before}.lora_{part}." in key] for part in "AB")
    return scale * (second.double() @ first.double())
