"""G.pt: ask for a metric, get a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pdiff.components import CONTENT, Generator, Method
from pdiff_plugins.backbones.transformers import check_heads
from pdiff_plugins.latent.options import Learn, check_sampling

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Zoo


PAPER = {
    "tokens": "chunk_within_layer", "waves": 128, "octaves": 14.0, "raw_scalars": True, "augment": True, "lr": 4e-4,
    "weight_decay": 0.1, "ema": 0.9999, "sampling_steps": 0,
}  # fmt: skip
"""What the authors' configurations share."""


class Gpt(Method):
    """G.pt: from a network and the metric wanted of it to its next parameters.

    A diffusion transformer is given the present parameters, their metric and the one wanted. It learns from pairs of
    checkpoints of one run, the second later in training. What the network is for, where the recipe has an [encoder],
    is given beside the prompt. `gpt` has one token per hidden unit; the paper's tokens,
    sizes and training are `gpt_mnist`, `gpt_cifar10` and `gpt_cartpole`, which ask for a GPU.
    """

    name = "gpt"
    source: ClassVar[str] = "Peebles et al. 2022, Learning to Learn with Generative Models of Neural Network "\
        "Checkpoints, arXiv 2209.12892, and the authors' code"  # fmt: skip
    sampling: ClassVar[tuple[str, ...]] = ("prompt", "start", "recursive", "sampler", "sampling_steps")
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "gpt_mnist": PAPER | {
            "chunk": 1000, "width": 1536, "depth": 12, "heads": 16, "steps": 178_000, "batch_size": 1024, "clip": 0.75,
            "warmup": 445,
        },
        "gpt_cifar10": PAPER | {
            "chunk": 576, "width": 2048, "depth": 12, "heads": 16, "steps": 1_490_000, "batch_size": 550, "clip": 0.1,
            "warmup": 495,
        },
        "gpt_cartpole": PAPER | {
            "tokens": "layer", "metric": "return", "width": 1536, "depth": 12, "heads": 12, "steps": 186_000,
            "batch_size": 8192, "lr": 2e-4, "clip": 0.0, "warmup": 930,
        },
    }  # fmt: skip
    metric: str = Field("loss", min_length=1, description="measure of the task that a prompt names")
    tokens: Literal["neuron", "chunk_within_layer", "layer", "flat"] = Field(
        "neuron", description="what is a token: a hidden unit, or a piece of an entry, an entry, a piece of the vector"
    )
    chunk: int = Field(1000, gt=0, description="longest token of chunk_within_layer and flat")
    width: int = Field(96, gt=1, description="width of the blocks, a multiple of heads")
    depth: int = Field(3, gt=0, description="blocks")
    heads: int = Field(4, gt=0, description="heads of the attention")
    waves: int = Field(32, gt=1, description="frequencies at which a scalar is shown")
    octaves: float = Field(6.0, gt=0, description="the frequencies go from 1 to 2 to the power of it")
    raw_scalars: bool = Field(
        False, description="show the step's number and metrics as they are (the paper), not the step's share of T and "
        "metrics in standard deviations of the zoo"
    )  # fmt: skip
    augment: bool = Field(
        False, description="reorder hidden units at random in training; tokens of one hidden layer's units need it not"
    )
    steps: int = Field(3000, gt=0, description="training steps")
    batch_size: int = Field(128, gt=0, description="pairs per step")
    lr: float = Field(1e-3, gt=0, description="largest learning rate of AdamW, to zero along a cosine")
    warmup: int = Field(100, ge=0, description="steps in which the learning rate rises")
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW")
    clip: float = Field(1.0, ge=0, description="largest norm of the gradient; 0: any")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged network that samples; 0: none")
    timesteps: int = Field(1000, gt=0, le=100_000, description="length T of the chain, linear from 1e-4 to 0.02")
    sampler: Literal["ddpm", "ddim"] = Field("ddpm", description="ancestral or deterministic sampling")
    sampling_steps: int = Field(100, ge=0, description="steps when sampling; 0: all T")
    prompt: dict[str, float] = Field({}, description="what is asked for, e.g. { loss = 0.2 }; nothing: the zoo's best")
    start: str = Field(
        "",
        json_schema_extra=CONTENT,
        description="where from: a .safetensors or .pt file, init:SEED, or nothing: each at a new initialisation",
    )
    recursive: int = Field(1, gt=0, description="prompt so many times; a network that comes no nearer is left as it is")

    condition: Learn = True

    @model_validator(mode="after")
    def _sound(self) -> Gpt:
        check_heads(self.width, self.heads)
        if self.prompt and list(self.prompt) != [self.metric]:
            raise PydanticCustomError(
                "prompt",
                "prompt asks for {asked}, but metric = {metric} is what networks are asked for; prompt that alone",
                {"asked": ", ".join(self.prompt), "metric": repr(self.metric)},
            )
        check_sampling(self.sampling_steps, self.timesteps)
        if self.start.startswith("init:") and not self.start[5:].isdecimal():
            raise PydanticCustomError("start", "start = {s} has no seed; write init:0", {"s": repr(self.start)})
        return self

    def asked(self) -> dict[str, float]:
        return dict(self.prompt)

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.gpt.training import fit

        return fit(self, zoo, bench, ctx)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.gpt.training import load

        return load(self, tensors, zoo)
