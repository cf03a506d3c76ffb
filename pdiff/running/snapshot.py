"""Snapshot: how a long stage goes on where it was killed, with the same final bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff.errors import UserError
from pdiff.files import load_tensors, read_metadata, save_tensors
from pdiff.running.ranks import OWN

if TYPE_CHECKING:
    from torch import Tensor


class Snapshot:
    """One file, replaced in one step; without a folder it keeps nothing."""

    def __init__(self, folder: Path | None = None, name: str = "snapshot", every_s: float = 20.0):
        self.folder, self.name, self.every_s = folder, name, every_s
        self._last, self._cost = time.monotonic(), 0.0

    @property
    def path(self) -> Path | None:
        return self.folder / f"{self.name}.safetensors" if self.folder else None

    def scope(self, name: str) -> Snapshot:
        """Return a snapshot beside this one, for a part of the stage."""
        return Snapshot(self.folder, f"{self.name}-{name}", self.every_s)

    def shared(self) -> Snapshot:
        """Return the snapshot that all ranks of a run have together, in which each writes scopes of its own."""
        return Snapshot(self.folder.parent, self.name, self.every_s) if self.folder and self._own else self

    @property
    def _own(self) -> bool:
        """True in a folder of a rank's own: what it does the leader does and saves."""
        return self.folder is not None and self.folder.name.startswith(OWN)

    def rows(self, count: int, dim: int) -> Tensor:
        """Return vectors `[count, dim]`, float32, that are still there after a kill, as far as they were written.

        They lie in a file beside the snapshot, which becomes the zoo's; where it is not whole, snapshots are dropped.
        """
        import torch

        from pdiff.mapped import HEADER, KEPT, kept

        if self.folder is None:
            return torch.empty(count, dim)
        path = self.folder / f"{self.name}{KEPT}"
        if not path.is_file() or path.stat().st_size != HEADER + 4 * count * dim:
            for stale in self.folder.glob(f"{self.name}*.safetensors"):
                stale.unlink()
        return kept(path, count, dim)

    def due(self) -> bool:
        """True when the last save is long enough ago: saving takes at most about a twentieth of the time."""
        if self.folder is None or self._own:
            return False
        return time.monotonic() - self._last >= max(self.every_s, 20 * self._cost)

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write tensors and JSON-ready state together."""
        if self.path and not self._own:
            start = time.monotonic()
            save_tensors(self.path, tensors, {"state": json.dumps(state)})
            self._last = time.monotonic()
            self._cost = self._last - start

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return what `save` wrote last, or None where there is nothing that can be read."""
        if not self.path or not self.path.is_file():
            return None
        try:
            return load_tensors(self.path), json.loads(read_metadata(self.path)["state"])
        except (UserError, KeyError, ValueError):
            return None
