"""One architecture with many parameter vectors: the training step of all of them as one graph.

Shapes: G networks, T trained parameters of each, D selected parameters, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from pdiff.context import Context
from pdiff.data import Batch, each
from pdiff.errors import UserError
from pdiff.networks import once
from pdiff.running.device import steady_attention
from pdiff.training.loop import enough_for_batch_norm
from pdiff.zoo import Layout
from pdiff_plugins.adapters.layers import CONVOLUTIONS, merged_weights
from pdiff_plugins.bits.grid import matrices
from pdiff_plugins.bits.grid import seen as grid_seen
from pdiff_plugins.collectors.seeds.layers import DECOMPOSED, JointLayers, plain_means
from pdiff_plugins.networks.activations import layer_outputs

if TYPE_CHECKING:
    from pdiff.components import Task


class NotTogether(UserError):
    """Networks of this architecture cannot be trained as one; one by one they can."""


Step = Callable[..., tuple[Tensor, ...]]
"""(theta_GT, *tensors of a batch, each `[G, B, ...]`, *buffers) -> (gradient_GT, losses_G, *new buffers)."""


class Network:
    """What networks of one architecture share: the order of their parameters, and what is frozen."""

    def __init__(
        self, model: nn.Module, layout: Layout, task: Task, ctx: Context, what: str = "collect", bits: int = 0
    ):
        """`model` holds the frozen parameters, is in the mode of training, and is not changed later.

        `bits`: of a matrix's weight, as the loss sees it, and as it is kept; 0: it is as it is.
        """
        self.model, self.layout, self.task, self.ctx = model.requires_grad_(False), layout, task, ctx
        self.what = what
        self.cpu = ctx.device.type == "cpu"
        unique = {id(entry): name for name, entry in (*model.named_parameters(), *model.named_buffers())}
        every = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
        self.owner = {name: unique[id(entry)] for name, entry in every}
        self.places = once(model, self.owner)
        selected = {self.owner[key] for key in layout.keys}
        self.bits, self.axes = bits, {self.owner[entry.key]: len(entry.shape) for entry in matrices(layout)}
        self.shapes = {name: p.shape for name, p in model.named_parameters() if name in selected}
        self.freezes = len(self.shapes) < len(list(model.parameters()))
        self.buffers = [name for name, _ in model.named_buffers()]
        odd = next((name for name, p in model.named_parameters() if name in selected and p.is_complex()), None)
        if odd:
            raise NotTogether(
                f"collect: {odd!r} is complex, which networks trained together cannot have; train them one by one and "
                "use the collector 'folder', or use 'trajectory'"
            )
        if not self.shapes:
            raise UserError("selector: names no trainable parameter (buffers alone do not learn); select some")

    @property
    def dim(self) -> int:
        """T, the number of trained parameters."""
        return sum(shape.numel() for shape in self.shapes.values())

    @torch.no_grad()
    def numbers(self, example: Batch) -> int:
        """Return how many numbers the layers of one network compute of one example."""
        twice = Batch(*each(lambda values: torch.cat([values, values]), tuple(example)))
        # BatchNorm that keeps no statistics takes those of the batch here, too, which one example may not have
        modes = [(module, module.training) for module in self.model.modules()]
        count = layer_outputs(self.model, lambda: self.task.loss(self.model.eval(), twice), Tensor.numel)
        for module, training in modes:
            module.training = training
        return count // 2

    def stacked(self, models: Sequence[nn.Module]) -> tuple[Tensor, list[Tensor]]:
        """Return theta_GT and the buffers, each with G first, of networks as they are."""
        rows, buffers = [], []
        for model in models:
            parameters = dict(model.named_parameters())
            rows.append(torch.cat([parameters[name].detach().reshape(-1) for name in self.shapes]))
            buffers.append([buffer for _, buffer in model.named_buffers()])
        stacks = [torch.stack(rows_G).to(self.ctx.device) for rows_G in zip(*buffers, strict=True)]
        return torch.stack(rows).to(self.ctx.device), stacks

    def parameters(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the trained parameters as views of theta `[..., T]`."""
        flat = theta.split([shape.numel() for shape in self.shapes.values()], dim=-1)
        return {
            name: values.unflatten(-1, shape) if shape else values.squeeze(-1)
            for (name, shape), values in zip(self.shapes.items(), flat, strict=True)
        }

    def seen(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the trained parameters as the loss sees those of theta `[..., T]`."""
        parameters = self.parameters(theta)
        return grid_seen(parameters, self.axes, self.bits) if self.bits else parameters

    def trained(self, theta_GD: Tensor) -> Tensor:
        """Return of selected numbers those of parameters that are trained, `[G, T]`, on the device."""
        tensors = {self.owner[key]: value for key, value in self.layout.tensors(theta_GD).items()}
        return torch.cat([tensors[name].flatten(1) for name in self.shapes], 1).to(self.ctx.device)

    def vectors(self, theta_GT: Tensor, buffers: Sequence[Tensor]) -> Tensor:
        """Return the selected parameters `[G, D]`, float32 on the CPU."""
        tensors = dict(zip(self.buffers, buffers, strict=True)) | self.seen(theta_GT)
        keys = [entry.key for entry in self.layout.entries]
        values = [tensors[self.owner[key]].reshape(len(theta_GT), -1) for key in keys]
        return torch.cat(values, 1).to("cpu", torch.float32)

    def trace(self, batch: Batch, theta_GT: Tensor, buffers: Sequence[Tensor]) -> Step:
        """Return the step for batches of this shape as a graph. Raises NotTogether where vmap cannot take it."""
        examples, form = pytree.tree_flatten(batch)
        # What is frozen is computed once of inputs that all networks have alike, which are a view of one network's.
        alike = [self.freezes and x.stride(0) == 0 for x in pytree.tree_leaves(batch.inputs)]
        alike += [False] * (len(examples) - len(alike))
        dims = pytree.tree_unflatten([None if once else 0 for once in alike], form)

        def step(theta_GT: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
            ours = [x[0] if once else x for x, once in zip(tensors, alike, strict=False)]
            batch = pytree.tree_unflatten(ours, form)

            def total(theta_GT: Tensor) -> tuple[Tensor, tuple[Tensor, list[Tensor]]]:
                losses_G, new = vmap(self._loss, (0, dims, 0))(theta_GT, batch, list(tensors[len(examples) :]))
                return losses_G.sum(), (losses_G, new)

            gradient_GT, (losses_G, new) = grad(total, has_aux=True)(theta_GT)
            return gradient_GT, losses_G, *new

        try:
            with torch.enable_grad(), plain_means(self.model):
                traced = make_fx(step, decomposition_table=DECOMPOSED if self.cpu else None)
                graph = traced(theta_GT, *examples, *buffers)
        except UserError:
            raise
        except Exception as error:  # tracing runs the author's code, which can fail in any way
            raise NotTogether(_why(error)) from error
        graph.graph.eliminate_dead_code()
        graph.recompile()
        return graph

    def _loss(self, theta_T: Tensor, batch: Batch, buffers: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return one network's loss, and its buffers afterwards."""
        new = {name: buffer.clone() for name, buffer in zip(self.buffers, buffers, strict=True)}
        tensors = self.seen(theta_T) | new
        state = {name: tensors[self.owner[name]] for name in self.places if self.owner[name] in tensors}
        bfloat16 = self.ctx.precision == "bfloat16"

        def network(*arguments: Any, **options: Any) -> Any:
            return functional_call(self.model, state, arguments, options, tie_weights=False)

        layers = JointLayers() if self.cpu and not bfloat16 else steady_attention(self.ctx.device)
        with (
            enough_for_batch_norm(self.what),
            layers,
            merged_weights(*CONVOLUTIONS),
            torch.autocast(self.ctx.device.type, torch.bfloat16, enabled=bfloat16, cache_enabled=False),
        ):
            return self.task.loss(network, batch), list(new.values())


def _why(error: Exception) -> str:
    if "randomness" in str(error):
        return (
            "collect: the network draws random numbers in training (dropout or the like), which would depend on the "
            "networks beside it; set its rate to 0, or train the networks one by one and use the collector 'folder'"
        )
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return (
        f"collect: networks of this architecture cannot be trained together ({reason}); "
        "train them one by one and use the collector 'folder'"
    )
