"""Training and prompting of G.pt. N checkpoints, M networks, B pairs, D parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pdiff.bench import Bench
from pdiff.checkpoints.reading import load_state
from pdiff.components import Generator
from pdiff.context import Context, derive
from pdiff.errors import UserError
from pdiff.files import below
from pdiff.running.memory import in_chunks
from pdiff.training.capture import captured
from pdiff.training.loop import threads_for, train
from pdiff.zoo import Zoo
from pdiff_plugins.gpt.method import Gpt
from pdiff_plugins.gpt.net import PromptedTransformer
from pdiff_plugins.gpt.pairs import Pairs
from pdiff_plugins.gpt.tokens import Kinds, by_chunk, by_neuron, shuffled
from pdiff_plugins.latent import conditions
from pdiff_plugins.latent.conditions import Conditions
from pdiff_plugins.maths import diffusion
from pdiff_plugins.maths.schedules import rising_cosine
from pdiff_plugins.symmetry.align import symmetry_of
from pdiff_plugins.symmetry.permutations import Symmetry

DEVIATION = 0.538
"""Of all parameters once they are scaled (Peebles et al.: that of ImageNet's pixels in -1 .. 1)."""
AT_ONCE = 2**21
"""Parameters denoised at a time; fixed, because rounding may depend on it."""


class Prompted(Generator):
    """A fitted G.pt. `scale` multiplies parameters, `unit` divides metrics."""

    def __init__(
        self, method: Gpt, zoo: Zoo, network: PromptedTransformer, scale: float, unit: float, learnt: Conditions,
        facts: dict[str, Any] | None = None,
    ):  # fmt: skip
        super().__init__(facts=facts)
        self.method, self.zoo, self.network, self.metric = method, zoo, network.eval(), method.metric
        self.scale, self.unit, self.conditions, self.conditional = scale, unit, learnt, learnt.dim > 0
        self.schedule = diffusion.Schedule(steps=method.timesteps)

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        """Return networks from the starts that `start` names, prompted as `prompt` and `recursive` say."""
        wanted_M = torch.full((count,), self._wanted(), dtype=torch.float64)
        condition_MC = self.conditions.of(count, condition_MC, ctx.generator("conditions"))
        theta_MD = self._starts(count, bench, ctx)
        measure_M = bench.measure(theta_MD)[self.metric]
        self._tell_backwards(measure_M, ctx)
        for number in range(1, self.method.recursive + 1):
            new_MD = self._prompted(theta_MD, measure_M, wanted_M, condition_MC, ctx.scope(f"prompt {number}"))
            if self.method.recursive == 1:
                return new_MD
            new_M = bench.measure(new_MD)[self.metric]
            nearer_M = (new_M - wanted_M).abs() < (measure_M - wanted_M).abs()
            if not nearer_M.any():
                break
            theta_MD = torch.where(nearer_M[:, None], new_MD, theta_MD)
            measure_M = torch.where(nearer_M, new_M, measure_M)
        return theta_MD

    def _wanted(self) -> float:
        """Return what is asked for: the zoo's best, unless said."""
        low, high = self.facts["range"]
        best = low if self.facts["better"] == "lower" else high
        return self.method.prompt.get(self.metric, best)

    def warnings(self) -> list[str]:
        """See `Generator.warnings`: tell of a prompt that no checkpoint of the zoo has."""
        low, high = self.facts["range"]
        wanted = self._wanted()
        if low <= wanted <= high:
            return []
        return [
            f"prompt {self.metric} = {wanted:g} lies outside of the zoo, whose checkpoints have {low:.3g} to "
            f"{high:.3g}; networks get worse out there"
        ]

    def _tell_backwards(self, measure_M: Tensor, ctx: Context) -> None:
        """Warn of a prompt that is worse than its start: pairs go forward in training."""
        wanted, lower = self._wanted(), self.facts["better"] == "lower"
        behind = int((measure_M < wanted if lower else measure_M > wanted).sum())
        if behind:
            ctx.warn(
                f"prompt {self.metric} = {wanted:g} is worse than what {behind} of {len(measure_M)} starts have; it "
                "learnt trainings, which go the other way"
            )

    def _starts(self, count: int, bench: Bench, ctx: Context) -> Tensor:
        """Return theta_MD to start from. Raises UserError where a file holds another architecture."""
        layout, start = self.zoo.layout, self.method.start
        if start and not start.startswith("init:"):
            state = load_state(start)
            _check_same(state, self.zoo, start)
            theta_D = layout.vector(state)
            if not theta_D.isfinite().all():
                raise UserError(f"start {start}: holds NaN or Inf; give another network")
            return theta_D.expand(count, -1)
        seeds = [int(start[5:])] * count if start else [derive(ctx.seed, "start", index) for index in range(count)]
        built = {seed: layout.vector(bench.build(seed).state_dict()) for seed in seeds}
        return torch.stack([built[seed] for seed in seeds])

    def prompted(self, start_MD: Tensor, measure_M: Tensor, wanted_M: Tensor, ctx: Context) -> Tensor:
        """See `Generator.prompted`. Wanted values outside of the zoo are taken as they are; conditions are drawn."""
        condition_MC = self.conditions.of(len(start_MD), None, ctx.generator("conditions"))
        return self._prompted(start_MD, measure_M, wanted_M, condition_MC, ctx)

    @torch.no_grad()
    def _prompted(
        self, start_MD: Tensor, measure_M: Tensor, wanted_M: Tensor, condition_MC: Tensor, ctx: Context
    ) -> Tensor:
        network, layout = self.network.to(ctx.device), self.zoo.layout
        generator, dim = ctx.generator("sample"), layout.dim
        asked_M3 = scalars(measure_M, wanted_M, self.unit).float()
        given_MX = torch.cat([layout.to_free(start_MD) * self.scale, asked_M3, condition_MC], dim=1).to(ctx.device)

        def denoise(z_MD: Tensor, t_M: Tensor) -> Tensor:
            def some(rows: Tensor) -> Tensor:
                z_BD, start_BD, scalars_B3, condition_BC = rows.split([dim, dim, 3, self.conditions.dim], dim=1)
                return network(z_BD, start_BD, with_time(self.method, t_M[: len(rows)], scalars_B3), condition_BC)

            return in_chunks(some, torch.cat([z_MD, given_MX], dim=1), max(1, AT_ONCE // dim))

        z_MD = torch.randn(len(start_MD), dim, generator=generator).to(ctx.device)
        steps = self.method.sampling_steps or self.method.timesteps
        with threads_for(network, ctx.threads), ctx.progress.step("prompt", steps) as bar:
            x_MD, _ = diffusion.sample(
                denoise, z_MD, self.schedule, prediction="x0", sampler=self.method.sampler, steps=steps,
                generator=generator, tell=bar.advance,
                capture=lambda step: captured(step, ctx.device, ctx.graphs, ctx.warn),
            )  # fmt: skip
        return layout.from_free(x_MD.cpu() / self.scale)

    def tensors(self) -> dict[str, Tensor]:
        network = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        kinds = {f"kinds.{key}": value for key, value in self.network.kinds.tables().items()}
        return (
            network
            | kinds
            | self.conditions.tensors()
            | {"scale": torch.tensor([self.scale, self.unit], dtype=torch.float64)}
        )


def scalars(measure_B: Tensor, wanted_B: Tensor, unit: float) -> Tensor:
    """Return the change that is wanted, the metric that is wanted, and the start's, `[B, 3]`, in units."""
    return torch.stack([wanted_B - measure_B, wanted_B, measure_B], dim=1) / unit


def with_time(method: Gpt, t_B: Tensor, scalars_B3: Tensor) -> Tensor:
    """Return the four scalars `[B, 4]`: the step's number first, or its share of T."""
    t_B = t_B if method.raw_scalars else t_B / method.timesteps
    return torch.cat([t_B[:, None].to(scalars_B3), scalars_B3], dim=1)


def fit(method: Gpt, zoo: Zoo, bench: Bench, ctx: Context) -> Prompted:
    """Train on pairs of checkpoints. Raises UserError where the task does not measure what a prompt names."""
    measure_N, better = _measured(method, bench)
    pairs = Pairs(zoo.rows)
    scale = DEVIATION / _deviation(zoo)
    unit = 1.0 if method.raw_scalars else max(float(measure_N.std()), 1e-12)
    symmetry = _symmetry(method, zoo, bench)
    torch.manual_seed(ctx.seed)
    learnt = conditions.learnt(method.condition, zoo)
    condition_NC = learnt.of_zoo(zoo)
    network = _network(method, _kinds(method, zoo, symmetry), learnt.dim).to(ctx.device).train()
    schedule = diffusion.Schedule(steps=method.timesteps)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        first_B, last_B = pairs.draw(method.batch_size, generator)
        both = [zoo.layout.to_free(zoo.theta_ND[rows]) * scale for rows in (first_B, last_B)]
        if method.augment and symmetry:
            order = [_orders(len(first_B), size, generator) for size in symmetry.sizes]
            both = [shuffled(x_BD, zoo.layout, symmetry, order) for x_BD in both]
        asked_B3 = scalars(measure_N[first_B], measure_N[last_B], unit).float()
        return *both, asked_B3, condition_NC[last_B], *diffusion.draw(len(first_B), zoo.layout.dim, schedule, generator)

    def loss(start_BD: Tensor, end_BD: Tensor, asked_B3: Tensor, condition_BC: Tensor, *noisy: Tensor) -> Tensor:
        t_B, epsilon_BD, signal, noise = noisy
        noisy_BD, asked_B4 = signal * end_BD + noise * epsilon_BD, with_time(method, t_B, asked_B3)
        out_BD = network(noisy_BD, start_BD, asked_B4, condition_BC)
        return functional.mse_loss(out_BD.float(), end_BD)

    log = train(
        network, loss, steps=method.steps, ctx=ctx, what="gpt", lr=method.lr, weight_decay=method.weight_decay,
        schedule=rising_cosine(method.warmup, method.steps), clip=method.clip or None, ema=method.ema, draw=draw,
    )  # fmt: skip
    facts = {
        "metric": method.metric, "better": better, "range": [float(measure_N.min()), float(measure_N.max())],
        "runs": len(pairs.runs), "checkpoints": len(zoo), "tokens": len(network.place_T),
        "network parameters": sum(p.numel() for p in network.parameters()),
    }  # fmt: skip
    generator = Prompted(method, zoo, network, scale, unit, learnt, facts)
    generator.log = log
    return generator


def load(method: Gpt, tensors: dict[str, Tensor], zoo: Zoo) -> Prompted:
    """Rebuild a fitted G.pt."""
    learnt = conditions.load(tensors, zoo)
    network = _network(method, Kinds.load(below(tensors, "kinds.")), learnt.dim)
    network.load_state_dict(below(tensors, "network."))
    scale, unit = tensors["scale"].tolist()
    return Prompted(method, zoo, network, scale, unit, learnt)


def _network(method: Gpt, kinds: Kinds, condition_dim: int) -> PromptedTransformer:
    sizes = {key: getattr(method, key) for key in ("width", "depth", "heads", "waves", "octaves")}
    return PromptedTransformer(kinds, **sizes, joined=method.tokens == "neuron", condition_dim=condition_dim)


def _kinds(method: Gpt, zoo: Zoo, symmetry: Symmetry | None) -> Kinds:
    if method.tokens == "neuron":
        assert symmetry is not None
        return by_neuron(zoo.layout, symmetry)
    return by_chunk(zoo.layout, method.tokens, method.chunk)


def _symmetry(method: Gpt, zoo: Zoo, bench: Bench) -> Symmetry | None:
    """Return the permutations of hidden units, where they are needed. Raises UserError where there are none."""
    if method.tokens != "neuron" and not method.augment:
        return None
    key = "method.tokens = 'neuron'" if method.tokens == "neuron" else "method.augment = true"
    return symmetry_of(bench, zoo.layout, key)


def _measured(method: Gpt, bench: Bench) -> tuple[Tensor, str]:
    """Return the metric of every checkpoint, and which is better. Raises UserError."""
    known = bench.objective.task.measures
    if method.metric not in known:
        names = ", ".join(known) or "nothing that networks could be asked for"
        raise UserError(
            f"method.metric: {method.metric!r} is not measured by task {bench.objective.task.name}; it measures: "
            f"{names}"
        )
    measure_N = bench.measures()[method.metric]
    if not measure_N.isfinite().all():
        raise UserError(
            f"method gpt: {method.metric} of {int((~measure_N.isfinite()).sum())} checkpoints is not finite"
        )
    return measure_N, known[method.metric]


def _deviation(zoo: Zoo) -> float:
    """Return the standard deviation of all parameters, over at most 25,000 checkpoints."""
    chosen = zoo.theta_ND[:: max(1, len(zoo) // 25_000)]
    return max(float(zoo.layout.to_free(chosen).std()), 1e-12)


def _orders(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Return one random permutation for each of so many networks, `[B, size]`."""
    return torch.rand(count, size, generator=generator).argsort(dim=1)


def _check_same(state: dict[str, Tensor], zoo: Zoo, path: str) -> None:
    """Raise UserError that names the first entry in which a start cannot be one of the zoo's networks.

    It may lack what is not selected; where it has that, it must be the zoo's.
    """
    for key, ours in zoo.anchor.items():
        selected = key in zoo.layout.keys
        if key not in state and selected:
            raise UserError(f"start {path}: is of another architecture: it has no {key!r}")
        if key in state and state[key].shape != ours.shape:
            shapes = f"{list(state[key].shape)}, the zoo's networks {list(ours.shape)}"
            raise UserError(f"start {path}: is of another architecture: {key} has {shapes}")
        frozen = not selected and ours.is_floating_point()
        if key in state and frozen and not torch.allclose(state[key].float(), ours.float(), atol=1e-6):
            raise UserError(
                f"start {path}: {key} is outside of the selection and is not the zoo's; only the selected entries are "
                "generated, so give a network with the same frozen ones, or the selected entries alone"
            )
    extra = next((key for key in state if key not in zoo.anchor), None)
    if extra:
        raise UserError(
            f"start {path}: is of another architecture: it has {extra!r}, which the zoo's networks have not"
        )
