"""Context: what a component is handed beside its own options; nothing in it is part of a stage's key but the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from pdiff import mapped
from pdiff.running.progress import Progress
from pdiff.running.snapshot import Snapshot


@dataclass(frozen=True)
class Context:
    """Device, seed, progress and resume of one stage."""

    seed: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Progress = field(default_factory=Progress)
    snapshot: Snapshot = field(default_factory=Snapshot)
    data_root: Path = Path("data")
    """Where datasets lie, and are downloaded to."""
    download: bool = True
    batch_size: int = 0
    """Examples per evaluation batch; 0 chooses by their size."""
    threads: int = 0
    """CPU threads; 0 chooses by the size of the network."""
    precision: str = "float32"
    """Of training: float32, or bfloat16 (autocast: parameters and optimiser stay float32)."""
    graphs: bool = True
    """On CUDA: replay training and sampling steps of fixed shapes as CUDA graphs."""
    shard: bool = False
    """Ranks hold parts of the networks that they train together."""
    warn: Callable[[str], None] = print

    def generator(self, *words: object) -> torch.Generator:
        """Return a new CPU generator for the purpose that `words` name: the same words give the same stream."""
        return torch.Generator().manual_seed(derive(self.seed, *words))

    def empty(self, count: int, dim: int) -> torch.Tensor:
        """Return new vectors `[count, dim]`, float32, on the CPU; large ones lie in a file that goes with them."""
        return mapped.empty(count, dim, self.snapshot.folder)

    def replace(self, **changes: object) -> Context:
        """Return a context that differs in the fields named."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def scope(self, name: str) -> Context:
        """Return the context of one part of the stage: its own seed and its own snapshot."""
        return replace(self, seed=derive(self.seed, name), snapshot=self.snapshot.scope(name))


def derive(seed: int, *words: object) -> int:
    """Return a 63-bit seed that depends on all of its arguments and on nothing else."""
    text = ":".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
