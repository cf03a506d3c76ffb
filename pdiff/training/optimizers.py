"""Optimisers by name, and how their learning rate goes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer


def optimizer_for(name: str, parameters: list[Tensor], lr: float, weight_decay: float) -> Optimizer:
    """Return adamw, adam or sgd (momentum 0.9); on CUDA their steps can be captured in a graph."""
    cuda = parameters[0].is_cuda
    # As a tensor, so that a captured step reads the rate of the day.
    rate = torch.tensor(lr, device=parameters[0].device) if cuda else lr
    if name == "sgd":
        return SGD(parameters, lr=rate, momentum=0.9, weight_decay=weight_decay, fused=cuda or None)
    kind: type[Adam] = {"adamw": AdamW, "adam": Adam}[name]
    if any(parameter.is_complex() for parameter in parameters):  # which a fused step cannot take
        return kind(parameters, lr=rate, weight_decay=weight_decay, capturable=cuda)
    if not cuda:
        return kind(parameters, lr=lr, weight_decay=weight_decay, fused=True)
    return kind(parameters, lr=rate, weight_decay=weight_decay, fused=True, capturable=True)


def cosine(steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate that falls to 0 along a cosine, step by step."""
    return lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))


def constant(steps: int) -> Callable[[int], float]:
    """Return the factor 1."""
    return lambda step: 1.0


SCHEDULES: dict[str, Callable[[int], Callable[[int], float]]] = {"cosine": cosine, "constant": constant}
