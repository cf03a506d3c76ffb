"""Training and sampling of diffusion over units. N checkpoints, M networks, B of a step, D parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pdiff.bench import Bench
from pdiff.components import Generator
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.files import below
from pdiff.running.memory import in_chunks
from pdiff.training.loop import threads_for, train
from pdiff.zoo import Zoo
from pdiff.zoo import about as about_of
from pdiff_plugins.collectors.seeds.training import batches_of, ready
from pdiff_plugins.collectors.tasks.joint import TaskLosses
from pdiff_plugins.gpt.tokens import Kinds, by_neuron
from pdiff_plugins.maths import diffusion
from pdiff_plugins.maths.schedules import rising_cosine
from pdiff_plugins.symmetry.align import balanced, example
from pdiff_plugins.symmetry.graph import Graph
from pdiff_plugins.symmetry.scaling import Scaling
from pdiff_plugins.widths.method import UnitDiffusion
from pdiff_plugins.widths.net import UnitDenoiser
from pdiff_plugins.widths.units import LivingUnits

AT_ONCE = 2**21
"""Parameters denoised at a time; fixed, because rounding may depend on it."""
STILL = 1e-8
"""Deviation below which a number is the same in all units."""


class Drawn(Generator):
    """Fitted diffusion over units. Parameters are shifted by mean_D and divided by std_D, those of a kind alike."""

    def __init__(
        self, method: UnitDiffusion, zoo: Zoo, units: LivingUnits, network: UnitDenoiser, mean_D: Tensor, std_D: Tensor,
        facts: dict[str, Any] | None = None,
    ):  # fmt: skip
        super().__init__(facts=facts)
        self.method, self.zoo, self.units, self.network = method, zoo, units, network.eval()
        self.mean_D, self.std_D = mean_D, std_D
        self.conditional = zoo.condition_NC is not None

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        """Return networks of the widths asked for, or of as many as the zoo has of each. Raises UserError."""
        width_N = widths_of(self.zoo, self.units)
        if condition_MC is None or not self.conditional:
            width_M = width_N[torch.randint(len(width_N), (count,), generator=ctx.generator("widths"))]
        else:
            width_M = condition_MC[:, 0].round().long()
        theta_MD = torch.empty(count, self.zoo.layout.dim)
        for width in width_M.unique().tolist():
            of_width = width_M == width
            theta_MD[of_width] = self._of_width(width, int(of_width.sum()), ctx)
        return theta_MD

    @torch.no_grad()
    def _of_width(self, width: int, count: int, ctx: Context) -> Tensor:
        network, layout = self.network.to(ctx.device), self.zoo.layout
        mask_D, generator = self.units.mask(width), ctx.generator("sample", width)

        def denoise(z_MD: Tensor, t_M: Tensor) -> Tensor:
            def some(rows: Tensor) -> Tensor:
                return network(rows[:, :-1], rows[:, -1], width)

            return in_chunks(some, torch.cat([z_MD, t_M[:, None]], dim=1), max(1, AT_ONCE // layout.dim))

        z_MD = torch.randn(count, layout.dim, generator=generator).to(ctx.device)
        steps = self.method.sampling_steps if self.method.checkpoints else 1
        with threads_for(network, ctx.threads), ctx.progress.step(f"width {width}", steps) as bar:
            x_MD, _ = diffusion.sample(
                denoise, z_MD, schedule_of(self.method), prediction="x0", sampler=self.method.sampler, steps=steps,
                generator=generator, tell=bar.advance,
            )  # fmt: skip
        theta_MD = layout.from_free(x_MD.cpu() * self.std_D + self.mean_D)
        return torch.where(mask_D, theta_MD, 0.0)

    def tensors(self) -> dict[str, Tensor]:
        network = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        kinds = {f"kinds.{key}": value for key, value in self.network.kinds.tables().items()}
        return network | kinds | {"mean": self.mean_D, "std": self.std_D}


def schedule_of(method: UnitDiffusion) -> diffusion.Schedule:
    """Return how much noise there is at each step."""
    return diffusion.Schedule(kind="cosine", steps=method.timesteps)


def widths_of(zoo: Zoo, units: LivingUnits) -> Tensor:
    """Return the width of each checkpoint, `[N]`: the widest where a row says none."""
    return torch.tensor([int(about_of(row).get("width", units.widest)) for row in zoo.rows])


def fit(method: UnitDiffusion, zoo: Zoo, bench: Bench, ctx: Context) -> Drawn:
    """Train on networks of one width at a time. Raises UserError where units cannot be told, or the dead are not 0."""
    units = LivingUnits.of(bench, zoo.layout, "method units")
    width_N = widths_of(zoo, units)
    rows_of = {width: (width_N == width).nonzero()[:, 0] for width in width_N.unique().tolist()}
    _require_first(zoo, units, rows_of)
    kinds = by_neuron(zoo.layout, units.symmetry)
    x_ND = zoo.layout.to_free(_balanced(method, zoo, bench, ctx))
    mean_D, std_D = _moments(x_ND, kinds, units, width_N)
    torch.manual_seed(ctx.seed)
    network = _network(method, kinds, units).to(ctx.device).train()
    schedule, widths = schedule_of(method), list(rows_of)
    task_loss = _task_loss(method, zoo, bench, ctx, mean_D, std_D) if method.task else None
    masks = {width: units.mask(width).to(ctx.device) for width in widths}

    def draw(step: int, generator: torch.Generator) -> tuple[Any, ...]:
        width = widths[int(torch.randint(len(widths), (1,), generator=generator))]
        rows_B = rows_of[width][torch.randint(len(rows_of[width]), (method.batch_size,), generator=generator)]
        noisy = diffusion.draw(method.batch_size, zoo.layout.dim, schedule, generator)
        if not method.checkpoints:  # the end of the chain, where nothing but noise is left
            t_B, epsilon_BD, signal, noise = noisy
            noisy = torch.full_like(t_B, schedule.steps - 1), epsilon_BD, 0 * signal, 0 * noise + 1
        shape = (method.batch_size, method.task_examples) if task_loss else (0, 0)
        index_BE = torch.randint(len(bench.objective.split) if task_loss else 1, shape, generator=generator)
        return width, (x_ND[rows_B] - mean_D) / std_D, index_BE, *noisy

    def loss(width: int, x_BD: Tensor, index_BE: Tensor, *noisy: Tensor) -> Tensor:
        t_B, epsilon_BD, signal, noise = (value.to(ctx.device) for value in noisy)
        x_BD, mask_D = x_BD.to(ctx.device), masks[width]
        out_BD = network(signal * x_BD + noise * epsilon_BD, t_B, width)
        error = ((out_BD - x_BD).square() * mask_D).sum() / (mask_D.sum() * len(x_BD))
        if task_loss is None:
            return error
        asked = method.task * task_loss(out_BD, mask_D, index_BE)
        return error + asked if method.checkpoints else asked

    log = train(
        network, loss, steps=method.steps, ctx=ctx, what="units", lr=method.lr, weight_decay=method.weight_decay,
        schedule=rising_cosine(method.warmup, method.steps), clip=method.clip or None, ema=method.ema, draw=draw,
    )  # fmt: skip
    facts: dict[str, Any] = {
        "widths": widths, "checkpoints": len(zoo), "network parameters": sum(p.numel() for p in network.parameters()),
    }  # fmt: skip
    if method.task:
        facts["examples"] = method.steps * method.batch_size * method.task_examples
    if not method.checkpoints:
        facts["begins"] = "nothing"
    generator = Drawn(method, zoo, units, network, mean_D, std_D, facts)
    generator.log = log
    return generator


def load(method: UnitDiffusion, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench) -> Drawn:
    """Rebuild fitted diffusion over units."""
    units = LivingUnits.of(bench, zoo.layout, "method units")
    network = _network(method, Kinds.load(below(tensors, "kinds.")), units)
    network.load_state_dict(below(tensors, "network."))
    return Drawn(method, zoo, units, network, tensors["mean"], tensors["std"])


def _network(method: UnitDiffusion, kinds: Kinds, units: LivingUnits) -> UnitDenoiser:
    sizes = {key: getattr(method, key) for key in ("width", "depth", "heads", "positions", "timesteps")}
    return UnitDenoiser(kinds, units.mask, widest=units.widest, **sizes)


def _require_first(zoo: Zoo, units: LivingUnits, rows_of: dict[int, Tensor]) -> None:
    """Raise UserError where a network's living units are not the first ones."""
    for width, rows in rows_of.items():
        if bool((zoo.theta_ND[rows] * ~units.mask(width)).any()):
            raise UserError(
                f"method units: checkpoints of width {width} have weights where their units are dead; leave out steps "
                "that reorder units, such as align and permuted, or collect them by 'widths'"
            )


def _balanced(method: UnitDiffusion, zoo: Zoo, bench: Bench, ctx: Context) -> Tensor:
    """Return the checkpoints, their units in canonical scales where those can be."""
    if not method.balance:
        return zoo.theta_ND
    scaling = Scaling.in_graph(Graph.of(bench.build(0), example(bench)), zoo.layout.keys, norms=False)
    if not scaling.units:
        return zoo.theta_ND
    return balanced(zoo.theta_ND, scaling, scaling.lengths(zoo.theta_ND[0], zoo.layout), zoo.layout, ctx)


def _moments(x_ND: Tensor, kinds: Kinds, units: LivingUnits, width_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the deviation of each parameter over living units, `[D]`: the same of all units of a kind."""
    masks = {width: units.mask(width) for width in width_N.unique().tolist()}
    count_D = sum(int((width_N == width).sum()) * mask_D.double() for width, mask_D in masks.items())
    assert isinstance(count_D, Tensor)
    sums = kinds.split(x_ND.double().sum(dim=0)[None])
    squares, counts = kinds.split(x_ND.double().square().sum(dim=0)[None]), kinds.split(count_D[None])
    means, stds = [], []
    for sum_1US, square_1US, count_1US in zip(sums, squares, counts, strict=True):
        many_S = count_1US.sum(dim=1).clamp_min(1)
        mean_S = sum_1US.sum(dim=1) / many_S
        std_S = (square_1US.sum(dim=1) / many_S - mean_S.square()).clamp_min(0).sqrt()
        means.append(mean_S[:, None].expand_as(sum_1US))
        stds.append(torch.where(std_S > STILL, std_S, 1.0)[:, None].expand_as(sum_1US))
    return kinds.join(means)[0].float(), kinds.join(stds)[0].float()


def _task_loss(
    method: UnitDiffusion, zoo: Zoo, bench: Bench, ctx: Context, mean_D: Tensor, std_D: Tensor
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return the mean loss of denoised networks on training examples, given by their numbers `[B, E]`."""
    losses, layout = TaskLosses(bench, ctx), zoo.layout
    split = ready(bench.objective.split, ctx.device) or bench.objective.split
    mean_D, std_D = mean_D.to(ctx.device), std_D.to(ctx.device)

    def loss(x_BD: Tensor, mask_D: Tensor, index_BE: Tensor) -> Tensor:
        theta_BD = layout.from_free(x_BD * std_D + mean_D) * mask_D
        return losses(theta_BD, batches_of(split, index_BE, ctx.device)).mean()

    return loss
