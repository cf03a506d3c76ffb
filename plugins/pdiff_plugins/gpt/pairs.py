"""Pairs of checkpoints of one run, the second later in its training. R runs, C checkpoints of a run, B pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pdiff.errors import UserError


class Pairs:
    """Draws pairs: a run, how many checkpoints lie between, then where, all uniformly (G.pt's code)."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]):
        """Raises UserError where no run has two checkpoints."""
        runs: dict[Any, list[int]] = {}
        for index in sorted(range(len(rows)), key=lambda index: rows[index]["step"]):
            runs.setdefault((rows[index]["run"], rows[index].get("copy")), []).append(index)
        self.runs = [run for run in runs.values() if len(run) > 1]
        if not self.runs:
            raise UserError(
                "method gpt: every run of the zoo has one checkpoint, and it learns from pairs of a run; collect more "
                "of each: with seeds, set collect.log_spaced = 20 or collect.every, and collect.include_start = true"
            )
        self.count_R = torch.tensor([len(run) for run in self.runs])
        self.index_RC = torch.nn.utils.rnn.pad_sequence([torch.tensor(run) for run in self.runs], batch_first=True)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return rows of the zoo, those to start from and those to reach, `[B]` each."""
        run_B = torch.randint(len(self.runs), (count,), generator=generator)
        gap_B = 1 + self._below(self.count_R[run_B] - 1, generator)
        first_B = self._below(self.count_R[run_B] - gap_B, generator)
        return self.index_RC[run_B, first_B], self.index_RC[run_B, first_B + gap_B]

    def _below(self, bound_B: Tensor, generator: torch.Generator) -> Tensor:
        """Return uniform integers in 0 .. bound - 1."""
        return (torch.rand(bound_B.shape, generator=generator, dtype=torch.float64) * bound_B).long()
