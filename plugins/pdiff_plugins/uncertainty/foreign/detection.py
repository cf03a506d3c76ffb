"""How well a score tells foreign examples from known ones: higher is more foreign. E known, F foreign examples."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def auroc(known_E: Tensor, foreign_F: Tensor) -> float:
    """Return the chance that a foreign example has the higher score of a pair, ties counted half; exact.

    The area under the ROC curve (Mann and Whitney's U over E F). NaN where one side is empty or a score is NaN.
    """
    if not _told(known_E, foreign_F):
        return math.nan
    known_E = known_E.sort().values
    below, up_to = (torch.searchsorted(known_E, foreign_F, side=side).sum().item() for side in ("left", "right"))
    return (below + up_to) / (2 * len(known_E) * len(foreign_F))


def fpr(known_E: Tensor, foreign_F: Tensor, at: float = 0.95) -> float:
    """Return the share of known examples that are taken for foreign where at least `at` of the foreign are found.

    Foreign is what has a score of at least a threshold, the highest that finds enough; foreign examples are the
    positives, as in Hendrycks et al. 2019, arXiv 1812.04606. NaN where one side is empty or a score is NaN.
    """
    if not _told(known_E, foreign_F):
        return math.nan
    count = len(foreign_F)
    found = max(math.ceil(at * count - 1), 1)
    found += found / count < at  # of two, as rounding of the product may have it
    threshold = foreign_F.sort(descending=True).values[found - 1]
    return (known_E >= threshold).sum().item() / len(known_E)


def _told(known_E: Tensor, foreign_F: Tensor) -> bool:
    return all(len(scores) > 0 and not scores.isnan().any() for scores in (known_E, foreign_F))
