"""Values: the property that is read, of networks whose answers are known. N checkpoints, M other networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff.errors import UserError, did_you_mean
from pdiff_plugins.reading.controls import settings_of

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.zoo import Zoo

SCORE = "score"


def of_zoo(name: str, zoo: Zoo, bench: Bench, key: str) -> Tensor:
    """Return the property of each checkpoint, `[N]` in float64.

    Raises UserError where there is no such property; `key` names the option.
    """
    if name in settings_of(zoo.rows):
        return torch.tensor([float(row["settings"][name]) for row in zoo.rows], dtype=torch.float64)
    value_N = of_networks(name, zoo.theta_ND, bench)
    if value_N is None:
        known = [SCORE, *bench.measures(), *settings_of(zoo.rows)]
        raise UserError(f"{key} = {name!r}: no such property{did_you_mean(name, known)}; there: {', '.join(known)}")
    return value_N


def of_networks(name: str, theta_MD: Tensor, bench: Bench) -> Tensor | None:
    """Return the score or a measure on the selection split, `[M]` in float64; None where it is neither."""
    if name == SCORE:
        return bench.score(theta_MD).double().cpu()
    measured = bench.measure(theta_MD)
    return measured[name].double().cpu() if name in measured else None
