"""Packed networks: codes end to end, steps and masks in safetensors; and what they hold, counted from values alone.

Dense formats of quantised tensors are no way out: those of torch.ao are deprecated, and torch says that it will remove
them. M networks, D selected parameters, R rows, L numbers of a row, W weights of an entry, K of them kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.errors import UserError
from pdiff.zoo import Entry, Layout
from pdiff_plugins.bits.exact import FLOAT, grids
from pdiff_plugins.bits.grid import codes, matrices, rows

STEP = 16
"""Bits of a step."""


@dataclass(frozen=True)
class Matrix:
    """What the weights of an entry are, of each network."""

    entry: Entry
    bits_M: Tensor
    """Of a weight that is kept; `FLOAT` where it lies on no grid."""
    step_MR: Tensor
    kept_M: Tensor
    """How many weights are stored."""
    masked_M: Tensor
    """Whether a mask says which."""

    @property
    def size(self) -> int:
        """How many weights there are."""
        return math.prod(self.entry.shape)

    @property
    def steps_M(self) -> Tensor:
        """Bits of all steps."""
        return (self.bits_M < FLOAT) * STEP * self.entry.shape[0]

    @property
    def entropy_M(self) -> Tensor:
        """Bits that tell one mask from all that keep as many: the logarithm of the binomial, float64."""
        whole, kept_M = torch.tensor(self.size + 1.0, dtype=torch.float64), self.kept_M.double()
        among_M = whole.lgamma() - (kept_M + 1).lgamma() - (self.size - kept_M + 1).lgamma()
        return self.masked_M * among_M / math.log(2)

    @property
    def bytes_M(self) -> Tensor:
        """Bytes in a file: codes end to end, a bfloat16 for each step, a bit of the mask for each weight."""
        return -(-self.kept_M * self.bits_M // 8) + self.steps_M // 8 + self.masked_M * -(-self.size // 8)


def of_matrices(theta_MD: Tensor, layout: Layout) -> Iterator[Matrix]:
    """Yield what networks' matrices are. A mask is used where it is needed on a grid, or is smaller than the zeros."""
    for entry in matrices(layout):
        rows_MRL = rows(theta_MD, entry)
        bits_M, step_MR = grids(rows_MRL)
        zeros_MR = (rows_MRL == 0).sum(dim=-1)
        zeros_M, size = zeros_MR.sum(dim=-1), math.prod(entry.shape)
        needed_M = (zeros_MR * (step_MR > 0)).sum(dim=-1) > 0
        masked_M = torch.where(bits_M < FLOAT, needed_M, zeros_M * FLOAT > size)
        yield Matrix(entry, bits_M, step_MR, torch.where(masked_M, size - zeros_M, size), masked_M)


@dataclass(frozen=True)
class Counted:
    """Bits of what is selected of each network, `[M]` in float64, and the bytes that they take in a file."""

    codes_M: Tensor
    steps_M: Tensor
    masks_M: Tensor
    """The masks' entropy; in a file a mask takes a bit for each weight."""
    rest_M: Tensor
    """Entries that are no matrices."""
    bytes_M: Tensor
    kept_M: Tensor
    """Share of the matrices' weights that is not zero, or lies on a grid without zeros."""
    width_M: Tensor
    """Bits of a kept weight, mean over kept weights."""

    @property
    def bits_M(self) -> Tensor:
        """All of them."""
        return self.codes_M + self.steps_M + self.masks_M + self.rest_M


def counted(theta_MD: Tensor, layout: Layout, sizes: Mapping[str, int] | None = None) -> Counted:
    """Return what networks hold. `sizes`: bytes of a number of each entry that is no matrix, 4 where it is not said."""
    return _counted(list(of_matrices(theta_MD, layout)), len(theta_MD), layout, sizes or {})


def _counted(parts: Sequence[Matrix], count: int, layout: Layout, sizes: Mapping[str, int]) -> Counted:
    whole = torch.zeros(count, dtype=torch.float64)
    stored_M = sum((part.kept_M for part in parts), whole)
    codes_M = sum((part.kept_M * part.bits_M for part in parts), whole)
    packed = {part.entry.key for part in parts}
    rest = sum(sizes.get(e.key, 4) * (e.stop - e.start) for e in layout.entries if e.key not in packed)
    return Counted(
        codes_M, sum((part.steps_M for part in parts), whole), sum((part.entropy_M for part in parts), whole),
        whole + 8 * rest, sum((part.bytes_M for part in parts), whole + rest),
        stored_M / max(sum(part.size for part in parts), 1), codes_M / stored_M.clamp_min(1),
    )  # fmt: skip


@dataclass(frozen=True)
class Packed:
    """A network as safetensors hold it, and as the `load` of load.py reads it."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    bytes: int
    """Of what is selected, without the file's header."""
    bits: float
    """Per selected parameter; see `Counted`."""


def pack(theta_D: Tensor, layout: Layout, state: Mapping[str, Tensor], named: str = "the network") -> Packed:
    """Return a network in few bits, beside everything of its whole state dict that is no weight of a matrix.

    Raises UserError where a matrix lies on no grid, and has no weights cut, so that packing would gain nothing.
    """
    parts = list(of_matrices(theta_D[None], layout))
    plain = next((part for part in parts if part.bits_M[0] == FLOAT and not part.masked_M[0]), None)
    if plain is not None or not parts:
        why = f"{plain.entry.key!r} lies on no grid of 2 to 8 bits, and has no weights cut" if plain else "no matrices"
        raise UserError(
            f"pack: {named}: {why}; round its samples by the step 'rounded' ([[sample.step]], bits = 2), or write it "
            "as it is by pdiff export"
        )
    tensors, about = dict(state), {}
    for part in parts:
        entry, stored = part.entry, _stored(theta_D, part)
        about[entry.key] = [int(part.bits_M), list(entry.shape), _named(state[entry.key].dtype), list(entry.also)]
        for key in (entry.key, *entry.also):
            del tensors[key]
        tensors |= {f"{entry.key}:{what}": value for what, value in stored.items()}
    count = _counted(parts, 1, layout, sizes(layout, state))
    metadata = {"packed": json.dumps(about, separators=(",", ":"))}
    return Packed(tensors, metadata, int(count.bytes_M), float(count.bits_M) / layout.dim)


def sizes(layout: Layout, state: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the bytes of a number of each entry in a network's own state dict; a complex one is two numbers."""
    return {e.key: state[e.key].element_size() // (1 + e.is_complex) for e in layout.entries}


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _stored(theta_D: Tensor, part: Matrix) -> dict[str, Tensor]:
    rows_RL, bits, stored = rows(theta_D[None], part.entry)[0], int(part.bits_M), dict[str, Tensor]()
    kept_RL = rows_RL != 0 if bool(part.masked_M) else torch.ones_like(rows_RL, dtype=torch.bool)
    if bool(part.masked_M):
        stored["mask"] = packed_bits(kept_RL.flatten().long(), 1)
    if bits == FLOAT:
        return stored | {"values": rows_RL[kept_RL]}
    some_R = torch.where(part.step_MR[0] > 0, part.step_MR[0], torch.ones_like(part.step_MR[0]))
    code_K = codes(rows_RL, some_R, bits)[kept_RL].long() + 2 ** (bits - 1)
    return stored | {"values": packed_bits(code_K, bits), "steps": part.step_MR[0].to(torch.bfloat16)}


def packed_bits(code_K: Tensor, bits: int) -> Tensor:
    """Return whole numbers of so many bits each, end to end, the lowest bit first, as bytes."""
    ones = ((code_K[:, None] >> torch.arange(bits)) & 1).flatten()
    bytes_B8 = torch.nn.functional.pad(ones, (0, -len(ones) % 8)).view(-1, 8)
    return (bytes_B8 << torch.arange(8)).sum(dim=1).to(torch.uint8)
