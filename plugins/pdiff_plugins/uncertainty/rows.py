"""Rows: what is said of each source by itself. R ensembles, E test examples, F of other splits, K classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.data import Split, some
from pdiff_plugins.audit.probabilities import calibration_error
from pdiff_plugins.maths.tempering import tempered
from pdiff_plugins.uncertainty.answers import AT_ONCE, Answers, Panel, mixed, panel
from pdiff_plugins.uncertainty.calibration import Calibration
from pdiff_plugins.uncertainty.crossing import pseudo
from pdiff_plugins.uncertainty.equivalent import Curve, curve
from pdiff_plugins.uncertainty.measures import agreement, brier, entropy, likelihoods, reliability, right, selective

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.uncertainty.evaluator import Uncertainty

COVERAGES = (0.5, 0.8, 0.9, 0.95, 1.0)
DRAWN = tuple(share / 50 for share in range(1, 51))
"""Coverages of the figure."""
NUMBERS = 2**28
"""Log-probabilities that are kept of ensembles without one of their members, at most; else members are asked again."""


@dataclass(frozen=True)
class Row:
    """An ensemble of a source, or several."""

    told: dict[str, Any]
    """Its scores."""
    score_SE: Tensor
    """Calibrated log-likelihoods of what is drawn: of members, as the jackknife has them, or of ensembles."""
    panel: Panel
    temperature_RE: Tensor
    """`[R, 1]`, or `[R, E]`."""
    entropy_RE: Tensor
    """Of the mean answers to test examples."""
    information_RE: Tensor


class Rows:
    """Asks the sources of a run, one after the other."""

    def __init__(self, options: Uncertainty, view: View, ctx: Context):
        self.options, self.view, self.ctx = options, view, ctx
        self.test = self._some("test")
        self.known = self.test if view.selection == "test" else self._some(view.selection)
        self.targets_E = self.test.targets.long()
        half_E = None
        if view.selection == "test":
            order_E = torch.randperm(len(self.test), generator=ctx.generator("halves"))
            half_E = order_E % 2 == 0
        self.calibration = Calibration(self.targets_E, self.known.targets.long(), half_E)
        reference = self.panel(options.reference) if options.reference in view.theta else None
        self.reference_EK = None if reference is None else reference.means(self.test).exp().mean(dim=0).log()
        if self.reference_EK is not None and not self.reference_EK.isfinite().all():
            self.reference_EK = None
        self.no_temperature: list[str] = []
        """Sources with an ensemble that is right in all examples that temperatures are fitted on."""
        self.broken: list[str] = []
        """Sources whose answers hold no numbers on some examples."""

    def _some(self, split: str) -> Split:
        return some(self.view.bench.examples(split), self.options.examples, self.ctx.generator("examples", split))

    def panel(self, source: str) -> Panel | None:
        return panel(self.view, source, self.options.members, self.options.ensembles, self.ctx)

    def row(self, source: str) -> Row | None:
        """Return what is said of a source; None where the task has no classes, or it is `broken`."""
        asked = self.panel(source)
        if asked is None:
            return None
        answers, without_MEK = self._asked(asked)
        known_RFK = self._known(asked, answers)
        if not (answers.logp_REK.isfinite().all() and known_RFK.isfinite().all()):
            self.broken.append(source)
            return None
        temperature_RE = self.calibration.of(answers.logp_REK, known_RFK)
        if self.calibration.unknown(answers.logp_REK, known_RFK):
            self.no_temperature.append(source)
        calm_REK = tempered(answers.logp_REK, temperature_RE)
        score_RE = likelihoods(calm_REK, self.targets_E)
        score_SE = score_RE
        if asked.size > 1:
            score_SE = pseudo(score_RE, self._without(asked, without_MEK, temperature_RE))
        entropy_RE, information_RE = entropy(answers.logp_REK), answers.information_RE
        told = {
            "members": asked.size, "ensembles": asked.count, "temperature": float(temperature_RE.mean()),
            "entropy": float(entropy_RE.mean()), "information": float(information_RE.mean()),
        }  # fmt: skip
        told |= self._scores(answers.logp_REK, calm_REK) | self._chosen(answers.logp_REK, source)
        return Row(told, score_SE, asked, temperature_RE, entropy_RE, information_RE)

    def _asked(self, asked: Panel) -> tuple[Answers, Tensor | None]:
        """Return the ensembles' answers, and those without one of their members, where there is room for them."""
        weight_RM = asked.weights()
        numbers = len(asked.index_M) * len(self.test) * max(2, self.view.bench.classes)
        if asked.size == 1 or numbers > NUMBERS:
            return asked.answers(self.test), None
        both = asked.answers(self.test, torch.cat([weight_RM, asked.without_one()]))
        ours = Answers(*(part[: asked.count] for part in both))
        return ours, both.logp_REK[asked.count :]

    def _known(self, asked: Panel, answers: Answers) -> Tensor:
        return answers.logp_REK if self.calibration.half_E is not None else asked.means(self.known)

    def _without(self, asked: Panel, without_MEK: Tensor | None, temperature_RE: Tensor) -> Tensor:
        """Return the calibrated log-likelihoods `[M, E]` of ensembles without one of their members."""
        known = (mixed(logp_MeK, asked.without_one()) for logp_MeK in asked.blocks(self.test))
        each_ME, parts, first = temperature_RE.repeat_interleave(asked.size, dim=0), list[Tensor](), 0
        each_ME = each_ME.expand(-1, len(self.test))
        for part_MeK in known if without_MEK is None else [without_MEK]:
            here = slice(first, first := first + part_MeK.shape[1])
            rows = [
                likelihoods(tempered(logp_eK[None], t_e[None]), self.targets_E[here])
                for logp_eK, t_e in zip(part_MeK, each_ME[:, here], strict=True)
            ]
            parts.append(torch.cat(rows))
        return torch.cat(parts, dim=1)

    def _scores(self, logp_REK: Tensor, calm_REK: Tensor) -> dict[str, Any]:
        scores: dict[str, Any] = {"accuracy": float(right(logp_REK, self.targets_E).double().mean())}
        for prefix, each_REK in (("", logp_REK), ("calibrated_", calm_REK)):
            scores |= {
                f"{prefix}nll": -float(likelihoods(each_REK, self.targets_E).mean()),
                f"{prefix}brier": float(brier(each_REK, self.targets_E).mean()),
                f"{prefix}ece": float(calibration_error(each_REK, self.targets_E).mean()),
                f"{prefix}reliability": reliability(each_REK, self.targets_E),
            }
        return scores

    def _chosen(self, logp_REK: Tensor, source: str) -> dict[str, Any]:
        """Return how well probabilities tell right from wrong, and how near they are to the reference's."""
        chosen = selective(logp_REK, self.targets_E, (*COVERAGES, *DRAWN))
        told = {
            "selective": {f"{c:g}": share for c, share in zip(COVERAGES, chosen.accuracy_C, strict=False)},
            "risk": [1 - share for share in chosen.accuracy_C[len(COVERAGES) :]], "risk_area": chosen.area,
        }  # fmt: skip
        if self.reference_EK is not None and source != self.options.reference:
            near = agreement(logp_REK, self.reference_EK)
            told |= {"agreement": near.top, "variation": near.variation}
        return told

    def deep(self) -> tuple[Curve, dict[str, Any]] | None:
        """Return the likelihoods of deep ensembles by size, and what one of their networks does; None without any."""
        source, options = self.options.ensemble, self.options
        if source not in self.view.theta or source in self.broken:
            return None
        asked = panel(self.view, source, 1, options.members * options.ensembles, self.ctx)
        if asked is None:
            return None
        test_MEK, known_MEK = (asked.members(split) for split in (self.test, self.known))
        if test_MEK.isnan().any() or known_MEK.isnan().any():
            self.broken.append(source)
            return None

        def score(weight_SM: Tensor) -> Tensor:
            step = max(1, AT_ONCE // max(test_MEK[0].numel(), known_MEK[0].numel()))
            parts = []
            for weight_sM in weight_SM.split(step):
                logp_sEK = mixed(test_MEK, weight_sM)
                temperature_sE = self.calibration.of(logp_sEK, mixed(known_MEK, weight_sM))
                parts.append(likelihoods(tempered(logp_sEK, temperature_sE), self.targets_E))
            return torch.cat(parts)

        numbers = test_MEK[0].numel() + known_MEK[0].numel()
        temperature_ME = self.calibration.of(test_MEK, known_MEK)
        single = self._scores(test_MEK, tempered(test_MEK, temperature_ME)) | {
            "temperature": float(temperature_ME.mean()), "equivalent_text": "1",
        }  # fmt: skip
        return curve(len(test_MEK), numbers, self.ctx.generator("sub-ensembles"), score), single
