"""Effects: a difference over seeds, seeds and examples being crossed random effects, and what it is made from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff.files import below, load_tensors, save_tensors
from pdiff_plugins.maths.crossed import Difference, difference

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.api import Run

TARGETS = "targets"
"""Where a file of scores by example has the digest of the examples' targets."""


def keep(run: Run, path: Path) -> None:
    """Write what each source scores on each test example, the mean over its networks: `[E]`, float64.

    Beside it stands what this run alone says of the method and each other source, whose networks it knows one by one.
    Where sources are compared by something else, that instead; further measures stand under their evaluators' names.
    Nothing where there is none of it.
    """
    scores = run.scores
    main = scores.get(scores.get("compared_by", ""), {})
    tensors = _scored(run) if scores["scored_by"] else _grouped(main, "")
    for name in measures(scores):
        tensors |= _grouped(scores[name], f"{name}: ")
    if tensors:
        save_tensors(path, tensors)


def measures(scores: Mapping[str, Any]) -> dict[str, str]:
    """Return by evaluator what runs are also compared by over seeds, beside what sources are compared by."""
    tables = {name: scores.get(name, {}) for name in scores.get("columns", ()) if name != scores.get("compared_by")}
    return {name: table["measure"] for name, table in tables.items() if "measure" in table}


def _grouped(told: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """Return what an evaluator gives on groups of examples, as tensors."""
    import torch

    numbers = {f"{prefix}of {name}": scores for name, scores in told.get("groups", {}).items()}
    for name, gain in told.get("gains", {}).items():
        numbers[f"{prefix}over {name}"] = [gain[key] for key in ("mean", "error", "freedom")]
    if not numbers:
        return {}
    tensors = {name: torch.tensor(values, dtype=torch.float64) for name, values in numbers.items()}
    return tensors | {f"{prefix}{TARGETS}": _digest(told.get("examples", "").encode())}


def _scored(run: Run) -> dict[str, Tensor]:
    """Return the task's scores by example, as tensors."""
    import torch

    from pdiff_plugins.audit.comparison import per_example

    view = run.pipeline.view()
    scores = {source: per_example(view, source) for source in view.theta}
    targets = view.targets("test").contiguous().view(torch.uint8).numpy().tobytes()
    tensors = {f"of {source}": score_ME.mean(dim=0) for source, score_ME in scores.items()}
    tensors[TARGETS] = _digest(targets)
    for source, score_ME in scores.items():
        if source != view.method:
            gain = difference(scores[view.method], score_ME)
            tensors[f"over {source}"] = torch.tensor([gain.mean, gain.error, gain.freedom], dtype=torch.float64)
    return tensors


def _digest(known: bytes) -> Tensor:
    import torch

    return torch.frombuffer(bytearray(hashlib.sha256(known).digest()), dtype=torch.uint8)


def over(
    files: Sequence[Path], means: Sequence[tuple[float, float]], method: str, source: str, by: str = ""
) -> Difference | None:
    """Return what a method's networks score more than a source's, over seeds.

    Seeds and examples are drawn anew; a seed's networks are part of the seed. With one seed it is what that run says.
    Where seeds are tested on other examples, or have no scores by example, seeds alone are drawn anew. Where seeds make
    most of the variance, the degrees of freedom are theirs: Satterthwaite's are too many for two or three seeds.

    Args:
        files: by seed, what `keep` wrote.
        means: by seed, the mean score of the method and of the source.
        method: the source that is the method.
        source: the one that it is set beside.
        by: the evaluator whose numbers they are; empty: those that sources are compared by.
    """
    import torch

    prefix = f"{by}: " if by else ""
    known = [below(load_tensors(path), prefix) for path in files if path.is_file()]
    whole = len(known) == len(means) and all(f"of {name}" in each for each in known for name in (method, source))
    if len(means) == 1:
        told = known[0].get(f"over {source}") if known else None
        return None if told is None else Difference(*told.tolist())
    same = whole and len({bytes(each[TARGETS].tolist()) for each in known}) == 1
    if same:
        gain_SE = torch.stack([each[f"of {method}"] - each[f"of {source}"] for each in known])
    else:
        gain_SE = torch.tensor([[a - b] for a, b in means], dtype=torch.float64)
    gain = difference(gain_SE, torch.zeros(1, gain_SE.shape[1]))
    if not gain.error and gain_SE.shape[1] == 1:
        return None  # seeds that happen to agree say nothing of how far others would be
    among = float(gain_SE.mean(dim=1).var()) / len(gain_SE)
    freedom = min(gain.freedom, len(gain_SE) - 1) if among > gain.error**2 / 2 else gain.freedom
    return Difference(gain.mean, gain.error, freedom)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of what other seeds would give; None where all gave the same."""
    import torch

    if len(values) < 2 or len(set(values)) == 1:
        return None
    return difference(torch.tensor(values, dtype=torch.float64)[:, None], torch.zeros(1, 1)).interval()
