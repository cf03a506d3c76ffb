"""Adapters: populations and joint training against merged weights W + B A.

    python benchmarks/adapters.py [--device cuda] [--only vit_tiny] [--networks 16]

Populations: pdiff's way against merged networks one after the other, each over the whole split; `first` with what
finding the way takes, `again` another population on the same images. Joint: losses and gradients of all adapters on
batches of their own, by `TaskLosses`, against the same with weights W + B A formed outside. Times are of the CPU, which
other programs disturb less; on a GPU by the clock.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Sequence

import torch
from common import add_device, finish, header
from torch import Tensor, nn

from pdiff.context import Context
from pdiff.data import Batch, TensorSplit, evaluation_batches
from pdiff.engine.bench import predictor_of
from pdiff.objective import Objective
from pdiff.plugins.discovery import registry
from pdiff.running.device import device_for, placed
from pdiff.training.loop import threads_for
from pdiff.zoo import Layout
from pdiff_plugins.adapters.factors import pairs
from pdiff_plugins.adapters.selector import Lora
from pdiff_plugins.collectors.tasks.joint import TaskLosses
from pdiff_plugins.images.classification import Classification

LAST = tuple(f"blocks.{block}.attn.{layer}" for block in (10, 11) for layer in ("qkv", "proj"))
CASES = [  # architecture, its options, images, targets, examples of a population, batch of a network
    ("mlp", {"hidden": [64, 32]}, (1, 14, 14), ("*",), 60000, 32),
    ("strided_cnn", {"channels": [8, 16], "hidden": [64]}, (1, 14, 14), ("*",), 60000, 32),
    ("vit_tiny", {}, (3, 64, 64), LAST, 256, 4),
]  # fmt: skip
ROUNDS = 3


def seconds(work: Callable[[], object], device: torch.device, rounds: int = ROUNDS) -> float:
    """Return how long the quickest of some rounds takes."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    least = float("inf")
    for _ in range(rounds):
        finish(device)
        start = clock()
        work()
        finish(device)
        least = min(least, clock() - start)
    return least


class Case:
    """A plain network, the same with adapters, and vectors of adapters."""

    def __init__(
        self, name: str, options: dict, shape: tuple[int, ...], targets: tuple[str, ...], networks: int, device
    ):
        found, values = registry().find("architecture", name)
        torch.manual_seed(0)
        plain = found(**values | options).build(input_shape=shape, outputs=10)
        self.lora, self.shape, self.ctx = Lora(rank=4, targets=targets), shape, Context(seed=0, device=device)
        model = copy.deepcopy(plain)
        self.lora.extend(model)
        self.plain, self.model = placed(plain, device).eval(), placed(model, device).eval()
        self.layout = Layout.of(model, self.lora.select(model))
        base_D = self.layout.vector(model.state_dict())
        self.theta_MD = base_D + 0.02 * torch.randn(networks, self.layout.dim)
        keys = {f"{pair.module}.weight" for pair in pairs(self.layout)}
        self.weights = Layout.of(plain, [key for key in plain.state_dict() if key in keys])

    def merged(self, theta_MD: Tensor) -> Tensor:
        """Return the weights of networks `[M, D]` of the plain network's layout, which can be differentiated."""
        state, parts = self.plain.state_dict(), {}
        for pair in pairs(self.layout):
            a_MRI, b_MOR = pair.split(theta_MD)
            key = f"{pair.module}.weight"
            parts[key] = state[key].flatten() + (b_MOR @ a_MRI).flatten(1)
        return torch.cat([parts[entry.key] for entry in self.weights.entries], dim=1)


def population(case: Case, examples: int) -> str:
    split = TensorSplit(torch.randn(examples, *case.shape), torch.zeros(examples, dtype=torch.long))
    weights_MD, ctx = case.merged(case.theta_MD.to(case.ctx.device)), case.ctx

    @torch.no_grad()
    def one_by_one() -> Tensor:
        rows = []
        with threads_for(case.plain, ctx.threads):
            for weights_D in weights_MD:
                case.plain.load_state_dict(case.weights.tensors(weights_D), strict=False)
                batches = evaluation_batches(split, ctx.batch_size, ctx.device)
                rows.append(torch.cat([case.plain(batch.inputs).argmax(dim=1) for batch in batches]))
        return torch.stack(rows).cpu()

    predictor = predictor_of(case.model, case.layout, Classification(), ctx)

    def together() -> Tensor:
        return predictor.predict(case.theta_MD, split, ctx, "population")

    differ = int((one_by_one() != together()).sum())
    predictor = predictor_of(case.model, case.layout, Classification(), ctx)
    slow, first, again = (seconds(work, ctx.device, 1) for work in (one_by_one, together, together))
    way = next((str(way) for _, way in predictor.chooser.known.values()), "whole, one at a time")
    return f"{slow:.2f} | {first:.2f}, {again:.2f} | {slow / first:.2f}, {slow / again:.2f} | {differ} | {way}"


def joint(case: Case, batch_size: int) -> str:
    device, count = case.ctx.device, len(case.theta_MD)
    batch = Batch(torch.randn(count, batch_size, *case.shape), torch.randint(10, (count, batch_size)))
    batch, theta_MD = Batch(*[values.to(device) for values in batch]), case.theta_MD.to(device)
    losses = [_losses(network, layout, case.ctx) for network, layout in (
        (case.model, case.layout), (case.plain, case.weights))]  # fmt: skip

    def factors() -> Tensor:
        return losses[0].gradients(theta_MD, batch)[0]

    def explicit() -> Tensor:
        leaf_MD = theta_MD.clone().requires_grad_()
        losses[1](case.merged(leaf_MD), batch).sum().backward()
        return leaf_MD.grad

    ours, theirs = factors(), explicit()
    far = float((ours - theirs).abs().max() / theirs.abs().max())
    quick, slow = seconds(factors, device), seconds(explicit, device)
    images = count * batch_size
    return f"{1e6 * slow / images:.3g} | {1e6 * quick / images:.3g} | {slow / quick:.2f} | {far:.0e}"


def _losses(network: nn.Module, layout: Layout, ctx: Context) -> TaskLosses:
    class Bench:
        objective = Objective(network, layout, Classification(), None)

    return TaskLosses(Bench(), ctx)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device(parser)
    parser.add_argument("--only", default="", help="names of architectures that contain this")
    parser.add_argument("--networks", type=int, default=16)
    options = parser.parse_args(arguments)
    device = device_for(options.device)
    columns = ("merged, one by one, s", "pdiff s: first, again", "ratio", "differ", "way")
    tables = [("population", columns), ("joint", ("W + B A, us an image", "pdiff", "ratio", "differ"))]
    for what, titles in tables:
        header(device, what, "networks", "adapted", *titles)
        for name, values, shape, targets, examples, batch in CASES:
            if options.only in name:
                case = Case(name, values, shape, targets, options.networks, device)
                told = population(case, examples) if what == "population" else joint(case, batch)
                print(f"| {name} | {options.networks} | {case.layout.dim} | {told} |", flush=True)
        print()


if __name__ == "__main__":
    main()
