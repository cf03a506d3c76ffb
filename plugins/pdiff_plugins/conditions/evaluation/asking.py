"""What each source gives for each task, and what else its networks are asked. T tasks, S samples, D parameters."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff.errors import UserError
from pdiff.view import ORIGINAL
from pdiff_plugins.audit.outside import split
from pdiff_plugins.conditions.evaluation.judging import Asked, Judge, Judged
from pdiff_plugins.conditions.evaluation.scores import Samples
from pdiff_plugins.conditions.evaluation.tasks import LEARNT, Tasks, deranged
from pdiff_plugins.maths.normalise import mixed

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View

ROUNDED = 1e-4
"""Of a network's length, by which samples differ that are the same but for rounding."""
TRIED = 16
"""Networks of a source without conditions, of which the best on the selection split stands for all tasks."""
WORDS = (
    "window apple harbour seven pencil winter copper carpet engine violin meadow button lantern market spoon cousin "
    "orange bridge candle pocket thunder garden ticket marble saddle basket island hammer kettle ribbon forest biscuit"
)
"""That say nothing of any task."""


@dataclass(frozen=True)
class Asker:
    """Asks the sources of a run for the tasks."""

    view: View
    tasks: Tasks
    judge: Judge
    ctx: Context

    def theta(self, source: str) -> Tensor:
        """Return a source's network for each task, `[T, D]`; one, `[1, D]`, of a source that takes no conditions."""
        if source == ORIGINAL:
            return self.tasks.own_TD
        if self.conditional(source):
            return self.sampled(source, self.tasks.condition_TC)
        theta_MD = self.view.theta[source][:TRIED]
        best = int(self.view.bench.score(theta_MD).nan_to_num(nan=-torch.inf).argmax()) if len(theta_MD) > 1 else 0
        return theta_MD[best : best + 1]

    def conditional(self, source: str) -> bool:
        return source != ORIGINAL and self.view.generators[source].conditional

    def sampled(self, source: str, condition_MC: Tensor) -> Tensor:
        """Return a source's networks for conditions, `[M, D]`. Raises UserError where it gives fewer."""
        generator, ctx = self.view.generators[source], self.ctx.scope(f"ask {source}")
        theta_MD = generator.sample(len(condition_MC), self.view.bench, ctx, condition_MC)
        if len(theta_MD) != len(condition_MC):
            raise UserError(
                f"evaluate conditions: {source} gives {len(theta_MD)} networks for {len(condition_MC)} conditions; "
                "leave out what makes it give fewer"
            )
        return theta_MD.detach().to("cpu", torch.float32)

    def shuffled(self, asked: Asked) -> tuple[Judged, list[int]] | None:
        """Judge, on the judged tasks, networks that were asked for another of them.

        Another has another condition, too. None where no two of them have, and where all networks are scored alike,
        whatever they were asked for.
        """
        rows = self.tasks.of(self.tasks.judged)
        kind_T = self.tasks.condition_TC[rows].unique(dim=0, return_inverse=True)[1]
        other_T = deranged(kind_T, self.ctx.generator("shuffled"))
        pairs = [(rows[place], rows[other]) for place, other in enumerate(other_T) if kind_T[place] != kind_T[other]]
        if not pairs or not self.judge.by_task:
            return None
        numbers = [number for number, _ in pairs]
        return self.judge.of(asked, [other for _, other in pairs], numbers), numbers

    def random_text(self, source: str) -> Judged | None:
        """Judge, on the judged tasks, networks that were asked in random words; None where nothing is asked by text."""
        encoder = getattr(self.view.recipe, "encoder", None)
        if encoder is None or "text" not in encoder.reads or not self.judge.by_task:
            return None
        rows, generator = self.tasks.of(self.tasks.judged), self.ctx.generator("random text")
        about = [{**self.tasks.about[row], "text": words(generator)} for row in rows]
        condition_MC = self.view.bench.encode([{k: v for k, v in each.items() if k != "texts"} for each in about])
        return self.judge.networks(self.sampled(source, condition_MC), rows)

    def samples(self, source: str, count: int) -> Samples | None:
        """Return what several samples of one condition are worth together; None where all are the same."""
        rows = self.tasks.of(self.tasks.judged)
        first = self.tasks.condition_TC[rows[:1]]
        pair_SD = self.sampled(source, first.expand(2, -1))
        if count < 2 or float((pair_SD[0] - pair_SD[1]).norm()) <= ROUNDED * float(pair_SD[0].norm()):
            return None
        condition_MC = self.tasks.condition_TC[rows].repeat_interleave(count, dim=0)
        theta_TSD = self.sampled(source, condition_MC).unflatten(0, (len(rows), count))
        layout = self.view.zoo.layout
        mean_TD = torch.stack([layout.from_free(layout.to_free(theta_SD).mean(dim=0)) for theta_SD in theta_TSD])
        each = [float(self.judge.networks(theta_TD, rows).score_T.mean()) for theta_TD in theta_TSD.unbind(dim=1)]
        known: Samples = {
            "count": count, "one": statistics.fmean(each),
            "weights": float(self.judge.networks(mean_TD, rows).score_T.mean()),
        }  # fmt: skip
        outputs = self._together(theta_TSD, rows)
        return known if outputs is None else known | {"outputs": float(outputs.score_T.mean())}

    def _together(self, theta_TSD: Tensor, rows: list[int]) -> Judged | None:
        """Judge the mean of the samples' probabilities; None where there are no classes."""
        answers: dict[int, Tensor] = {}
        for number, theta_SD in zip(rows, theta_TSD, strict=True):
            log_SEK = self.log_probabilities(theta_SD, number)
            if log_SEK is None:
                return None
            answers[number] = log_SEK.logsumexp(dim=0).argmax(dim=1)[None]
        return self.judge.answers(answers.__getitem__, rows)

    def log_probabilities(self, theta_SD: Tensor, number: int) -> Tensor | None:
        """Return log-probabilities of classes on a task's examples, `[S, E, K]`; None where it has no classes."""
        if self.judge.together and self.judge.whole:
            known = self.view.bench.log_probabilities(theta_SD, self.judge.split, 0)
            return None if known is None else known[0]
        from pdiff.data import evaluation_batches

        objective, parts, device = self.view.bench.objective, list[Tensor](), self.ctx.device
        with torch.no_grad():
            for batch in evaluation_batches(self.judge.examples(number), self.ctx.batch_size, device):
                log_SBK = objective.log_probabilities(theta_SD.to(device), batch.inputs)
                if log_SBK is None:
                    return None
                parts.append(log_SBK.cpu())
        return torch.cat(parts, dim=1)

    def gate(self, source: str) -> float | None:
        """Return the mean score of the judged tasks' own networks after a source's codec; None: it has none."""
        rows = self.tasks.of(self.tasks.judged)
        theta_HD = self.view.generators[source].through(self.tasks.own_TD[rows], self.view.bench, self.ctx)
        return None if theta_HD is None else float(self.judge.networks(theta_HD.cpu().float(), rows).score_T.mean())

    def span(self) -> float | None:
        """Return the mean score of own networks once they are mixtures of those learnt; None of fewer than three.

        That is what all principal components of the zoo leave of them; only of tasks that are not learnt.
        """
        rows = [number for number in self.tasks.of(self.tasks.judged) if self.tasks.judged != LEARNT]
        parts = split(self.view.zoo, {"": self.tasks.own_TD[rows]}) if rows else {}
        if "" not in parts:
            return None
        inside_HD = mixed(self.view.zoo, parts[""].weight_MN, self.ctx)
        return float(self.judge.networks(inside_HD, rows).score_T.mean())


def words(generator: torch.Generator) -> str:
    """Return ten words, drawn at random."""
    each = WORDS.split()
    return " ".join(each[at] for at in torch.randint(len(each), (10,), generator=generator).tolist())
