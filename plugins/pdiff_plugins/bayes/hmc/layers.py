"""Linear layers of many networks on a CPU, for batches of all examples: these lie innermost.

With some thousand examples and few features, products are several times as quick so, and softmax over few classes is
too; examples that all networks have alike are multiplied once with all weights. Values are torch's but for rounding.

Shapes: G networks, B examples, F features, O outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from pdiff_plugins.collectors.seeds.functions import Joined


class ExamplesInnermost(TorchFunctionMode):
    """While active, under vmap, linear layers with a bias of each network's own are computed as here."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and not kwargs and len(args) == 3 and _is_layer(*args):
            return Joined.apply(Linear.apply, *args)
        return func(*args, **(kwargs or {}))


def _is_layer(x: Tensor, w: Tensor, b: Tensor | None) -> bool:
    """Return whether it is of rows, and weights are each network's own."""
    return x.ndim == 2 and b is not None and all(torch._C._functorch.is_batchedtensor(value) for value in (w, b))


class Linear(torch.autograd.Function):
    """x `[G, B, F]`, w `[G, O, F]`, b `[G, O]` -> `[G, B, O]`, whose B lies innermost."""

    @staticmethod
    def forward(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        if x.stride(0) == 0:
            y = torch.addmm(b.reshape(-1, 1), w.flatten(0, 1), x[0].T).unflatten(0, w.shape[:2])
        else:
            y = torch.baddbmm(b[:, :, None], w, x.mT)
        return y.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, w = ctx.saved_tensors
        turned = gradient.mT.contiguous()  # [G, O, B]
        dx = torch.bmm(w.mT, turned).mT if ctx.needs_input_grad[0] else None
        alike = x.stride(0) == 0
        dw = (turned.flatten(0, 1) @ x[0]).unflatten(0, w.shape[:2]) if alike else torch.bmm(turned, x)
        return dx, dw, turned.sum(2)
