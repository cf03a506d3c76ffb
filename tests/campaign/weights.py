"""Files of weights by chance: safetensors, .pt and hostile pickles, whose marker must never be made."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as as_safetensors
from torch import nn

from pdiff.checkpoints.reading import load_state
from pdiff.context import Context
from pdiff.files import load_tensors, read_metadata
from pdiff.networks import load_into
from pdiff.running.snapshot import Snapshot
from pdiff.services import Absent
from pdiff.testing import TinyTask, tiny_splits
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.collectors.folder.collector import Folder
from tests.campaign.mutation import of_bytes

Attempt = Callable[[], Any]
Trial = Callable[[random.Random], list[Attempt]]
"""Writes a file and returns what the program may do with it."""


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def safetensors_files(folder: Path) -> Trial:
    whole, path = as_safetensors(network().state_dict(), {"state": '{"step": 1}'}), folder / "snapshot.safetensors"

    def trial(chance: random.Random) -> list[Attempt]:
        path.write_bytes(of_bytes(chance, whole))
        return [
            lambda: load_tensors(path),
            lambda: read_metadata(path),
            lambda: load_state(path),
            Snapshot(folder).load,
        ]

    return trial


def saved(value: Any, zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def checkpoints(folder: Path) -> Trial:
    state = dict(network().state_dict())
    wholes = [saved(value, zipped) for value in (state, {"state_dict": state, "epoch": 3}) for zipped in (True, False)]

    def trial(chance: random.Random) -> list[Attempt]:
        path = folder / f"network.{chance.choice(('pt', 'pth', 'bin'))}"
        path.write_bytes(of_bytes(chance, chance.choice(wholes)))
        return [lambda: load_into(network(), load_state(path), "architecture.weights")]

    return trial


def odd_tensors() -> list[Any]:
    """Return what a state dict can hold beside plain tensors."""
    plain = torch.rand(4, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.quantize_per_tensor(plain, 0.1, 0, torch.quint8)
        return [
            plain.to_sparse(), plain.to_sparse_csr(), quantized, plain.to(torch.complex64), plain > 0.5, plain.long(),
            plain.to("meta"), plain.to(torch.float8_e4m3fn), plain.half(), plain.double() * 1e300, plain.T, plain[:0],
            torch.rand(1).expand(4, 2), torch.tensor(1.0), nn.Parameter(plain), plain * torch.nan, plain.bfloat16(), 3,
            "text", None, [plain], {"a": plain}, torch.rand(2, 2, 2, 2),
        ]  # fmt: skip


def odd_states(folder: Path) -> Trial:
    """Whole files of state dicts that are none, or another network's, as a folder of checkpoints."""
    odd, model, data = odd_tensors(), network(), tiny_splits()
    layout = Layout.of(model, ["2.weight", "2.bias"])
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    torch.save(dict(network().state_dict()), checkpoints / "0.pt")

    def collect() -> Zoo:
        collector = Folder(path=str(checkpoints), anchor="first")
        ctx, bench = Context(seed=0, data_root=folder), Absent("no bench is needed to read files")
        return collector.collect(network(), data=data, task=TinyTask(), layout=layout, bench=bench, ctx=ctx)

    def trial(chance: random.Random) -> list[Attempt]:
        state: Any = dict(network().state_dict())
        for _ in range(chance.choice((1, 1, 3))):
            state[chance.choice((*state, "other", 7, "module.0.weight"))] = chance.choice(odd)
        if chance.random() < 0.3:
            state = {chance.choice(("state_dict", "model", "x")): state}
        if chance.random() < 0.1:
            state = chance.choice((*odd, [state], set(), {}))
        torch.save(state, checkpoints / "1.pt")
        return [lambda: load_into(network(), load_state(checkpoints / "1.pt"), "architecture.weights"), collect]

    return trial


class Hostile:
    """Unpickled by a reader that runs code, it makes the marker."""

    def __init__(self, call: Any, *arguments: Any):
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call, self.arguments


def hostile_pickles(folder: Path) -> Trial:
    marker = folder / "marker"
    code = f"open({str(marker)!r}, 'w').close()"
    calls = [
        (os.system, f"touch {marker}"), (builtins.eval, code), (builtins.exec, code), (builtins.open, str(marker), "w"),
        (os.mkdir, str(marker)), (Path.touch, marker), (os.popen, f"touch {marker}"), (torch.save, 1, str(marker)),
        (builtins.__import__, "os"), (builtins.getattr, "text", "format"), (torch.hub.load, str(folder), "x"),
        (torch.load, str(folder / "other.pt")), (torch.jit.load, str(folder / "other.pt")),
    ]  # fmt: skip

    def trial(chance: random.Random) -> list[Attempt]:
        value: Any = Hostile(*chance.choice(calls))
        value = chance.choice((value, {"0.weight": value}, {"state_dict": {"x": value}}, [value], (value, value)))
        way = chance.randrange(4)
        raw = saved(value, way == 0) if way < 2 else pickle.dumps(value, chance.randrange(6))
        path = folder / f"hostile.{chance.choice(('pt', 'pth', 'bin', 'safetensors'))}"
        path.write_bytes(of_bytes(chance, raw) if chance.random() < 0.3 else raw)

        def load() -> None:
            try:
                load_state(path)
            finally:
                assert not marker.exists(), "a pickle's code was run"

        return [load]

    return trial


KINDS: dict[str, tuple[int, Callable[[Path], Trial]]] = {
    "safetensors": (15, safetensors_files), ".pt": (12, checkpoints), "odd states": (4, odd_states),
    "hostile pickles": (5, hostile_pickles),
}  # fmt: skip
"""Kind -> (its share of the trials, what makes them in a folder)."""
