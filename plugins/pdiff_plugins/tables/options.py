"""What sets in files of one's own share: options, and how rows are parted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context

Predict = Annotated[
    Literal["classes", "numbers"],
    Field(
        description="what the target is. classes: each different value is one (task classification); numbers: as they "
        "are (task regression, and 0 and 1 for binary and multilabel)"
    ),
]
Test = Annotated[
    float, Field(gt=0, lt=1, description="part drawn as test split, always the same; else a part of its own")
]
Validation = Annotated[float, Field(ge=0, lt=1, description="part of train held out for validation, drawn by the seed")]
MOST_CLASSES = 1000


def existing(dataset: str, path: Path) -> Path:
    """Return the path. Raises UserError where no file is there."""
    if not path.is_file():
        raise UserError(f"dataset {dataset}: there is no file {path}; paths are relative to run.data")
    return path


def parted(dataset: str, count: int, test: float, validation: float, ctx: Context) -> dict[str, Tensor]:
    """Return the numbers of the examples of each split; those of test are the same for every seed (0: none)."""
    import torch

    from pdiff.data import holdout

    rest, chosen = holdout(count, test, torch.Generator().manual_seed(0))
    train, held = holdout(len(rest), validation, ctx.generator("holdout"))
    parts = {"train": rest[train], "validation": rest[held], "test": chosen}
    if not len(train) or (validation and not len(held)) or (test and not len(chosen)):
        left = ", ".join(f"{len(index)} for {name}" for name, index in parts.items())
        raise UserError(
            f"dataset {dataset}: {count} examples leave {left}; change its validation or test, or have more"
        )
    return parts


def shape_of(inputs: Any) -> Any:
    """Return the shape of one example, of several inputs by name."""
    return {n: tuple(x.shape[1:]) for n, x in inputs.items()} if isinstance(inputs, dict) else tuple(inputs.shape[1:])


def check_classes(dataset: str, where: str, count: int, least: int = 2) -> int:
    """Return the number of classes. Raises UserError where there are too few, or so many that they are quantities."""
    if not least <= count <= MOST_CLASSES:
        many = f"holds {count:,} different values, too {'few' if count < least else 'many'} to be classes"
        raise UserError(f"dataset {dataset}: {where} {many}; for quantities write predict = 'numbers'")
    return count
