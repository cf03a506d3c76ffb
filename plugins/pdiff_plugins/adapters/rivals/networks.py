"""One adapter for all tasks, as a module that learns.

Shapes: B examples, C numbers of a condition, S outputs of layers that are shifted.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd

from pdiff.context import derive
from pdiff_plugins.conditions.generated.modules import LEAST

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.components import Family, Selector


class OneAdapter(nn.Module):
    """A frozen network with one adapter, which is worked into its weights before it is run, as it is quicker.

    Told conditions, a linear map of them is added to the outputs of all linear and convolutional layers, as a bias is;
    it begins with nothing.
    """

    def __init__(
        self, bench: Bench, family: Family, own: Any, times: int, condition_NC: Tensor | None, seed: int
    ):  # fmt: skip
        """`own`: the run's selector, of which the adapter has so many times the rank."""
        super().__init__()
        plain = bench.build(0, outputs=family.outputs(bench.classes))
        plain.load_state_dict(own.plain(bench.build(0).state_dict()))
        selector: Selector = own if times == 1 else own.widened(plain, times)
        extended = copy.deepcopy(plain)
        torch.manual_seed(derive(seed, "adapter"))
        selector.extend(extended)
        state = {key: value.detach() for key, value in extended.state_dict().items()}
        self.selector, self.names = selector, selector.select(extended)
        self.learnt = nn.ParameterList([state[name].clone() for name in self.names])
        self.frozen = {key: value for key, value in state.items() if key not in self.names}
        self.network = [plain.eval().requires_grad_(False)]  # in a list, it is no part of what is learnt and saved
        self.told = condition_NC is not None
        if condition_NC is not None:
            self._tell(condition_NC)

    def _tell(self, condition_NC: Tensor) -> None:
        std_C, mean_C = torch.std_mean(condition_NC, dim=0, correction=0)
        self.register_buffer("mean_C", mean_C)
        self.register_buffer("std_C", torch.where(std_C > LEAST, std_C, 1.0))
        start = 0
        for layer in self.network[0].modules():
            if isinstance(layer, nn.Linear | _ConvNd):
                count = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
                layer.register_forward_hook(self._shift(slice(start, start + count)))
                start += count
        self.shift = nn.Linear(condition_NC.shape[1], start)
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)

    def _shift(self, columns: slice) -> Any:
        """Return a hook that adds its part of what conditions say to a layer's outputs."""

        def hook(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            shift_BS = self.said_BS[:, columns].repeat_interleave(len(output) // len(self.said_BS), dim=0)
            if isinstance(layer, nn.Linear):
                return output + shift_BS.reshape(len(output), *[1] * (output.ndim - 2), -1)
            return output + shift_BS.reshape(len(output), -1, *[1] * (output.ndim - 2))

        return hook

    def to_device(self, device: torch.device) -> OneAdapter:
        """Move all of it."""
        self.to(device)
        self.network[0].to(device)
        self.frozen = {key: value.to(device) for key, value in self.frozen.items()}
        return self

    def forward(self, condition_BC: Tensor | None, *inputs: Any, **named: Any) -> Any:
        """`condition_BC`: of each example, or one for all."""
        if condition_BC is not None:
            mean_C, std_C = self.get_buffer("mean_C"), self.get_buffer("std_C")
            self.said_BS: Tensor = self.shift((condition_BC - mean_C) / std_C)
        state = self.selector.plain(self.frozen | dict(zip(self.names, self.learnt, strict=True)))
        return functional_call(self.network[0], state, inputs, named)
