"""The method that generates networks of any width, unit by unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pdiff.components import Generator, Method
from pdiff_plugins.backbones.transformers import check_heads
from pdiff_plugins.latent.options import check_sampling

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class UnitDiffusion(Method):
    """Diffusion over sets of hidden units: one generator for many widths.

    A token is a living hidden unit with all its weights, and one more what belongs to no unit. Tokens have no order,
    as units have none, so that any number of them can be drawn: a width is asked for as a condition, also one that no
    checkpoint has. Parameters of dead units are exactly 0.

    A weight between two hidden layers lies in the token of the unit that reads, in the order of those that are read:
    networks of several hidden layers have to begin alike (collector `widths`, start = "shared"), with `positions`.

    With `task` the denoised networks are also asked to do the task on training examples. It then learns from data as
    well as from checkpoints, as the facts of its fit say. `checkpoints = false` leaves the task alone, as a control: a
    network is made of noise in one step, and of checkpoints nothing is known but how wide each weight's spread is.
    """

    name = "units"
    source: ClassVar[str] = "tokens of hidden units: NNiT, arXiv 2603.00180; blocks: DiT, arXiv 2212.09748"
    sampling: ClassVar[tuple[str, ...]] = ("sampler", "sampling_steps")
    task: float = Field(0.0, ge=0, description="weight of the task's loss of denoised networks; 0: reads no example")
    checkpoints: bool = Field(True, description="learn from checkpoints; false: from the task alone")
    task_examples: int = Field(64, gt=0, description="training examples that each denoised network is asked about")
    balance: bool = Field(True, description="bring units to canonical scales first, where they can be rescaled")
    positions: bool = Field(
        False, description="tell units apart by their number, which says something where networks start alike"
    )
    width: int = Field(96, gt=1, description="width of the blocks, a multiple of heads")
    depth: int = Field(4, gt=0, description="blocks")
    heads: int = Field(4, gt=0, description="heads of the attention")
    steps: int = Field(2500, gt=0, description="training steps")
    batch_size: int = Field(64, gt=0, description="networks per step, all of one width")
    lr: float = Field(1e-3, gt=0, description="largest learning rate of AdamW, to zero along a cosine")
    warmup: int = Field(100, ge=0, description="steps in which the learning rate rises")
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW")
    clip: float = Field(1.0, ge=0, description="largest norm of the gradient; 0: any")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged network that samples; 0: none")
    timesteps: int = Field(1000, gt=0, le=100_000, description="length T of the chain, with the cosine schedule")
    sampler: Literal["ddpm", "ddim"] = Field("ddpm", description="ancestral or deterministic sampling")
    sampling_steps: int = Field(50, gt=0, description="steps when sampling")

    @model_validator(mode="after")
    def _sound(self) -> UnitDiffusion:
        check_heads(self.width, self.heads)
        check_sampling(self.sampling_steps, self.timesteps)
        return self

    @model_validator(mode="after")
    def _learns(self) -> UnitDiffusion:
        if not self.checkpoints and not self.task:
            raise PydanticCustomError("nothing", "checkpoints = false leaves the task to learn from; set task above 0")
        return self

    def variants(self) -> dict[str, Method]:
        """Return it by a label that says what it learns from, where that is not checkpoints alone."""
        more = " and task" if self.task and self.checkpoints else " of task alone" if self.task else ""
        return {f"{self.name}{more}": self}

    def foresee(self, ahead: Ahead) -> None:
        super().foresee(ahead)
        encoder = getattr(ahead.recipe, "encoder", None)
        if encoder is not None and encoder.name != "width":
            ahead.lacks(
                f"{ahead.key}: units is asked for a width, and encoder {encoder.name} tells none; write [encoder] "
                "name = 'width'"
            )

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.widths.training import fit

        return fit(self, zoo, bench, ctx)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.widths.training import load

        return load(self, tensors, zoo, bench)
