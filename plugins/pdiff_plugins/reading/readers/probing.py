"""Reading by probes. N networks learnt, M read, P probes, O numbers that a network says of one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.objective import Objective
from pdiff_plugins.reading.learning import Told, learn
from pdiff_plugins.reading.nets.probing import Free, Generated, Prober, Says
from pdiff_plugins.symmetry.align import example

if TYPE_CHECKING:
    from pdiff_plugins.reading.readers.probes import ProbeReader

SAME = "use networks of the same inputs and outputs"
LEAST = math.exp(-8)
"""Of a probability whose logarithm is taken."""


@dataclass(frozen=True)
class ByProbes:
    """What was learnt from what networks say."""

    told: Told
    shape: tuple[int, ...]
    """Of one input."""
    outputs: int
    """Numbers that a network says of one."""

    @torch.no_grad()
    def read(self, theta_MD: Tensor, bench: Bench) -> Tensor:
        """See `Readout.read`."""
        shape, says = input_shape(bench), says_of(bench.objective)
        if shape != self.shape:
            ours, theirs = ("x".join(map(str, sides)) for sides in (self.shape, shape))
            raise UserError(f"reader probes: its probes are inputs of {ours}, and these networks read {theirs}; {SAME}")
        if not len(theta_MD):
            return torch.zeros(0, dtype=torch.float64)
        outputs = _outputs(says, theta_MD, shape, self.told.device)
        if outputs != self.outputs:
            raise UserError(
                f"reader probes: it learnt networks that say {self.outputs} numbers of an input, and these say "
                f"{outputs}; {SAME}"
            )

        def ask(member: Prober, theta_BD: Tensor) -> Tensor:
            return member.hear(says(theta_BD, member.probes()))

        return self.told.tell([theta_MD.float()], ask)


def learn_probes(options: ProbeReader, theta_ND: Tensor, value_N: Tensor, bench: Bench, ctx: Context) -> ByProbes:
    """Learn probes and what reads their answers. Raises UserError where inputs are no tensor of real numbers."""
    objective, shape, says = bench.objective, input_shape(bench), says_of(bench.objective)
    outputs = _outputs(says, theta_ND, shape, ctx.device)
    examples = None
    if options.start == "examples":
        examples = objective.batch(options.probes, ctx.generator("probes"), torch.device("cpu")).inputs

    def build() -> nn.Module:
        probes = Generated(options.probes, shape) if examples is None else Free(examples)
        return Prober(probes, says, options.probes * outputs, options.width)

    return ByProbes(learn(build, [theta_ND.float()], value_N, options, ctx), shape, outputs)


def _outputs(says: Says, theta_MD: Tensor, shape: tuple[int, ...], device: torch.device) -> int:
    """Return how many numbers the networks say of an input."""
    return says(theta_MD[:1].float().to(device), torch.zeros(1, *shape, device=device)).numel()


def input_shape(bench: Bench) -> tuple[int, ...]:
    """Return the shape of one input. Raises UserError where it is not one tensor of real numbers."""
    inputs = example(bench)
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        raise UserError(
            "reader probes: probes are learnt by gradients, and these networks do not read one tensor of real numbers; "
            "use 'neuron_transformer' or 'equivariant'"
        )
    return tuple(inputs.shape[1:])


def says_of(objective: Objective) -> Says:
    """Return what gives networks' answers, `[B, P, O]`: log-probabilities where there are classes, else outputs."""

    def says(theta_BD: Tensor, probes: Tensor) -> Tensor:
        if objective.log_probabilities(theta_BD[:1].detach(), probes[:1].detach()) is not None:
            return objective.probabilities(theta_BD, probes).clamp_min(LEAST).log()
        return objective.answers(theta_BD, probes).flatten(2).asinh()

    return says
