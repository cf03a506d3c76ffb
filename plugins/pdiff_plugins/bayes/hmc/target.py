"""The posterior of many networks' parameters at once, and its gradient. C chains, D parameters, B examples.

Coordinates x are parameters in deviations of their prior, so that this is a standard Gaussian.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import one_hot
from torch.utils import _pytree as pytree

from pdiff.components import Family
from pdiff.data import evaluation_batches
from pdiff.errors import UserError
from pdiff.objective import Objective
from pdiff.zoo import Layout
from pdiff_plugins.bayes.hmc.layers import ExamplesInnermost
from pdiff_plugins.bayes.likelihood import odd_loss
from pdiff_plugins.collectors.seeds.layers import DECOMPOSED, JointLayers

MOST = 10_000
"""Parameters up to which chains have a chance."""
EXAMPLES = 4096
"""That are computed at a time."""
INSTEAD = "leave hmc out, or take 'deep_ensemble'"

Graph = Callable[..., tuple[Tensor, Tensor]]


class Target:
    """Minus the logarithm of the posterior; called with x_CD it gives `[C]` and its gradient `[C, D]`.

    Log-probabilities of targets are taken by a product with their places, whose gradient lies as layers have it.
    """

    def __init__(self, objective: Objective, deviation_D: Tensor, chains: int, device: torch.device):
        """Trace the gradient for so many chains. Raises UserError for networks that vmap cannot take."""
        self.objective, self.deviation_D = objective, deviation_D.to(device)
        self.batches, self.graphs = list[list[Tensor]](), dict[int, Graph]()
        begin_CD = torch.zeros(chains, len(deviation_D), device=device)
        for batch in evaluation_batches(objective.split, EXAMPLES, device):
            inputs, form = pytree.tree_flatten(batch.inputs)
            classes = self._row(self.theta(begin_CD[0]), batch.inputs).shape[1]
            places_BK = one_hot(batch.targets.long(), classes).float().T.contiguous().T
            self.batches.append([places_BK, *inputs])
            if len(places_BK) not in self.graphs:
                self.graphs[len(places_BK)] = self._trace(form, begin_CD, self.batches[-1])

    def __call__(self, x_CD: Tensor) -> tuple[Tensor, Tensor]:
        potential_C, gradient_CD = x_CD.square().sum(dim=1) / 2, x_CD
        for tensors in self.batches:
            loss_C, slope_CD = self.graphs[len(tensors[0])](x_CD, *tensors)
            potential_C, gradient_CD = potential_C + loss_C, gradient_CD + slope_CD
        return potential_C, gradient_CD

    def theta(self, x_CD: Tensor) -> Tensor:
        """Return the networks theta_CD at these coordinates."""
        return x_CD * self.deviation_D

    def _row(self, theta_D: Tensor, inputs: Any) -> Tensor:
        """Return a network's log-probabilities of classes `[B, K]`."""
        logp_1BK = self.objective.log_probabilities(theta_D[None], inputs)
        assert logp_1BK is not None  # as was checked
        return logp_1BK[0]

    def _trace(self, form: Any, x_CD: Tensor, tensors: list[Tensor]) -> Graph:
        """Return (x_CD, places_BK, *inputs) -> (the targets' cross-entropy, summed, `[C]`; its gradient `[C, D]`)."""
        cpu = x_CD.device.type == "cpu"

        def losses(x_CD: Tensor, places_BK: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
            inputs = pytree.tree_unflatten(list(tensors), form)
            with joint_layers(cpu):
                loss_C = vmap(lambda theta_D: -(self._row(theta_D, inputs) * places_BK).sum())(self.theta(x_CD))
            return loss_C.sum(), loss_C

        def both(x_CD: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
            gradient_CD, loss_C = grad(losses, has_aux=True)(x_CD, *tensors)
            return loss_C, gradient_CD

        try:
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # of the fused one vmap takes network after network
                graph = make_fx(both, decomposition_table=DECOMPOSED if cpu else None)(x_CD, *tensors)
        except Exception as error:  # tracing runs the author's code, which can fail in any way
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(f"hmc: these networks cannot be computed together ({reason}); {INSTEAD}") from error
        graph.graph.eliminate_dead_code()
        graph.recompile()
        return graph


@contextlib.contextmanager
def joint_layers(cpu: bool) -> Iterator[None]:
    """Within it, on a CPU, layers of all networks are computed as one where that is known how."""
    with contextlib.ExitStack() as modes:
        for mode in (JointLayers, ExamplesInnermost) if cpu else ():
            modes.enter_context(mode())
        yield


def deviations(layout: Layout, deviation: float, by_inputs: bool) -> Tensor:
    """Return the prior's standard deviation of each parameter, `[D]`; a weight's inputs are all sides but its first."""
    inputs = [math.prod(entry.shape[1:]) if by_inputs else 1 for entry in layout.entries]
    return layout.per_entry([deviation / math.sqrt(count) for count in inputs])


def check(objective: Objective, layout: Layout) -> None:
    """Raise UserError for networks and tasks that have no posterior, or none that chains come to an end with."""
    model, task = objective.model, objective.task
    if layout.dim > MOST:
        raise UserError(
            f"hmc: {layout.dim:,} parameters are selected, and chains of more than {MOST:,} do not come to one "
            f"distribution in reasonable time; select fewer, {INSTEAD}"
        )
    buffers = sorted({name for name, _ in model.named_buffers(remove_duplicate=False)} & set(layout.keys))
    if buffers:
        raise UserError(
            f"hmc: {buffers[0]!r} is selected, which has no derivative (running statistics and the like have no "
            f"posterior); leave it out of the selection, or {INSTEAD}"
        )
    if any(isinstance(layer, torch.nn.modules.dropout._DropoutNd) and layer.p > 0 for layer in model.modules()):
        raise UserError(
            f"hmc: the network has dropout, and a likelihood is of parameters alone; set its rate to 0, or {INSTEAD}"
        )
    if isinstance(task, Family):
        raise UserError(f"hmc: of task {task.name} each network has its own; {INSTEAD}")
    if odd := odd_loss(objective, "hmc", INSTEAD):
        raise UserError(
            f"hmc: the loss of task {task.name} ({odd[0]:.4g}) is not the cross-entropy of its log-probabilities "
            f"({odd[1]:.4g}), as a likelihood is; set label_smoothing and weights of classes to none, or {INSTEAD}"
        )
