"""How much the layers of a network compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def layer_outputs(model: nn.Module, run: Callable[[], Any], size: Callable[[Tensor], int]) -> int:
    """Return the sum of `size` over all tensors that the model's layers give while `run` runs it."""
    total = 0

    def add(module: nn.Module, arguments: Any, output: Any) -> None:
        nonlocal total
        total += sum(size(leaf) for leaf in tree_leaves(output) if isinstance(leaf, Tensor))

    layers = [module for module in model.modules() if not any(True for _ in module.children())]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return total
