"""Steps that ranks make together: each on its rows of the batch, with the gradient of the whole."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.running import ranks
from pdiff.running.snapshot import Snapshot

LARGE_NETWORK = 10_000_000
"""Parameters from which ranks share steps out: smaller ones take about as long to send as to step."""


class Whole:
    """Every rank makes the whole step, from the same numbers."""

    def part(self, inputs: list[Any]) -> list[Any]:
        """Return what of the drawn batch this rank takes."""
        return inputs

    def backward(self, value: Tensor, parameters: list[nn.Parameter]) -> Tensor:
        """Compute the gradients of the whole batch's loss, and return it."""
        value.backward()
        return value.detach()

    def begins(self, step: int) -> None:
        """Raise UserError where ranks would go on from different steps."""

    def due(self, snapshot: Snapshot) -> bool:
        """Return whether a snapshot is saved now."""
        return snapshot.due()

    def end(self) -> None:
        """Leave the network as it was given, but trained."""


class Parallel(Whole):
    """Every rank has the whole network, and sums gradients with the others."""

    def __init__(self) -> None:
        self.weight = 1.0

    def part(self, inputs: list[Any]) -> list[Any]:
        count = len(inputs[0])
        mine = ranks.own_rows(count)
        self.weight = (mine.stop - mine.start) / count if count >= ranks.world() else 1 / ranks.world()
        return [value[mine] for value in inputs]

    def backward(self, value: Tensor, parameters: list[nn.Parameter]) -> Tensor:
        value = value * self.weight
        value.backward()
        whole = value.detach().clone()
        ranks.summed([whole, *(p.grad for p in parameters if p.grad is not None)])
        return whole

    def begins(self, step: int) -> None:
        if ranks.agreed(step) != step:
            raise UserError(f"process {ranks.rank()} sees another snapshot; choose a run.out that all processes share")


class Sharded(Parallel):
    """Every rank holds a part of each parameter, of its gradient and its moments (FSDP2); a step has the whole."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        super().__init__()
        self.module, self.device, self.plain = module, device, copy.deepcopy(module).cpu()
        mesh = init_device_mesh(device.type, (ranks.world(),))
        halves = [getattr(module, name, None) for name in ("encode", "decode")]  # of a codec: modules, or methods
        for called in [half for half in halves if isinstance(half, nn.Module)] or [module]:
            fully_shard(called, mesh=mesh)
        for half in halves:
            if half is not None and not isinstance(half, nn.Module):
                register_fsdp_forward_method(module, half.__name__)

    def backward(self, value: Tensor, parameters: list[nn.Parameter]) -> Tensor:
        (value * (self.weight * ranks.world())).backward()  # it takes the mean over ranks
        whole = value.detach() * self.weight
        loose = [p.grad for p in parameters if p.grad is not None and not hasattr(p, "full_tensor")]
        ranks.summed([whole, *loose])
        for gradient in loose:
            gradient /= ranks.world()
        return whole

    def due(self, snapshot: Snapshot) -> bool:
        return bool(ranks.agreed(snapshot.due()))

    def end(self) -> None:
        self.plain.load_state_dict({key: full(value) for key, value in self.module.state_dict().items()})
        trained = self.plain.to(self.device)
        self.module.__class__ = type(trained)  # nothing of torch's takes the hooks away again
        self.module.__dict__.clear()
        self.module.__dict__.update(trained.__dict__)


def shares_for(module: nn.Module, ctx: Context, by_rows: bool) -> Whole:
    """Return how ranks make the steps of a network: together where it is large, and takes each example by itself."""
    mixes = any(map(_mixes, module.modules()))
    if ctx.shard and by_rows and (mixes or ranks.world() == 1):
        why = "a network with BatchNorm or dropout" if mixes else "a network of one process"
        ctx.warn(f"run.shard = true: {why} is fitted as with false")
    if ranks.world() == 1 or not by_rows or mixes:
        return Whole()
    if ctx.shard:
        return Sharded(module, ctx.device)
    return Parallel() if sum(p.numel() for p in module.parameters()) >= LARGE_NETWORK else Whole()


def _mixes(module: nn.Module) -> bool:
    """Return whether a layer takes the examples of a step together, or draws numbers that depend on how many."""
    return module.training and (isinstance(module, _BatchNorm) or (isinstance(module, _DropoutNd) and module.p > 0))


def full(value: Tensor) -> Tensor:
    """Return a tensor that ranks may hold in parts as a whole."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def like(value: Tensor, pattern: Tensor) -> Tensor:
    """Return a whole tensor as ranks hold the pattern."""
    if not hasattr(pattern, "full_tensor"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(pattern, DTensor) or value.shape != pattern.shape:
        return value
    value = value.to(pattern.device)
    return distribute_tensor(value, pattern.device_mesh, pattern.placements, src_data_rank=None)
