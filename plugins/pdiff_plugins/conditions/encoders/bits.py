"""A task of yes and no as bits, one for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff.components import Encoder
from pdiff.errors import UserError
from pdiff_plugins.conditions.encoders.asking import numbers_in, only, values

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context


class Bits(Encoder):
    """One number for each class of the dataset: 1 for those of about's `classes`.

    Asked by `condition=0110010001`, or by `task=cat,dog`, names of classes or their numbers.
    """

    name = "bits"
    source: ClassVar[str] = "binary embeddings: Recurrent Diffusion, arXiv 2501.11587"
    reads: ClassVar[tuple[str, ...]] = ("condition", "task")
    count: int = Field(0, ge=0, description="how many bits; 0: one for each class that the dataset has")

    def encode(
        self, about: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]], bench: Bench, ctx: Context
    ) -> Tensor:
        """See `Encoder.encode`: `[N, K]` of 0 and 1."""
        import torch

        wanted = values(about, "classes", self.name)
        condition_NK = torch.zeros(len(about), self._count(bench))
        for row_K, classes in zip(condition_NK, wanted, strict=True):
            for number in classes:
                if not 0 <= number < len(row_K):
                    raise UserError(
                        f"encoder bits: a network is about class {number}, of 0 to {len(row_K) - 1}; set encoder.count"
                    )
                row_K[number] = 1
        return condition_NK

    def read(self, asked: Mapping[str, str], known: Sequence[Mapping[str, Any]], bench: Bench) -> dict[str, Any]:
        """See `Encoder.read`."""
        key, text = only(asked, self.reads, self.name)
        count = self._count(bench)
        if key == "task":
            return {"classes": sorted(numbers_in(text, count, bench.names))}
        text = "".join(part.removesuffix(".0") for part in text.replace(",", " ").split())
        if set(text) - set("01"):
            raise UserError(f"condition = {text!r}: its digits are 0 and 1, one for each of {count} classes")
        if len(text) != count:
            raise UserError(f"condition = {text!r}: has {len(text)} bits; give {count}, one for each class")
        return {"classes": [number for number, bit in enumerate(text) if bit == "1"]}

    def _count(self, bench: Bench) -> int:
        return self.count or bench.classes
