"""How the base network is trained, as its recipe's table says."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pdiff.components.base import Table


class Train(Table):
    """How the base network is trained; without this table it is used as built (or as loaded)."""

    epochs: int = Field(0, ge=0, description="passes over the train split; 0 keeps the network as built or loaded")
    lr: float = Field(1e-3, gt=0, description="learning rate, at the start")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay (L2 for sgd)")
    batch_size: int = Field(128, gt=0, description="examples per step")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd has momentum 0.9")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="cosine falls to 0 epoch by epoch")
    keep: Literal["best", "last", "average"] = Field(
        "best",
        description="epoch kept; best on the selection split; average: instead of any epoch, the moving average of "
        "the weights (decay 0.999) at the end, and no epoch is scored",
    )
