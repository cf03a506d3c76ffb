"""Alignment: every network's hidden units in the order that is nearest to a reference's (git re-basin)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.context import Context
from pdiff.data import Inputs
from pdiff.errors import UserError
from pdiff.mapped import Touched
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.symmetry.checks import INEXACT, is_exact, unknown_line, why_none
from pdiff_plugins.symmetry.graph import Graph
from pdiff_plugins.symmetry.matching import match
from pdiff_plugins.symmetry.permutations import Symmetry
from pdiff_plugins.symmetry.scaling import Scaling

NUMBERS = 2**24
"""Parameters that are held in float64 at a time."""


def symmetry_within(
    model: nn.Module, inputs: Inputs, layout: Layout, key: str, graph: Graph | None = None
) -> Symmetry:  # fmt: skip
    """Return the permutations that touch nothing but selected entries. Raises UserError where there are none.

    `graph`: of the network, where it has been traced already.
    """
    whole = Symmetry.in_graph(graph or Graph.of(model, inputs))
    symmetry = whole.within(layout.keys)
    if not symmetry.sizes:
        raise UserError(f"{key}: {why_none(whole, layout, model)}")
    if not is_exact(model, inputs, symmetry):
        raise UserError(f"{key}: {INEXACT}")
    return symmetry


def symmetry_of(bench: Bench, layout: Layout, key: str) -> Symmetry:
    """Return the permutations of a run's networks, as `symmetry_within` does."""
    return symmetry_within(bench.build(0), example(bench), layout, key)


def example(bench: Bench) -> Inputs:
    """Return two training examples' inputs."""
    split = bench.objective.split
    if not len(split):
        return torch.zeros(2, *bench.input_shape)
    return split.batch(torch.arange(2) % len(split), torch.device("cpu")).inputs


def aligned(
    theta_MD: Tensor, reference_D: Tensor, symmetry: Symmetry, layout: Layout, generator: torch.Generator
) -> Tensor:
    """Return theta_MD, each network's units in the order that is nearest to the reference's."""
    reference, rows = layout.tensors(reference_D.double()), []
    for theta_D in theta_MD.double():
        state = layout.tensors(theta_D)
        rows.append(layout.vector(symmetry.permuted(state, match(symmetry, reference, state, generator))))
    return torch.stack(rows) if rows else theta_MD


def _pairs(*thetas_MD: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the rows of several in step, and let go of what was read and written."""
    touched = Touched(*thetas_MD)
    for rows in zip(*thetas_MD, strict=True):
        yield rows
        touched(*rows)
    touched.end()


def align(zoo: Zoo, symmetry: Symmetry, ctx: Context) -> Zoo:
    """Return a zoo aligned to its first checkpoint: its anchor, its checkpoints and those held out."""
    generator, layout = ctx.generator("align"), zoo.layout
    reference = layout.tensors(zoo.theta_ND[0])
    selected = {key: zoo.anchor[key] for key in layout.keys}
    anchor = zoo.anchor | symmetry.permuted(selected, match(symmetry, reference, selected, generator))
    held_out = zoo.holdout.theta_ND if zoo.holdout else zoo.theta_ND[:0]
    theta_ND, theta_HD = ctx.empty(*zoo.theta_ND.shape), ctx.empty(*held_out.shape)
    theta_ND[0] = zoo.theta_ND[0]
    with ctx.progress.step("align", len(zoo) - 1 + len(held_out)) as bar:
        for theta_MD, into_MD in ((zoo.theta_ND[1:], theta_ND[1:]), (held_out, theta_HD)):
            for theta_D, into_D in _pairs(theta_MD, into_MD):
                into_D.copy_(aligned(theta_D[None], zoo.theta_ND[0], symmetry, layout, generator)[0])
                bar.advance()
    holdout = replace(zoo.holdout, theta_ND=theta_HD, anchor=anchor) if zoo.holdout else None
    return replace(zoo, theta_ND=theta_ND, anchor=anchor, holdout=holdout)


def scaling_of(bench: Bench, layout: Layout, key: str) -> Scaling:
    """Return the scales that change no function and nothing but selected entries. Raises UserError without any.

    Those before a LayerNorm are none of them: its eps is not rescaled.
    """
    graph = Graph.of(bench.build(0), example(bench))
    scaling = Scaling.in_graph(graph, layout.keys, norms=False)
    if scaling.units:
        return scaling
    if Scaling.in_graph(graph, list(graph.state), norms=False).units:
        raise UserError(
            f"{key}: no hidden units can be rescaled within the selected entries alone; leave it out, or select whole "
            "layers with ReLU behind them and those that read them (selector 'entire')"
        )
    raise UserError(
        f"{key}: no hidden units of this network can be rescaled, for which it needs ReLU, or BatchNorm, between its "
        "layers; leave it out"
    )


def balanced(theta_MD: Tensor, scaling: Scaling, longer_U: Tensor, layout: Layout, ctx: Context) -> Tensor:
    """Return theta_MD as `scaling` has them, some networks at a time."""
    out_MD, each = ctx.empty(*theta_MD.shape), max(1, NUMBERS // layout.dim)
    touched = Touched(theta_MD, out_MD)
    for part_MD, into_MD in zip(theta_MD.split(each), out_MD.split(each), strict=True):
        into_MD.copy_(scaling.balanced(part_MD, longer_U, layout))
        touched(part_MD, into_MD)
    touched.end()
    return out_MD


def balance(zoo: Zoo, scaling: Scaling, ctx: Context) -> Zoo:
    """Return a zoo whose networks have canonical scales: its anchor, its checkpoints and those held out."""
    longer_U = scaling.lengths(zoo.theta_ND[0], zoo.layout)

    def moved(theta_MD: Tensor) -> Tensor:
        return balanced(theta_MD, scaling, longer_U, zoo.layout, ctx)

    anchor = zoo.state_dict(moved(zoo.base[None])[0])
    holdout = replace(zoo.holdout, theta_ND=moved(zoo.holdout.theta_ND), anchor=anchor) if zoo.holdout else None
    return replace(zoo, theta_ND=moved(zoo.theta_ND), anchor=anchor, holdout=holdout)


def with_copies(
    zoo: Zoo, copies: int, symmetry: Symmetry, ctx: Context, scaling: Scaling | None = None, spread: float = 0.0
) -> Zoo:
    """Return a zoo with further copies of each checkpoint, their units in random orders: the same functions.

    With a scaling they also have random scales, whose logarithms have the standard deviation `spread`.
    """
    theta_ND, rows, layout = ctx.empty((1 + copies) * len(zoo), zoo.layout.dim), list(zoo.rows), zoo.layout
    each = theta_ND.split(len(zoo))
    for theta_D, into_D in _pairs(zoo.theta_ND, each[0]):
        into_D.copy_(theta_D)
    before = max((row.get("copy", 0) for row in zoo.rows), default=0)
    for copy, into_ND in enumerate(each[1:], before + 1):
        generator = ctx.generator("permuted", copy)
        log_NU = scaling.random(len(zoo), spread, generator) if scaling else torch.zeros(len(zoo), 0)
        for log_U, (theta_D, into_D) in zip(log_NU, _pairs(zoo.theta_ND, into_ND), strict=True):
            scaled_D = scaling.rescaled(theta_D[None], layout, log_U[None])[0] if scaling else theta_D
            into_D.copy_(layout.vector(symmetry.permuted(layout.tensors(scaled_D), symmetry.random(generator))))
        rows += [row | {"copy": copy} for row in zoo.rows]
    return replace(zoo, theta_ND=theta_ND, rows=rows)


def aligner(
    model: nn.Module, inputs: Inputs, layout: Layout, reference_D: Tensor, ctx: Context
) -> Callable[[Tensor, Tensor | None], Tensor] | None:
    """Return what `aligner_in` does; None, with a line that says so, where the network's graph does not tell."""
    try:
        graph = Graph.of(model, inputs)
    except UserError as error:
        ctx.warn(f"{error}; distances are taken as they are")
        return None
    whole = Symmetry.in_graph(graph)
    if unknown := [name for name, held in whole.unknown.items() if held <= set(layout.keys)]:
        ctx.warn(f"symmetry: {unknown_line(unknown)}")
    if not is_exact(model, inputs, whole.within(layout.keys)):
        ctx.warn(f"symmetry: {INEXACT}; distances are taken as they are")
        return None
    return aligner_in(graph, layout, reference_D, ctx)


def aligner_in(
    graph: Graph, layout: Layout, reference_D: Tensor, ctx: Context
) -> Callable[[Tensor, Tensor | None], Tensor] | None:
    """Return what brings theta_MD to canonical scales, and to the order of units that is nearest to a reference's.

    The reference is `reference_D` in its canonical scales, or of each network one of `to_MD`, which has been brought to
    these already. None where no units can be scaled or reordered.
    """
    symmetry = Symmetry.in_graph(graph).within(layout.keys)
    scaling = Scaling.in_graph(graph, layout.keys)
    if not symmetry.sizes and not scaling.units:
        return None
    longer_U = scaling.lengths(reference_D, layout)
    first_MD = scaling.balanced(reference_D[None], longer_U, layout)

    def each(theta_MD: Tensor, to_MD: Tensor | None) -> Tensor:
        """Align every network by itself, so that equal ones stay equal."""
        aligned_MD, theta_MD = ctx.empty(*theta_MD.shape), balanced(theta_MD, scaling, longer_U, layout, ctx)
        to_MD = first_MD.expand_as(theta_MD) if to_MD is None else to_MD
        for theta_D, to_D, into_D in _pairs(theta_MD, to_MD, aligned_MD):
            into_D.copy_(aligned(theta_D[None], to_D, symmetry, layout, ctx.generator("align"))[0])
        return aligned_MD

    return each
