"""Alignment: the permutation of each checkpoint's units that brings it nearest to a reference (git re-basin)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.symmetry import Symmetry, expanded
from pdiff.zoo import Zoo

ROUNDS = 100
GAIN = 1e-9
"""Share of the similarity that a round must add."""


def align(zoo: Zoo, model: nn.Module, inputs: Tensor, ctx: Context) -> Tensor:
    """Return theta_ND, each checkpoint's units in the order that is nearest to the first one's; the anchor's too.

    Only permutations that touch nothing but selected entries are used. Raises UserError where there are none.
    """
    symmetry = Symmetry.of(model, inputs).within(zoo.layout.keys)
    if not symmetry.sizes:
        raise UserError(
            "zoo.align: no hidden units can be reordered within the selected entries alone; select whole layers and "
            "those that read them (selector 'entire')"
        )
    reference, *others = (zoo.layout.tensors(theta_D) for theta_D in zoo.theta_ND)
    generator, rows = ctx.generator("align"), [zoo.theta_ND[0]]
    zoo.anchor |= aligned(symmetry, reference, {key: zoo.anchor[key] for key in zoo.layout.keys}, generator)
    with ctx.progress.step("align", len(others)) as bar:
        for state in others:
            rows.append(zoo.layout.vector(aligned(symmetry, reference, state, generator)))
            bar.advance()
    return torch.stack(rows)


def match(
    symmetry: Symmetry, reference: Mapping[str, Tensor], state: Mapping[str, Tensor], generator: torch.Generator
) -> list[Tensor]:
    """Return the permutations of `state` that maximise its inner product with the reference.

    Coordinate descent: each permutation in turn, in random order, by linear assignment, until nothing is gained
    (Ainsworth et al. 2023, arXiv 2209.04836, algorithm 1). It finds a local optimum.
    """
    from scipy.optimize import linear_sum_assignment

    using = [
        [(key, axis) for key, labels in symmetry.axes.items() if key in state
         for axis, label in enumerate(labels) if label is not None and label[0] == own]
        for own in range(len(symmetry.sizes))
    ]  # fmt: skip
    found = symmetry.identity()
    best = _product(symmetry, reference, state, found)
    for _ in range(ROUNDS):
        before = best
        for own in torch.randperm(len(symmetry.sizes), generator=generator).tolist():
            similarity = _similarity(symmetry, reference, state, found, own, using[own])
            tried = list(found)
            tried[own] = torch.from_numpy(linear_sum_assignment(similarity.numpy(), maximize=True)[1])
            product = _product(symmetry, reference, state, tried)
            if product > best:  # with a permutation on two axes of a tensor the assignment is no sure gain
                found, best = tried, product
        if best <= before + GAIN * abs(before):
            break
    return found


def _product(
    symmetry: Symmetry, reference: Mapping[str, Tensor], state: Mapping[str, Tensor], found: list[Tensor]
) -> float:
    moved = symmetry.permuted(state, found)
    return sum(float((reference[key].double() * value.double()).sum()) for key, value in moved.items())


def _similarity(
    symmetry: Symmetry, reference: Mapping[str, Tensor], state: Mapping[str, Tensor], found: list[Tensor], own: int,
    using: list[tuple[str, int]],
) -> Tensor:  # fmt: skip
    """Return what it adds to put unit j of `state` in the place of unit i, `[n, n]` in float64."""
    size = symmetry.sizes[own]
    total = torch.zeros(size, size, dtype=torch.float64)
    for key, axis in using:
        value = symmetry.entry(key, state[key], found, but=own)
        for other, label in enumerate(symmetry.axes[key]):
            if other != axis and label is not None and label[0] == own:  # the same permutation on two axes
                value = value.index_select(other, expanded(found[own], label[1]))
        ours, theirs = (side.movedim(axis, 0).reshape(size, -1).double() for side in (reference[key], value))
        total += ours @ theirs.T
    return total


def aligned(
    symmetry: Symmetry, reference: Mapping[str, Tensor], state: Mapping[str, Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    """Return `state` with its units in the order that is nearest to the reference's."""
    return symmetry.permuted(state, match(symmetry, reference, state, generator))
