"""The user's own code without a package: networks, data and tasks of a file, or of the Python session itself."""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Architecture, Dataset, Task
from pdiff.errors import UserError
from pdiff.files import PRETRAINED
from pdiff_plugins.own.targets import (
    OptionalTarget,
    Options,
    Target,
    call,
    check_call,
    content,
    guarded,
    is_data,
    load,
    name_of,
    options_field,
    target_field,
)
from pdiff_plugins.tasks.outputs import Output, tensor_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import Batch, DatasetSplits


class PythonArchitecture(Architecture):
    """A network of your own: a class or a function of a Python file.

    It is called with `options`, and with `input_shape`, `outputs` or `num_classes` where it has arguments of these
    names. A network that stands ready in the file, or was handed over from Python, is copied, and the copy initialised
    anew; with weights = "pretrained" it keeps what it holds.
    """

    name = "python"
    target: Target = target_field("what builds the network")
    options: Options = options_field()

    def content_of(self, option: str) -> str:
        """See `Component.content_of`; weights that a network brings with it count by their numbers."""
        if option == "target":
            return content(self.target)
        if self.weights == PRETRAINED:
            from pdiff_plugins.own.prints import state_digest

            return state_digest(self._ready())
        return super().content_of(option)

    def foresee(self, ahead: Ahead) -> None:
        """See `Component.foresee`: whether the target can be called so."""
        from torch import nn

        if not isinstance(load(self.target), nn.Module):
            check_call(self.target, self.options, "architecture", ("input_shape", "outputs", "num_classes"))
        super().foresee(ahead)

    def _ready(self) -> nn.Module:
        from torch import nn

        found = load(self.target)
        if isinstance(found, nn.Module):
            return found
        raise UserError("architecture.weights = 'pretrained': the target is no network that stands ready; name a file")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """See `Architecture.build`."""
        from torch import nn

        from pdiff_plugins.own.networks import check_takes, copied

        if isinstance(load(self.target), nn.Module):
            if self.options:
                raise UserError("architecture.options: the target is a network that stands ready and takes none")
            built = copied(self._ready(), fresh=self.weights != PRETRAINED)
            check_takes(built, input_shape, self.target)
            return built
        if self.weights == PRETRAINED:
            self._ready()
        sizes = {"input_shape": input_shape, "outputs": outputs, "num_classes": outputs}
        built = call(self.target, self.options, "architecture", sizes)
        if not isinstance(built, nn.Module):
            raise UserError(
                f"architecture.target: {name_of(self.target)} gives a {type(built).__name__}, not a torch.nn.Module"
            )
        check_takes(built, input_shape, self.target)
        return built


class PythonDataset(Dataset):
    """Data of your own: a function of a Python file that returns the splits.

    They are (train, validation, test) or (train, test), whose validation split is cut from train, or a dict of these
    names. Each is a torch Dataset, a pair (inputs, targets) of arrays, tensors or lists, or a pdiff split; several
    inputs are a tuple or a dict of arrays. Arrays become tensors, of float32 where they are fractions or uint8, and
    nothing is scaled. The data themselves count in keys, of a torch Dataset its class, its length and 64 examples
    evenly spread: they are loaded before anything is looked for.
    """

    name = "python"
    target: Target = target_field("what returns the splits, called with `options`, and `data_root` where it takes that")
    options: Options = options_field()
    outputs: int = Field(
        0, ge=0, description="outputs of the network; 0: the largest class of train + 1, or the width of the targets"
    )
    validation: float = Field(0.2, gt=0, lt=1, description="part of train held out where two splits are given")

    def content_of(self, option: str) -> str:
        """See `Component.content_of`."""
        return content(self.target)

    def foresee(self, ahead: Ahead) -> None:
        """See `Component.foresee`: whether the target can be called so."""
        if not is_data(self.target):
            check_call(self.target, self.options, "dataset", ("data_root",))

    def content(self, data_root: Path) -> str:
        """See `Dataset.content`; of data that were handed over the target says it."""
        if is_data(self.target):
            return ""
        from pdiff_plugins.own.prints import data_digest

        return data_digest(self._given(data_root))

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        from pdiff_plugins.own.splits import splits_of

        generator = ctx.generator("holdout")
        return splits_of(self._given(ctx.data_root), self.validation, self.outputs, generator)

    def _given(self, data_root: Path) -> Any:
        if is_data(self.target):
            return load(self.target)
        key = (self.target, json.dumps(self.options, sort_keys=True), str(data_root))
        if key not in _given:
            from pdiff_plugins.own.draws import drawing

            _given.clear()  # the last one alone is kept
            with drawing(0):
                _given[key] = call(self.target, self.options, "dataset", {"data_root": data_root})
        return _given[key]


_given: dict[tuple[str, str, str], Any] = {}


class PythonTask(Task):
    """A loss function of your own.

    A task with more to it is a subclass of `pdiff.components.Task` in a plugin file.
    The loss is called as `loss(outputs, targets)` and returns one number; where the network gives several outputs, with
    all of them, or with the one that `output` names, which alone is scored. So is what `score_target` names, higher is
    better; without it the score is minus the loss. With class numbers as targets and one output for each class, an
    example is wrong where the largest output is another class's; else where the output is further from the target than
    the targets' average is from them, on the mean.
    """

    name = "python"
    unit = ""
    target: Target = target_field("the loss")
    score_target: OptionalTarget = target_field("what scores outputs", "")
    output: Output = ""

    @property
    def metric(self) -> str:  # type: ignore[override]
        """Name of the score."""
        return name_of(self.score_target) if self.score_target else f"minus {name_of(self.target)}"

    def content_of(self, option: str) -> str:
        """See `Component.content_of`."""
        return content(getattr(self, option))

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        given = model(batch.inputs)
        outputs: Any = tensor_of(self, given) if self.output != "" else given
        loss = self._told_by(self.target, outputs, batch.targets)
        if getattr(outputs, "requires_grad", False) and not loss.requires_grad:
            raise UserError(
                f"task.target: {name_of(self.target)} gives a number without a gradient, which trains nothing; let it "
                "be a tensor made of the outputs, without argmax, item or detach"
            )
        return loss

    def answer(self, model: Any, inputs: Any) -> Tensor:
        """See `Task.answer`."""
        return tensor_of(self, model(inputs))

    def predict(self, model: Any, inputs: Any) -> Tensor:
        """Return the network's outputs, of several the one that counts."""
        return self.answer(model, inputs).float()

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """See `Task.score`."""
        import torch

        target, sign = (self.score_target, 1) if self.score_target else (self.target, -1)
        return sign * torch.stack([self._told_by(target, outputs, targets).double() for outputs in predictions])

    def _told_by(self, target: str, outputs: Any, targets: Tensor) -> Tensor:
        """Return what a function of the user's says of outputs. Raises UserError where it is not one number."""
        import torch

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using a target size")  # told below
            told = guarded(lambda: torch.as_tensor(load(target)(outputs, targets)), target, "task")
        if told.numel() != 1:
            raise UserError(
                f"task.target: {name_of(target)} gives {list(told.shape)} numbers; return one, such as their mean"
            )
        self._check_paired(target, outputs, targets, told)
        return told.reshape(())

    def _check_paired(self, target: str, outputs: Any, targets: Tensor, told: Tensor) -> None:
        """Raise UserError where each output was set against every target, as torch does with [B, 1] and [B]."""
        import torch

        if not isinstance(outputs, torch.Tensor) or outputs.shape == targets.shape or len(targets) < 2:
            return
        if outputs.numel() != targets.numel() or not targets.is_floating_point():
            return
        crossed = False
        with torch.no_grad(), contextlib.suppress(Exception):  # one that cannot take them so pairs them itself
            paired = torch.as_tensor(load(target)(outputs.reshape(targets.shape), targets))
            crossed = not torch.allclose(paired.double(), told.double(), rtol=1e-3)
        if crossed:
            raise UserError(
                f"task.target: {name_of(target)} is given outputs {list(outputs.shape)} and targets "
                f"{list(targets.shape)}, and sets each output against every target; give both the same shape"
            )

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """See `Task.wrong`."""
        if not targets.is_floating_point() and predictions.ndim == targets.ndim + 2:
            missed = predictions.argmax(dim=2) != targets
            return missed.flatten(2).any(dim=2) if missed.ndim > 2 else missed
        aims_E = targets.reshape(len(targets), -1).float()
        far_ME = (predictions.reshape(*predictions.shape[:2], -1) - aims_E).abs().mean(dim=2)
        return far_ME > (aims_E - aims_E.mean(dim=0)).abs().mean()


@hookimpl
def register_architectures(register: Any) -> None:
    register(PythonArchitecture)


@hookimpl
def register_datasets(register: Any) -> None:
    register(PythonDataset)


@hookimpl
def register_tasks(register: Any) -> None:
    register(PythonTask)


@hookimpl
def complete_recipe(given: dict[str, Any]) -> dict[str, Any]:
    """See `pdiff.hookspecs.complete_recipe`."""
    from pdiff_plugins.own.given import completed

    return completed(given)
