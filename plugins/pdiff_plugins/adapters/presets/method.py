"""Text-to-LoRA as a method: one perceptron that is asked for each layer's adapter by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff_plugins.conditions.generated.methods import ByTask

if TYPE_CHECKING:
    from torch import nn

    from pdiff.components import Ahead
    from pdiff.zoo import Layout


class TextToLora(ByTask):
    """Adapters from a condition, layer by layer, by one perceptron.

    It is told the condition, which layer, and which kind of it: names that differ in numbers alone are one kind. Each
    kind has a linear head for both factors; or for either, told which; or for one row of either, told which. It begins
    with the base network, and adds to it in units of each tensor's spread between checkpoints. The sizes of the paper
    are presets. Adapters alone are written: biases that are selected beside them are a linear map of the condition.
    """

    name = "text_to_lora"
    source: ClassVar[str] = (
        "Charakorn et al. 2025, Text-to-LoRA, arXiv 2506.06105, section 3 and figure 2; its code (8ba7749) for the "
        "order of layers; without dropout"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "text_to_lora_l": {"heads": "layer"}, "text_to_lora_m": {"heads": "factor"}, "text_to_lora_s": {"heads": "row"},
    }  # fmt: skip
    loss: Literal["task", "weights"] = Field(
        "task", description="the tasks' loss on training examples, or squared error to the zoo's normalised weights"
    )
    heads: Literal["layer", "factor", "row"] = Field(
        "layer", description="what a head writes at once: both factors of a layer, one of them, or one row of one"
    )
    latent: int = Field(128, ge=4, multiple_of=4, description="width of what is told: half of it the condition")
    head_width: int = Field(512, gt=0, description="numbers that a head reads")
    lr: float = Field(1e-3, gt=0, description="learning rate of AdamW, to zero along a cosine")

    @property
    def by_task(self) -> bool:
        return self.loss == "task"

    def foresee(self, ahead: Ahead) -> None:
        if not ahead.recipe.selector.extends:
            ahead.lacks(f"method {self.name}: writes adapters of layers; use selector.name = 'lora'")
        super().foresee(ahead)

    def module(self, condition_dim: int, layout: Layout) -> nn.Module:
        """See `ByTask.module`. Raises UserError where the selection holds no adapters."""
        from pdiff_plugins.adapters.presets.text_to_lora import LayerByLayer

        return LayerByLayer(condition_dim, layout, self.heads, self.latent, self.head_width)
