"""Generators whose answers are known, and whom to ask them."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from pdiff.components import Generator
from pdiff_plugins.gpt.prompts.asking import Asker

RANGE = {"lower": (0.1, 3.0), "higher": (20.0, 500.0)}


class Known(Generator):
    """Networks of one parameter, which is their metric; `answer` gives it from (start's, wanted, place), `[M]` each."""

    metric = "known"

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def prompted(self, start_MD, measure_M, wanted_M, ctx):
        place_M = torch.arange(len(wanted_M), dtype=torch.float64)
        return self.answer(measure_M, wanted_M, place_M)[:, None].double()


OBEDIENT = Known(lambda start, wanted, place: wanted)


def asker_of(generator, better="lower", losses=None):
    """Return an asker of networks whose metric is their first parameter, with a zoo of 30 of them."""
    own = torch.linspace(*RANGE[better], 30, dtype=torch.float64)
    rows = [{"run": run, "step": step, "metrics": {}} for run in range(10) for step in range(3)]
    objective = SimpleNamespace(
        losses=losses, split=SimpleNamespace(__len__=lambda: 1, batch=lambda index, device: None),
        batch=lambda *arguments: None,
    )  # fmt: skip
    bench = SimpleNamespace(
        measures=lambda: {"known": own}, measure=lambda theta_MD, split: {"known": theta_MD[:, 0]},
        predict=lambda theta_MD, split: theta_MD[:, 0], objective=objective,
    )  # fmt: skip
    view = SimpleNamespace(
        selection="validation", zoo=SimpleNamespace(theta_ND=own[:, None], rows=rows), bench=bench,
        generators={"fake": generator}, targets=lambda split: None,
        recipe=SimpleNamespace(task=SimpleNamespace(measures={"known": better}, score=lambda own, targets: own)),
    )  # fmt: skip
    return Asker.of(view, "fake")
