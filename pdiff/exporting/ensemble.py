"""An ensemble of networks in plain torch: `Ensemble()(x)`, in the folder that README.md tells about.

Every exported folder holds this file as it is. Shapes: M members, B batch, K classes, labels or outputs.
"""

from __future__ import annotations

import json
import math
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32,
    "I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
}  # fmt: skip


def average(kind: str, answers: Tensor) -> Tensor:
    """Return what stands for the mean of members' answers `[M, B, ...]`.

    Of classes (their log-probabilities) the logarithm of the mean probabilities; of labels (a logit each) the logit of
    the mean probability; of outputs the mean.
    """
    if kind == "classes":
        return _log_mean(answers)
    if kind == "labels":
        return _log_mean(logsigmoid(answers)) - _log_mean(logsigmoid(-answers))
    return answers.mean(dim=0)


def uncertainty(kind: str, answers: Tensor, temperature: float = 1.0) -> dict[str, Tensor]:
    """Return the mean of members' answers `[M, B, ...]`, and how sure they are of it.

    Of classes `probabilities` `[B, K]`, their `entropy` `[B]` and the `mutual_information` `[B]` of class and member,
    in nats: what of the entropy comes from members that disagree. Of labels the same of each label, `[B, K]`. Of
    outputs `mean` and `deviation` over members. The temperature divides the logarithm of the mean (or its logit); the
    mutual information is that of the members as they are.
    """
    if kind == "outputs":
        mean = answers.mean(dim=0)
        return {"mean": mean, "deviation": (answers - mean).square().mean(dim=0).sqrt()}
    mean, entropy = average(kind, answers), _entropy_of_classes if kind == "classes" else _entropy_of_labels
    told = (mean / temperature).log_softmax(dim=1) if kind == "classes" else mean / temperature
    return {
        "probabilities": told.exp() if kind == "classes" else told.sigmoid(),
        "entropy": entropy(told),
        "mutual_information": (entropy(mean) - entropy(answers).mean(dim=0)).clamp_min(0),
    }


def _log_mean(logs: Tensor) -> Tensor:
    """Return the logarithm of the mean over the first axis of what these are the logarithms of."""
    return logs.logsumexp(dim=0) - math.log(len(logs))


def _entropy_of_classes(logs: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(logs.exp()).sum(dim=-1)
    return entropy


def _entropy_of_labels(logits: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(logits.sigmoid()) + torch.special.entr((-logits).sigmoid())
    return entropy


class Ensemble(nn.Module):
    """The networks of a folder, as one."""

    def __init__(self, folder: str | Path = Path(__file__).parent):
        super().__init__()
        folder = Path(folder)
        self.about: dict[str, Any] = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))
        tensors = read(folder / "members.safetensors")
        self.own = {key[8:]: value for key, value in tensors.items() if key.startswith("members.")}
        self.shared = {key[7:]: value for key, value in tensors.items() if key.startswith("shared.")}
        self.network = _module(folder / "network.py")
        self.plain = _module(folder / "preprocess.py") if self.about["preprocess"] is not None else None
        self.eval()

    def _apply(self, function: Any, recurse: bool = True) -> Any:
        """Let `.to(device)` and its like reach the members."""
        self.own = {key: function(value) for key, value in self.own.items()}
        self.shared = {key: function(value) for key, value in self.shared.items()}
        return super()._apply(function, recurse)  # type: ignore[no-untyped-call]

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Return the average of the members; see `average`."""
        return average(self.about["kind"], self.answers(*inputs, **named))

    def answers(self, *inputs: Any, **named: Any) -> Tensor:
        """Return what each member says, `[M, B, ...]`."""
        values = self.network.shared(self.shared, *self._in_order(inputs, named))
        members = ({key: value[m] for key, value in self.own.items()} for m in range(self.about["members"]))
        return torch.stack([self.network.member(self.shared | own, *values) for own in members])

    def _in_order(self, inputs: tuple[Any, ...], named: dict[str, Any], raw: bool = False) -> tuple[Any, ...]:
        """Return inputs in the network's order. Raises ValueError where it takes others; raw ones are any tensors."""
        names, takes = self.about["inputs"] or [], self.about["takes"]
        rest = names[len(inputs) :]
        taken = (*inputs, *(named[name] for name in rest if name in named))
        given = [described(value) for value in taken]
        sound = all(isinstance(value, Tensor) for value in taken) if raw else given == takes
        if not sound or {*named} != {*rest}:
            advice = f", by name: {', '.join(names)}" if names else ""
            advice += "; raw images go to uncertainty(images, raw=True)" if self.plain else ""
            raise ValueError(f"given {' and '.join(given) or 'nothing'}; give tensors of {' and '.join(takes)}{advice}")
        return taken

    def preprocess(self, examples: Tensor) -> Tensor:
        """Return the networks' inputs of raw examples: of images `[B, C, H, W]`, uint8, or floats of 0..1."""
        if self.plain is None:
            raise ValueError("how inputs are made of raw examples is not known; give inputs")
        inputs: Tensor = self.plain.preprocess(examples, **self.about["preprocess"])
        return inputs

    @torch.no_grad()
    def uncertainty(
        self, *inputs: Any, raw: bool = False, calibrated: bool = True, batch_size: int = 256, **named: Any
    ) -> dict[str, Tensor]:
        """Return what members say together, and how sure they are; see the function `uncertainty`.

        `raw`: of examples that `preprocess` makes inputs of. `calibrated`: with the run's temperature, if any.
        """
        temperature = self.about["temperature"] if calibrated and self.about["temperature"] else 1.0
        parts = []
        for batch in zip(*(value.split(batch_size) for value in self._in_order(inputs, named, raw)), strict=True):
            answers = self.answers(*((self.preprocess(*batch),) if raw else batch))
            parts.append(uncertainty(self.about["kind"], answers, temperature))
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def described(value: Any) -> str:
    """Return of what numbers a tensor is, and in what shape, for any number of examples."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    shape = ", ".join(["B", *map(str, value.shape[1:])])
    return f"{'floats' if value.is_floating_point() else 'whole numbers'} [{shape}]"


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file: eight bytes say how long its JSON is, which says where each lies."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    about = json.loads(data[8:start])
    return {key: _tensor(data, start, value) for key, value in about.items() if key != "__metadata__"}


def _tensor(data: bytearray, start: int, about: Any) -> Tensor:
    dtype, shape, (first, last) = DTYPES[about["dtype"]], about["shape"], about["data_offsets"]
    if first == last:
        return torch.empty(shape, dtype=dtype)
    count = math.prod(shape)
    return torch.frombuffer(data, dtype=dtype, count=count, offset=start + first).view(shape)


def _module(path: Path) -> Any:
    """Return a file of this folder as a module: by its path, so that folders do not meet under one name."""
    made = types.ModuleType(path.stem)
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), made.__dict__)
    return made
