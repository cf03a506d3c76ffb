"""Networks read by what they say, and a perceptron that writes them. B batch, D dim, Z latent, O outputs at probes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.running.memory import in_chunks

ENOUGH = 4096
"""Networks from which components are taken at most."""


class ProbeModule(nn.Module):
    """Scores on the principal components of outputs, in one unit; and back by one hidden layer."""

    one_scale = True
    read: Callable[[Tensor], Tensor] | None = None
    """What networks x_BD put out at the probes, `[B, O]`; None in a loaded codec that does not `listen`."""
    probes: Any = None
    """Inputs at which networks are read."""
    said: Callable[[Tensor], Tensor] | None = None
    """What they predict there, which decoding keeps; None in a loaded codec."""
    mean_O: Tensor
    components_OZ: Tensor
    scale: Tensor

    def __init__(self, dim: int, latent: int, hidden: int):
        super().__init__()
        self.latent_dim = latent
        self.decode = nn.Sequential(nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, dim))

    @torch.no_grad()
    def fit(self, read: Callable[[Tensor], Tensor], x_ND: Tensor) -> None:
        """Take the components from the outputs of at most ENOUGH networks; scores get variance 1 in the mean."""
        said_NO = in_chunks(read, x_ND[:ENOUGH], 64)
        self.read, self.mean_O = read, said_NO.mean(dim=0)
        centred_NO = said_NO - self.mean_O
        components_ZO = torch.linalg.svd(centred_NO, full_matrices=False).Vh[: self.latent_dim]
        self.components_OZ = nn.functional.pad(components_ZO, (0, 0, 0, self.latent_dim - len(components_ZO))).T
        self.scale = (centred_NO @ self.components_OZ).square().mean().sqrt().clamp_min(1e-12)

    @torch.no_grad()
    def encode_all(self, x_ND: Tensor) -> Tensor:
        return in_chunks(self.encode, x_ND, 64)

    def encode(self, x_BD: Tensor) -> Tensor:
        assert self.read is not None, "a loaded codec of probes decodes only"
        return (self.read(x_BD) - self.mean_O) @ self.components_OZ / self.scale

    def remembered(self) -> dict[str, Tensor]:
        """Return what encoding needs beside the state dict; nothing where probes are more than one tensor."""
        if not isinstance(self.probes, Tensor):
            return {}
        components_OZ = self.components_OZ.contiguous()
        return {"probes": self.probes, "mean": self.mean_O, "components": components_OZ, "scale": self.scale}

    def recall(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `remembered` gave."""
        if tensors:
            self.probes, self.mean_O = tensors["probes"], tensors["mean"]
            self.components_OZ, self.scale = tensors["components"], tensors["scale"]

    def listen(self, outputs: Callable[[Tensor, Any], Tensor], device: torch.device) -> None:
        """Read networks by what `outputs` gives of them and of inputs, where probes are remembered."""
        if self.read is None and self.probes is not None:
            self.recall({name: value.to(device) for name, value in self.remembered().items()})
            self.read = lambda x_BD: outputs(x_BD, self.probes).flatten(1)
