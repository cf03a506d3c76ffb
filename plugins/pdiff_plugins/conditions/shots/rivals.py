"""Ways to answer a task from its support examples that write no network.

E examples, F features, K support examples of a class, Q queries of a class, S all support examples of a task, T tasks,
W ways, D selected parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.functional import normalize, one_hot

from pdiff.bench import Bench
from pdiff.components import Rival
from pdiff.context import Context
from pdiff.data import About, Batch, Inputs, Split, each, evaluation_batches
from pdiff.errors import UserError
from pdiff.networks import once
from pdiff_plugins.conditions.encoders.support import drawn, flat
from pdiff_plugins.conditions.shots.drawing import of_classes
from pdiff_plugins.conditions.shots.metric import learned_metric
from pdiff_plugins.conditions.shots.orders import DRAWS, Orders
from pdiff_plugins.maths.descent import adam, sgd

SGD_STEPS, SGD_RATES = 10, (0.03, 0.1, 0.3, 1.0, 3.0)
ADAM_STEPS, ADAM_RATES = 50, (0.001, 0.003, 0.01, 0.03)
RIDGES = (1.0, 10.0, 100.0, 1000.0)
TUNING = 64
"""Tasks of seen classes on which a rate, or a ridge, is chosen."""
QUERIES = 15
"""Examples of each class on which that is judged."""
Logits = Callable[[Tensor, Tensor], Tensor]
"""(support features `[W, K, F]`, features `[E, F]`) -> how well each class fits, `[E, W]`."""
Optimiser = Callable[[Callable[[Tensor], Tensor], Tensor, int, float], Tensor]
"""(gradient of theta_TD, theta_TD at first, steps, rate) -> theta_TD."""


def rivals(family: Orders, bench: Bench, ctx: Context) -> dict[str, Rival]:
    """Return the rivals by name. What some of them learn, they learn when they are asked first."""
    few = FewShots(family, bench, ctx)
    known: dict[str, Rival] = {
        "class means": few.rival(lambda: euclid),
        "class means, by angle": few.rival(lambda: angle),
        "ridge on the examples": few.rival(few.tuned_ridge),
        f"{SGD_STEPS} SGD steps on the examples": few.trained(sgd, SGD_STEPS, SGD_RATES),
        f"{ADAM_STEPS} Adam steps on the examples": few.trained(adam, ADAM_STEPS, ADAM_RATES),
    }
    if family.metric_steps:
        known["class means in a learned metric"] = few.rival(few.metric)
    return known


@dataclass(frozen=True)
class FewShots:
    """Tasks with their support examples."""

    family: Orders
    bench: Bench
    ctx: Context
    known: dict[str, Tensor] = field(default_factory=dict)
    """Features of whole splits that were asked for."""

    def rival(self, learn: Callable[[], Logits]) -> Rival:
        """Return the rival that answers by how well each class fits, of features of the inputs as they are."""

        def answer(about: Sequence[About], split: Split) -> Tensor:
            logits, features_EF, known_EF = learn(), self.features(split), self.features_of(self.family.support)
            wrong = []
            for task in about:
                asked = of_classes(split, task["classes"])
                said_E = logits(known_EF[self.supports(task)], features_EF[asked.chosen_E]).argmax(dim=1)
                wrong.append(said_E != asked.targets)
            return torch.stack(wrong)

        return answer

    def supports(self, about: About) -> Tensor:
        """Return the numbers of a task's support examples, `[W, K]`: those that the encoder draws. Raises UserError."""
        if "draw" not in about:
            raise UserError(f"task orders: a network is about {', '.join(about)}; its rivals need classes, and a draw")
        targets_E = self.bench.examples(self.family.support).targets
        return drawn(targets_E, about["classes"], self.family.shots, about["draw"])

    def features(self, split: Split) -> Tensor:
        """Return the inputs of examples, `[E, F]`, on the CPU."""
        batches = evaluation_batches(split, self.ctx.batch_size, torch.device("cpu"))
        return torch.cat([flat(batch.inputs) for batch in batches])

    def features_of(self, split: str) -> Tensor:
        if split not in self.known:
            self.known[split] = self.features(self.bench.examples(split))
        return self.known[split]

    def seen(self) -> list[int]:
        return self.family.sides(self.bench.classes, self.bench.names)[0]

    def metric(self) -> Logits:
        """Learn a metric on tasks of seen classes, of training examples."""
        seen = self.seen()
        examples_CN = of_classes(self.bench.examples("train"), seen).example_CQ
        embed = learned_metric(self.features_of("train"), examples_CN, seen, self.family, self.ctx)
        return lambda support_WKF, features_EF: euclid(embed(support_WKF), embed(features_EF))

    def tuning(self) -> list[dict[str, Any]]:
        """Return tasks of seen classes on which rates are chosen."""
        seen, generator = self.seen(), self.ctx.generator("tuning")
        draws = torch.randint(DRAWS, (TUNING,), generator=generator).tolist()
        orders = [torch.randperm(len(seen), generator=generator)[: self.family.ways].tolist() for _ in draws]
        return [
            {"classes": [seen[place] for place in order], "draw": draw}
            for order, draw in zip(orders, draws, strict=True)
        ]

    def queries(self, about: About) -> Tensor:
        """Return the numbers of training examples of a task on which rates are judged, `[W, Q]`, none its support."""
        targets_E, count = self.bench.examples("train").targets, self.family.shots + QUERIES
        return drawn(targets_E, about["classes"], count, about["draw"])[:, self.family.shots :]

    def tuned_ridge(self) -> Logits:
        """Choose the ridge that answers most on tasks of seen classes."""
        known_EF, train_EF, tasks = self.features_of(self.family.support), self.features_of("train"), self.tuning()

        def right(strength: float) -> float:
            logits, target_E = ridge(strength), torch.arange(self.family.ways).repeat_interleave(QUERIES)
            found = [logits(known_EF[self.supports(t)], train_EF[self.queries(t).flatten()]).argmax(1) for t in tasks]
            return float((torch.stack(found) == target_E).float().mean())

        return ridge(max(RIDGES, key=right))

    def trained(self, optimiser: Optimiser, steps: int, rates: Sequence[float]) -> Rival:
        """Return the rival that trains the base network on the support examples, at the best of some rates."""

        def answer(about: Sequence[About], split: Split) -> Tensor:
            rate = max(rates, key=lambda rate: self._right(optimiser, steps, rate))
            theta_TD, wrong = self._after(about, optimiser, steps, rate).cpu(), []
            for theta_D, task in zip(theta_TD, about, strict=True):
                asked = self.family.asked(split, task)
                wrong.append(self.family.wrong(self.bench.predict(theta_D[None], asked), asked.targets)[0])
            return torch.stack(wrong)

        return answer

    def _right(self, optimiser: Optimiser, steps: int, rate: float) -> float:
        about = self.tuning()
        batch = self._batch("train", torch.stack([self.queries(task).flatten() for task in about]))
        theta_TD = self._after(about, optimiser, steps, rate)
        predictions = vmap(lambda theta_D, inputs: self.family.predict(self._network(theta_D), inputs))(
            theta_TD, batch.inputs
        )
        return float((predictions == batch.targets).float().mean())

    def _after(self, about: Sequence[About], optimiser: Optimiser, steps: int, rate: float) -> Tensor:
        """Return the base network after so many steps on each task's support examples, `[T, D]`."""
        layout, model = self.bench.objective.layout, self.bench.objective.model
        batch = self._batch(self.family.support, torch.stack([self.supports(task).flatten() for task in about]))
        trained = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        learns_D = layout.per_entry([float(entry.key in trained) for entry in layout.entries]).to(self.ctx.device)

        def loss(theta_D: Tensor, inputs: Inputs, targets: Tensor) -> Tensor:
            return self.family.loss(self._network(theta_D), Batch(inputs, targets))

        gradient = vmap(grad(loss))
        start_TD = layout.joined(model.state_dict()).expand(len(about), -1)
        return optimiser(lambda theta_TD: gradient(theta_TD, *batch) * learns_D, start_TD, steps, rate)

    def _network(self, theta_D: Tensor) -> Any:
        model, layout = self.bench.objective.model.eval(), self.bench.objective.layout
        names = once(model, layout.keys)
        entries = {key: value for key, value in layout.tensors(theta_D).items() if key in names}
        return lambda inputs: functional_call(model, entries, (inputs,), tie_weights=False)

    def _batch(self, split: str, index_TS: Tensor) -> Batch:
        """Return examples `[T, S, ...]`, whose targets are the ways in their order, equally many of each."""
        given = self.bench.examples(split).batch(index_TS.flatten(), self.ctx.device)
        ways, shape = self.family.ways, index_TS.shape
        targets_S = torch.arange(ways, device=self.ctx.device).repeat_interleave(shape[1] // ways)
        return Batch(each(lambda x: x.unflatten(0, shape), given.inputs), targets_S.expand(shape))


def euclid(support_WKF: Tensor, features_EF: Tensor) -> Tensor:
    """Return the negative squared distance from class means, `[E, W]`."""
    return -torch.cdist(features_EF, support_WKF.mean(dim=1)).square()


def angle(support_WKF: Tensor, features_EF: Tensor) -> Tensor:
    """Return the cosine of the angle with class means, `[E, W]`."""
    return normalize(features_EF, dim=1) @ normalize(support_WKF.mean(dim=1), dim=1).T


def ridge(strength: float) -> Logits:
    """Return linear regression on the classes, with a ridge."""

    def logits(support_WKF: Tensor, features_EF: Tensor) -> Tensor:
        ways, shots = support_WKF.shape[:2]
        known_SF = support_WKF.flatten(0, 1)
        wanted_SW = one_hot(torch.arange(ways).repeat_interleave(shots)).float() - 1 / ways
        gram_SS = known_SF @ known_SF.T + strength * torch.eye(len(known_SF))
        return features_EF @ (known_SF.T @ torch.linalg.solve(gram_SS, wanted_SW))

    return logits
