"""Running the chains of `hmc`, and what is told of them. C chains, S draws of each, D parameters, M networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.bench import Bench
from pdiff.components import Generator
from pdiff.context import Context, derive
from pdiff.errors import UserError
from pdiff.training.loop import threads_for
from pdiff.zoo import Zoo
from pdiff_plugins.bayes.hmc import diagnostics
from pdiff_plugins.bayes.hmc.sampler import Chains, StepSize, transition
from pdiff_plugins.bayes.hmc.target import Target, check, deviations
from pdiff_plugins.collectors.seeds.starts import begins
from pdiff_plugins.maths.median import median

if TYPE_CHECKING:
    from pdiff_plugins.bayes.hmc.method import Hmc

RATE = 0.02
"""Of Adam before the warm-up, in deviations of the prior; it falls to 0."""
LONGEST, LONGEST_WARM = 1000, 250
"""Leapfrog steps of a trajectory at most, however small; and in the warm-up, where some sizes are far too small."""
GOOD = 1.05
"""R-hat up to which chains count as one distribution."""
MANY = 0.01
"""Share of trajectories that diverge, from which it is told."""
LOG_ROWS = 200
LOOKED_AT = 256
"""Examples at most whose log-probabilities tell whether chains agree."""
QUANTITIES = 2**12
"""Log-probabilities at most, of all of these together."""


class Draws(Generator):
    """The networks of all chains."""

    def __init__(self, theta_CSD: Tensor, log: list[dict[str, float]] | None = None, facts: Any = None):
        super().__init__(log, facts)
        self.theta_CSD = theta_CSD

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        """Return networks of all chains in turn, of each evenly spaced and its last among them."""
        chains, draws, _ = self.theta_CSD.shape
        each = min(math.ceil(count / chains), draws)
        chosen = (torch.arange(1, each + 1) * draws).div(each, rounding_mode="floor") - 1
        return self.theta_CSD[:, chosen].transpose(0, 1).flatten(0, 1)[:count].clone()

    def tensors(self) -> dict[str, Tensor]:
        return {"draws": self.theta_CSD}


def fit(method: Hmc, zoo: Zoo, bench: Bench, ctx: Context) -> Draws:
    """Run the chains. Raises UserError for networks and tasks that they are not for."""
    objective, layout = bench.objective, zoo.layout
    check(objective, layout)
    with torch.no_grad(), threads_for(objective.model, 1 if ctx.device.type == "cpu" else ctx.threads):
        target = Target(objective, deviations(layout, method.deviation, method.by_inputs), method.chains, ctx.device)
        run = _Run(method, target, ctx)
        run.run(lambda: torch.stack([bench.start(derive(ctx.seed, "chain", chain)) for chain in range(method.chains)]))
    facts = run.facts() | {"begins": begins(objective.model, layout, bench, ctx)} | _agreement(run, bench)
    _tell(method, facts, ctx)
    return Draws(run.theta_CSD, run.log, facts)


class _Run:
    """What chains have come to, which a snapshot holds."""

    def __init__(self, method: Hmc, target: Target, ctx: Context):
        self.method, self.target, self.ctx = method, target, ctx
        self.step_size = StepSize.begin(method.step, method.accept)
        self.theta_CSD = torch.empty(method.chains, method.draws, len(target.deviation_D))
        self.potential_CS = torch.empty(method.chains, method.draws, dtype=torch.float64)
        self.done, self.counts = 0, {"gradients": method.descent, "steps": 0, "accepted": 0.0, "divergences": 0}
        self.log: list[dict[str, float]] = []

    @property
    def total(self) -> int:
        return self.method.warmup + self.method.draws

    def run(self, begin: Callable[[], Tensor]) -> None:
        """Go to the end, from the snapshot or from the networks theta_CD that `begin` gives."""
        chains = self._resume() or self._begin(begin())
        with self.ctx.progress.step("hmc", self.total, self.done) as bar:
            for number in range(self.done, self.total):
                chains = self._move(chains, number)
                self.done = number + 1
                bar.advance(1, **{key: value for key, value in self.shown.items() if key != "step"})
                if self.ctx.snapshot.due():
                    self._save(chains)

    def _begin(self, theta_CD: Tensor) -> Chains:
        """Return chains after the optimisation: by Adam on the posterior, at a rate that falls to 0."""
        x_CD, steps = theta_CD.to(self.ctx.device) / self.target.deviation_D, self.method.descent
        mean_CD, square_CD = torch.zeros_like(x_CD), torch.zeros_like(x_CD)
        with self.ctx.progress.step("hmc begins", steps) as bar:
            for step in range(steps):
                potential_C, gradient_CD = self.target(x_CD)
                mean_CD.lerp_(gradient_CD, 0.1)
                square_CD.lerp_(gradient_CD.square(), 0.01)
                size_CD = (square_CD / (1 - 0.99 ** (step + 1))).sqrt().add_(1e-8)
                x_CD = x_CD - RATE * (1 - step / steps) / (1 - 0.9 ** (step + 1)) * mean_CD / size_CD
                bar.advance(1, loss=float(potential_C.mean()) / self.examples)
        chains = Chains.at(x_CD, self.target)
        if not chains.potential_C.isfinite().all():
            raise UserError("hmc: the loss of new networks is not finite; check the data and the architecture")
        return chains

    def _move(self, chains: Chains, number: int) -> Chains:
        """Return chains after one more trajectory, and keep or learn of it what there is."""
        generator, warm = self.ctx.generator("trajectory", number), number < self.method.warmup
        step = self.step_size.now if warm else self.step_size.mean
        length = self.method.path * (1 + self.method.jitter * (2 * float(torch.rand((), generator=generator)) - 1))
        steps = min(max(round(length / step), 1), LONGEST_WARM if warm else LONGEST)
        chains, accept_C, diverged_C = transition(chains, step, steps, self.target, generator)
        accept, self.counts["gradients"] = float(accept_C.mean()), self.counts["gradients"] + steps
        if warm:
            self.step_size.update(accept)
        else:
            self._keep(chains, number - self.method.warmup)
            more = {"steps": steps, "accepted": accept, "divergences": int(diverged_C.sum())}
            self.counts |= {key: self.counts[key] + value for key, value in more.items()}
        loss = float(chains.potential_C.double().mean()) / self.examples
        self.shown = {"step": number + 1, "loss": loss, "accept": accept}
        if (number + 1) % max(1, self.total // LOG_ROWS) == 0:
            self.log.append(self.shown)
        return chains

    def _keep(self, chains: Chains, place: int) -> None:
        self.theta_CSD[:, place] = self.target.theta(chains.x_CD).cpu()
        self.potential_CS[:, place] = chains.potential_C.cpu()

    @property
    def examples(self) -> int:
        return len(self.target.objective.split)

    def facts(self) -> dict[str, Any]:
        """Return what was done."""
        draws, chains = self.method.draws, self.method.chains
        return {
            "chains": chains, "draws": draws, "accept": self.counts["accepted"] / draws,
            "step": self.step_size.mean, "steps": self.counts["steps"] / draws,
            "divergences": self.counts["divergences"], "examples": self.counts["gradients"] * chains * self.examples,
        }  # fmt: skip

    @property
    def _identity(self) -> list[Any]:
        return [self.method.identity(), self.examples, len(self.target.deviation_D)]

    def _save(self, chains: Chains) -> None:
        kept = max(self.done - self.method.warmup, 0)
        tensors = {
            "x": chains.x_CD, "potential": chains.potential_C, "gradient": chains.gradient_CD,
            "draws": self.theta_CSD[:, :kept], "potentials": self.potential_CS[:, :kept],
        }  # fmt: skip
        state = {"of": self._identity, "done": self.done, "counts": self.counts, "log": self.log}
        tensors = {key: value.contiguous() for key, value in tensors.items()}
        self.ctx.snapshot.save(tensors, state | {"step_size": asdict(self.step_size)})

    def _resume(self) -> Chains | None:
        tensors, state = self.ctx.snapshot.load() or ({}, {})
        if state.get("of") != self._identity:
            return None
        self.done, self.counts, self.log = state["done"], state["counts"], state["log"]
        self.step_size = StepSize(**state["step_size"])
        kept = tensors["draws"].shape[1]
        self.theta_CSD[:, :kept], self.potential_CS[:, :kept] = tensors["draws"], tensors["potentials"]
        return Chains(*(tensors[key].to(self.ctx.device) for key in ("x", "potential", "gradient")))


def _agreement(run: _Run, bench: Bench) -> dict[str, Any]:
    """Return R-hat and effective sample sizes, of log-probabilities of examples and of the log-posterior."""
    name = "validation" if len(bench.examples("validation")) else "train"
    most = max(1, min(LOOKED_AT, QUANTITIES // max(bench.classes, 1)))
    known = bench.log_probabilities(run.theta_CSD.flatten(0, 1), name, most)
    assert known is not None  # as was checked
    rhat_Q, ess_Q = diagnostics.both(known[0].flatten(1).unflatten(0, run.theta_CSD.shape[:2]))
    rhat_1, ess_1 = diagnostics.both(run.potential_CS[..., None])
    return {
        "rhat": {"largest": float(rhat_Q.max()), "q95": _quantile(rhat_Q, 0.95), "median": median(rhat_Q)},
        "ess": {"smallest": float(ess_Q.min()), "q05": float(ess_Q.quantile(0.05)), "median": median(ess_Q)},
        "rhat_log_posterior": float(rhat_1), "ess_log_posterior": float(ess_1), "quantities": len(rhat_Q),
    }  # fmt: skip


def _quantile(values_Q: Tensor, share: float) -> float:
    """Return the quantile; among infinite values, as of chains that stand still, one of them, not a difference."""
    found = float(values_Q.quantile(share))
    return float(values_Q.quantile(share, interpolation="higher")) if math.isnan(found) else found


def _tell(method: Hmc, facts: dict[str, Any], ctx: Context) -> None:
    rhat, ess = facts["rhat"], facts["ess"]
    ctx.progress.say(
        f"hmc: R-hat {rhat['largest']:.3f} at its largest of {facts['quantities']:,} log-probabilities (median "
        f"{rhat['median']:.3f}), {facts['rhat_log_posterior']:.3f} of the log-posterior; effective size "
        f"{ess['smallest']:,.0f} at its smallest (median {ess['median']:,.0f}) of {method.chains * method.draws:,} "
        f"draws; acceptance {facts['accept']:.2f}, {facts['steps']:.0f} steps of {facts['step']:.3g} in the mean"
    )
    largest = max(rhat["largest"], facts["rhat_log_posterior"])
    if not largest <= GOOD:
        ctx.warn(
            f"hmc: R-hat is {largest:.3f} at its largest, above {GOOD}: the chains are not of one distribution yet; "
            f"raise method.draws (it is {method.draws}) and method.warmup (it is {method.warmup})"
        )
    if facts["divergences"] > MANY * method.chains * method.draws:
        ctx.warn(
            f"hmc: {facts['divergences']} of {method.chains * method.draws:,} trajectories diverged; raise "
            f"method.accept (it is {method.accept:g})"
        )
    if method.path * (1 - method.jitter) / facts["step"] > LONGEST:
        ctx.warn(
            f"hmc: steps of {facts['step']:.3g} would be more than {LONGEST} to a trajectory, which are cut; lower "
            "method.path or method.deviation"
        )
