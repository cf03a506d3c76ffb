"""A run whose members answer what a test says: a network's only parameter is its number."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff.data import Split, TensorSplit
from pdiff_plugins.images.classification import Classification

CTX = Context(seed=0)


def answers(
    networks: int, examples: int, seed: int, classes: int = 4, skill: float = 1.5, apart: float = 1.0, of: int = 0
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities `[M, E, K]` of networks that err alike in part and differ in part, and targets `[E]`.

    `of`: what examples are drawn by; networks by `seed`.
    """
    generator = torch.Generator().manual_seed(1000 + of)
    targets_E = torch.randint(classes, (examples,), generator=generator)
    shared_EK = torch.randn(examples, classes, generator=generator)
    shared_EK[torch.arange(examples), targets_E] += skill
    own = apart * torch.randn(networks, examples, classes, generator=torch.Generator().manual_seed(seed))
    return (2 * (shared_EK + own)).log_softmax(dim=2), targets_E


class Numbered:
    """Bench of networks that answer from a table `[all members, E, K]` by split."""

    def __init__(self, logp: dict[str, Tensor], targets: dict[str, Tensor]):
        self.logp, self.asked = logp, 0
        self.splits = {name: TensorSplit(torch.arange(len(y))[:, None].float(), y) for name, y in targets.items()}
        self.classes = logp["test"].shape[2]

    def examples(self, split: str) -> Split:
        return self.splits[split]

    def log_probabilities(self, theta_MD: Tensor, split: Split, most: int) -> tuple[Tensor, Tensor]:
        return self.of(theta_MD[:, 0].long(), split), split.targets

    def of(self, index_M: Tensor, split: Split) -> Tensor:
        """Return what members answer; a split is told by its targets."""
        self.asked += 1
        where, every = (
            each.batch(torch.arange(len(each)), torch.device("cpu")).inputs[:, 0].long()
            for each in (split, self.splits["test"])
        )
        name = "test" if torch.equal(self.splits["test"].targets[where % len(every)], split.targets) else "validation"
        return self.logp[name][index_M][:, where]


def view(
    members: dict[str, dict[str, Tensor]], targets: dict[str, Tensor], method: str = "posterior",
    selection: str = "validation", names: dict[str, str] | None = None,
) -> Any:  # fmt: skip
    """Return a view of sources with such members, `[M, E, K]` by source and split."""
    counts = {source: len(of["test"]) for source, of in members.items()}
    logp = {split: torch.cat([of[split] for of in members.values()]) for split in ("test", "validation")}
    number = torch.arange(sum(counts.values())).float()[:, None].split(list(counts.values()))
    methods = {source: SimpleNamespace(name=(names or {}).get(source, source)) for source in members}
    return SimpleNamespace(
        recipe=SimpleNamespace(task=Classification()), theta=dict(zip(members, number, strict=True)), method=method,
        methods={source: of for source, of in methods.items() if source != "original"}, generators={},
        selection=selection, bench=Numbered(logp, targets),
    )  # fmt: skip


def sources(counts: dict[str, int], examples: int = 200, **options: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return members of sources, all of one population, and targets by split."""
    known = {}
    for number, (source, count) in enumerate(counts.items()):
        known[source] = {
            split: answers(count, examples, 10 * number + place + 1, of=place, **options)[0]
            for place, split in enumerate(("test", "validation"))
        }
    targets = {split: answers(1, examples, 0, of=place)[1] for place, split in enumerate(("test", "validation"))}
    return known, targets
