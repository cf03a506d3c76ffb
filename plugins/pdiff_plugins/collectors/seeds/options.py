"""What collectors share that train many networks together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pdiff.components import NEVER, Collector


class TrainedTogether(Collector):
    """How networks are trained together; itself no collector."""

    steps: int = Field(gt=0, examples=[1000], description="training steps of each network")
    lr: float = Field(gt=0, examples=[1e-3], description="learning rate at the first step")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay (L2 for adam and sgd)")
    batch_size: int = Field(128, gt=0, description="examples per step and network")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd has momentum 0.9")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="cosine falls to 0 step by step")
    augment: bool = Field(False, description="with the training transform, drawn for each run by itself")
    group: int = Field(
        64,
        gt=0,
        description="networks in memory at a time, about: on a CPU whole blocks of 8 to 64",
        json_schema_extra=NEVER,
    )
