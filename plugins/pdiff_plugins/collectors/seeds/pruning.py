"""Iterative magnitude pruning of many networks: train, cut the smallest weights, go back, train again.

Shapes: R runs, D selected parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pdiff_plugins.bits import masks
from pdiff_plugins.collectors.seeds.training import JointTraining

if TYPE_CHECKING:
    from pdiff.zoo import Layout
    from pdiff_plugins.collectors.seeds.collector import Seeds

AT_ONCE = 64
"""Networks whose weights are compared at a time."""


def prune(training: JointTraining, options: Seeds) -> None:
    """Let a training keep few weights: those that rounds of others leave (Frankle and Carbin 2019, arXiv 1803.03635).

    In every round the networks are trained as the training itself will be, with all bits, and the smallest weights of
    all matrices together are cut, so that after the last round `options.keep` of them are left. With shared masks it
    is the first run alone, whose mask all have.
    """
    count = training.count if options.masks == "own" else 1
    own, layout = training.start, training.network.layout
    start, mask_RD = own, None
    for number in range(1, options.rounds + 1):
        snapshot = training.ctx.snapshot.scope(f"round{number}")
        trained = JointTraining(
            options, count, [options.steps], start, training.network.model, training.examples, training.network.task,
            layout, training.ctx.replace(snapshot=snapshot), f"round {number} of {options.rounds}", training.factor,
        )  # fmt: skip
        trained.mask_RD = mask_RD
        theta_RD = trained.run()[0][:, -1]
        mask_RD = smallest_cut(theta_RD, layout, options.keep ** (number / options.rounds))
        start = own if options.rewind else going_on(own, theta_RD, layout)
    training.mask_RD = mask_RD
    training.start = start if count > 1 else own


def smallest_cut(theta_RD: Tensor, layout: Layout, keep: float) -> Tensor:
    """Return masks, bool `[R, D]`, without the smallest weights of each network."""
    return torch.cat([masks.largest(some.abs(), layout, keep) for some in theta_RD.split(AT_ONCE)])


def going_on(own: Callable[[int], nn.Module], theta_RD: Tensor, layout: Layout) -> Callable[[int], nn.Module]:
    """Return what gives the network that a run was trained to be; those that fill a block begin as the last."""

    def start(run: int) -> nn.Module:
        model = copy.deepcopy(own(run))
        model.load_state_dict(layout.tensors(theta_RD[min(run, len(theta_RD) - 1)]), strict=False)
        return model

    return start
