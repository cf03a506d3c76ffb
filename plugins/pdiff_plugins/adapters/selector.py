"""The selector that adds adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import Selector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


class Lora(Selector):
    """Low-rank adapters: y = layer(x) + alpha / rank * B(A(x)), of linear and convolutional layers.

    A begins at random and B at zero, so that the network begins as it was; all else of it is frozen.
    """

    name = "lora"
    source: ClassVar[str] = "Hu et al. 2021, LoRA, arXiv 2106.09685; names of entries as in the library peft"
    extends: ClassVar[bool] = True
    rank: int = Field(4, gt=0, description="rank of B A")
    alpha: float = Field(0.0, ge=0, description="B A is added alpha / rank times; 0: once")
    targets: tuple[str, ...] = Field(
        ("*",), min_length=1, description="globs of names of layers; one without a dot is of the last part of a name"
    )
    exclude: tuple[str, ...] = Field((), description="globs of names of layers that have none")
    biases: bool = Field(False, description="with the biases of these layers, which are added to as they are")

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / self.rank if self.alpha else 1.0

    def extend(self, model: nn.Module) -> None:
        """See `Selector.extend`."""
        from pdiff_plugins.adapters.layers import adapt, chosen

        for name in chosen(model, self.targets, self.exclude):
            adapt(model.get_submodule(name), name, self.rank, self.scale)

    def select(self, model: nn.Module) -> list[str]:
        from pdiff_plugins.adapters.layers import adapted

        layers = set(adapted(model))
        ends = ("lora_A.weight", "lora_B.weight", *(("bias",) if self.biases else ()))
        wanted = {f"{name}.{end}" for name in layers for end in ends}
        return [key for key in model.state_dict() if key in wanted]

    def plain(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Selector.plain`."""
        from pdiff_plugins.adapters.layers import merged

        return merged(state, self.scale)
