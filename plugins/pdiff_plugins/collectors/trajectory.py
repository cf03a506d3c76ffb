"""Collectors: where checkpoints come from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff.checkpoints.names import listed, whole
from pdiff.components import Collector, Task
from pdiff.errors import UserError
from pdiff.mapped import Touched
from pdiff_plugins.batches import examples_read
from pdiff_plugins.bits.options import Bits, Keep, require_matrices

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.data import DatasetSplits
    from pdiff.running.snapshot import Snapshot
    from pdiff.zoo import Layout, Zoo


NEAR_BYTES = 2**26
"""Of checkpoints that wait on the device before they are copied together."""


class Trajectory(Collector):
    """The subset after each further training step, all else frozen (the paper's)."""

    name = "trajectory"
    source: ClassVar[str] = "Neural Network Diffusion, arXiv 2402.13144, section 3.1; settings from the authors' code"
    count: int = Field(300, gt=1, description="checkpoints")
    lr: float = Field(gt=0, examples=[1e-3], description="learning rate, constant unless lr_end is given")
    lr_end: float = Field(0.0, ge=0, description="rate reached at the end of the first epoch by a cosine; 0: constant")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay (L2 for sgd)")
    batch_size: int = Field(128, gt=0, description="examples per step")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd has momentum 0.9")
    batch_norm: Literal["train", "eval"] = Field(
        "eval",
        description="eval: BatchNorm uses its frozen statistics, and dropout is off; train: those of the "
        "batch, although the saved networks are evaluated with the frozen ones. The authors' cells differ in this",
    )
    every: int = Field(1, gt=0, description="save every so many steps")
    skip_steps: int = Field(0, ge=0, description="steps before the first is saved")
    skip_first_batch: bool = Field(False, description="do not save after the first batch of an epoch, as some cells do")
    bits: Bits = 0
    keep: Keep = 1.0

    def expected(self) -> int:
        return self.count

    def examples(self, train: int) -> int:
        steps = self.saved_steps(math.ceil(train / self.batch_size))[-1]
        return examples_read(train, self.batch_size, steps)

    def collect(
        self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, bench: Bench, ctx: Context
    ) -> Zoo:
        from pdiff.data import Batch
        from pdiff.training.loop import epoch_length, epoch_order, train
        from pdiff.zoo import Zoo
        from pdiff_plugins.bits.few import Few

        require_matrices(layout, self.bits, self.keep)
        anchor = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
        for key, parameter in model.named_parameters(remove_duplicate=False):
            parameter.requires_grad_(key in layout.keys)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise UserError("selector: names no trainable parameter (buffers alone do not learn); select some")
        model.train(self.batch_norm == "train")
        per_epoch = epoch_length(len(data.train), self.batch_size, model)
        saved = self.saved_steps(per_epoch)
        few = Few(model, layout, self.bits, self.keep) if self.bits or self.keep < 1 else None

        def draw(step: int, generator: Any) -> Batch:
            index = epoch_order(len(data.train), self.batch_size, step, ctx.seed, per_epoch)
            return data.train.batch(index, ctx.device, generator)

        def loss(*batch: Any) -> Tensor:
            return task.loss(few or model, Batch(*batch))

        def theta() -> Tensor:
            return few.theta() if few else layout.joined(model.state_dict())

        recorder = _Recorder(theta, layout, saved, ctx.snapshot)
        train(
            model, loss, steps=saved[-1], ctx=ctx, what="collect", lr=self.lr, optimizer=self.optimizer,
            weight_decay=self.weight_decay, schedule=self._factor(per_epoch), observer=recorder,
            draw=draw,
        )  # fmt: skip
        state = model.state_dict()
        moved = [key for key in whole(state) if not state[key].cpu().equal(anchor[key])]
        if moved:
            ctx.warn(f"collect: {listed(moved)} changed in training; whole numbers stay as the base network has them")
        rows = [{"run": 0, "step": step, "metrics": {}} for step in saved]
        return Zoo(recorder.theta_ND, layout, anchor, rows)

    def saved_steps(self, per_epoch: int) -> list[int]:
        """Return the steps (counted from 1) after which a checkpoint is saved."""
        steps: list[int] = []
        step = self.skip_steps
        idle = math.lcm(self.every, per_epoch)
        while len(steps) < self.count:
            step += 1
            if step - (steps[-1] if steps else self.skip_steps) > 2 * idle:
                raise UserError(
                    f"collect: every = {self.every} with {per_epoch} batches an epoch falls on first batches only, "
                    "which skip_first_batch leaves out; change one of them"
                )
            first = self.skip_first_batch and per_epoch > 1 and (step - 1) % per_epoch == 0
            if (step - self.skip_steps) % self.every == 0 and not first:
                steps.append(step)
        return steps

    def _factor(self, per_epoch: int) -> Any:
        if not self.lr_end:
            return "constant"
        low = self.lr_end / self.lr
        return lambda step: low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(step / per_epoch, 1.0)))


class _Recorder:
    """Keeps the selected parameters after the steps asked for, in a file; a few on the device, so it seldom waits."""

    def __init__(self, theta: Callable[[], Tensor], layout: Layout, steps: list[int], snapshot: Snapshot):
        self.theta, self.steps = theta, set(steps)
        self.theta_ND = snapshot.rows(len(steps), layout.dim)
        self.touched, self.done = Touched(self.theta_ND), 0
        self.near: list[Tensor] = []

    def after(self, step: int) -> dict[str, float]:
        if step in self.steps:
            self.near.append(self.theta())
            last = self.done + len(self.near) == len(self.steps)
            if last or not self.near[0].is_cuda or len(self.near) * self.near[0].nbytes >= NEAR_BYTES:
                self._fetch()
        return {}

    def _fetch(self) -> None:
        import torch

        if self.near:
            fetched = slice(self.done, self.done + len(self.near))
            self.theta_ND[fetched] = torch.stack(self.near).cpu() if len(self.near) > 1 else self.near[0]
            self.done = fetched.stop
            self.touched(self.theta_ND[fetched])
        self.near = []

    def tensors(self) -> dict[str, Tensor]:
        import torch

        from pdiff.mapped import sync

        self._fetch()
        sync(self.theta_ND)
        return {"checkpoints": torch.tensor(self.done)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.done = int(tensors["checkpoints"])
