"""What tasks read of a network and of a dataset: the tensor among several outputs, and labels as whole numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pdiff.components import IF_SET
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Output = Annotated[
    str | int,
    Field(
        description="which output counts, where the network gives several: its name, or its number from 0",
        json_schema_extra=IF_SET,
    ),
]


def tensor_of(task: Any, given: Any) -> Tensor:
    """Return the tensor among what a network gives: a tensor, a tuple, a dict or an object of such.

    Raises UserError that lists them where there are several and `task.output` names none, or none of these.
    """
    from torch import Tensor

    if isinstance(given, Tensor):
        return given
    parts = {name: part for name, part in _parts(given).items() if isinstance(part, Tensor)}
    wanted = task.output if task.output != "" else next(iter(parts)) if len(parts) == 1 else None
    if wanted not in parts:
        if not parts:
            raise UserError(f"task {task.name}: the network gives a {type(given).__name__}, which holds no tensor")
        known = ", ".join(repr(name) for name in parts)
        what = "gives several outputs" if wanted is None else f"gives no output {wanted!r}"
        raise UserError(f"task {task.name}: the network {what} ({known}); name the one that counts: task.output")
    return parts[wanted]


def check_width(task: Any, model: Any, inputs: Any, outputs: int, more: bool = False) -> None:
    """Raise UserError where the network gives other than so many numbers for an example; with `more` it may give more.

    What torch broadcasts would else be a loss and a score of something else.
    """
    shape = list(tensor_of(task, model(inputs)).shape[1:])
    fits = shape == [outputs] or (shape == [] and outputs == 1 and not more)
    if not fits and not (more and len(shape) == 1 and shape[0] > outputs):
        raise UserError(
            f"task {task.name}: the network gives {shape} numbers for an example, and the dataset has {outputs} "
            f"output{'s' * (outputs != 1)}; let its last layer give {[outputs]}"
        )


def _parts(given: Any) -> dict[str | int, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, tuple | list):
        named = dict(zip(getattr(given, "_fields", ()), given, strict=False))
        return named or dict(enumerate(given))
    return dict(getattr(given, "__dict__", {}))


def whole(targets: Tensor) -> Tensor:
    """Return labels as int64, `[E]` for `[E, 1]`. Raises UserError that names the first that is no whole number."""
    import torch

    from pdiff.data import require_finite

    require_finite(targets, "the label")
    labels = targets.to(torch.int64)
    if targets.is_floating_point() and not torch.equal(labels.to(targets.dtype), targets):
        example, *place = (labels.to(targets.dtype) != targets).nonzero()[0].tolist()
        raise UserError(
            f"example {example}: the label {targets[(example, *place)].item():.6g} is no whole number; number the "
            "classes from 0, or take task 'regression' for quantities"
        )
    return labels.squeeze(1) if labels.ndim == 2 and labels.shape[1] == 1 else labels


def within(labels: Tensor, classes: int, advice: str = "") -> Tensor:
    """Return the labels. Raises UserError that names the first that is not among 0 to `classes` - 1."""
    outside = (labels < 0) | (labels >= classes)
    if not outside.any():
        return labels
    least, most = int(labels.min()), int(labels.max())
    example, *place = outside.nonzero()[0].tolist()
    value = int(labels[(example, *place)])
    if (least, most) == (1, classes):
        advice = f"labels run from 1 to {classes}; count classes from 0 (subtract 1)"
    elif classes == 2 and set(labels.unique().tolist()) == {-1, 1}:
        advice = "labels are -1 and 1; write 0 for -1"
    elif value < 0 or value in (255, 65535):
        advice = "leave examples without a label out"
    raise UserError(
        f"example {example}: the label is {value}, where 0 to {classes - 1} are expected"
        + (f"; {advice}" if advice else "")
    )
