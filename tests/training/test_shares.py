"""Steps that two processes make together end in the weights of one that makes them alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pdiff.context import Context
from pdiff.files import load_tensors
from pdiff.training.shares import Whole, shares_for
from tests.helpers import in_ranks

TRAINS = """
import shutil, sys
from pathlib import Path
import torch
from torch import nn
from pdiff.context import Context
from pdiff.files import save_tensors
from pdiff.running import ranks
from pdiff.running.snapshot import Snapshot
from pdiff.training import shares
from pdiff.training.loop import train
from pdiff_plugins.backbones.codecs import Autoencoder

shares.LARGE_NETWORK = 0
folder = Path(sys.argv[1]) / (f"{ranks.OWN}1" if ranks.rank() else "")
folder.mkdir(exist_ok=True)
Snapshot.due = lambda self: self.folder is not None and not self._own


class Stops:
    def after(self, step):
        if step == 7 and not (folder / "stopped").exists():
            raise KeyboardInterrupt
        return {}
    def tensors(self):
        return {}
    def restore(self, tensors):
        pass


def trained(name, device, shard, stop):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 5)).to(device)
    ctx = Context(seed=1, device=torch.device(device), snapshot=Snapshot(folder, f"snapshot-{name}"), shard=shard)
    wanted = torch.randn(11, 5, generator=torch.Generator().manual_seed(2)).to(device)

    def draw(step, generator):
        rows = torch.randperm(11, generator=generator)[:7]
        return rows, torch.randn(7, 6, generator=generator)

    def loss(rows, x_BD):
        return (module(x_BD) - wanted[rows]).square().mean()

    log = train(module, loss, steps=12, ctx=ctx, what=name, lr=0.01, ema=0.9, clip=0.5, weight_decay=0.1, draw=draw,
                by_rows=True, observer=Stops() if stop else None)
    return {f"{name}.{key}": value for key, value in module.state_dict().items()} | {
        f"{name}.loss": torch.tensor([row["loss"] for row in log])}


def coded(shard, device):
    codec = Autoencoder(latent=3, hidden=8, steps=6, batch_size=8)
    torch.manual_seed(0)
    module = codec.build(dim=10)
    x_ND = torch.randn(20, 10, generator=torch.Generator().manual_seed(3))
    ctx = Context(seed=1, device=torch.device(device), shard=shard)
    codec.fit(module, x_ND, None, ctx)
    with torch.no_grad():
        return {"codec.z": module.encode(x_ND.to(device))}


device, mode = sys.argv[2], sys.argv[3]
device = f"cuda:{ranks.local_rank()}" if device == "cuda" else device
if device != "cpu":
    torch.cuda.set_device(device)
with ranks.group():
    shard = mode == "sharded"
    assert type(shares.shares_for(nn.Linear(2, 2), Context(seed=0, shard=False), True)) is (
        shares.Whole if ranks.world() == 1 else shares.Parallel)
    tensors = trained("whole", device, shard, False) | coded(shard, device)
    try:
        trained("resumed", device, shard, True)
    except KeyboardInterrupt:
        (folder / "stopped").touch()
        ranks.barrier()
        if not ranks.leader():  # as a stage begins
            shutil.copy(folder.parent / "snapshot-resumed.safetensors", folder)
    tensors |= trained("resumed", device, shard, True)
    if ranks.leader():
        save_tensors(Path(sys.argv[1]) / "trained.safetensors", {k: v.cpu() for k, v in tensors.items()})
ranks.leave(0)
"""


def results(folder: Path, *arguments: str, count: int) -> dict[str, torch.Tensor]:
    folder.mkdir()
    for code, _, error in in_ranks([sys.executable, "-c", TRAINS, str(folder), *arguments], folder, count):
        assert code == 0, error
    return load_tensors(folder / "trained.safetensors")


def check(folder: Path, device: str, processes: int) -> None:
    alone = results(folder / "alone", device, "parallel", count=1)
    for mode in ("parallel", "sharded"):
        together = results(folder / mode, device, mode, count=processes)
        assert together.keys() == alone.keys()
        for key, value in alone.items():
            torch.testing.assert_close(
                together[key], value, rtol=0, atol=1e-5, msg=lambda text, key=key: f"{key} {text}"
            )
            whole = key.replace("resumed", "whole")
            torch.testing.assert_close(together[key], together[whole], rtol=0, atol=0)


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    check(tmp_path, "cpu", 2)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="NCCL takes one process for each of two GPUs")
def test_two_gpus_train_what_one_does(tmp_path: Path) -> None:
    check(tmp_path, "cuda", 2)


@pytest.mark.parametrize(
    ("layer", "why"), [(nn.BatchNorm1d(2), "BatchNorm or dropout"), (nn.Linear(2, 2), "of one process")]
)
def test_a_network_that_cannot_be_sharded_is_named(layer: nn.Module, why: str) -> None:
    said: list[str] = []
    assert type(shares_for(layer, Context(seed=0, shard=True, warn=said.append), True)) is Whole
    assert len(said) == 1 and why in said[0]
