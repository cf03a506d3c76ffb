"""Controls: what tells a network's property without its weights, from the zoo of a run. N networks, F columns."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.errors import UserError
from pdiff.zoo import about
from pdiff_plugins.reading.boosting import Boosted

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.zoo import Zoo

UNLABELLED = 20
"""Inputs at which networks say how sure they are."""
SPLIT = "test"
"""Whose inputs these are: no network was trained on them. Their labels are not used."""


class Constant:
    """The mean of the networks learnt."""

    def __init__(self, zoo: Zoo, value_N: Tensor, bench: Bench):
        self.mean = value_N.mean()

    def read(self, zoo: Zoo, bench: Bench) -> Tensor:
        return self.mean.expand(len(zoo)).clone()


class Settings:
    """How a network was trained and what it is for, by boosted trees: `settings`, step and `about` of its row."""

    def __init__(self, zoo: Zoo, value_N: Tensor, bench: Bench):
        rows = [_facts(row) for row in zoo.rows]
        names = dict.fromkeys(name for row in rows for name in row)
        self.names = [name for name in names if len({_text(row.get(name)) for row in rows}) > 1]
        same = [name for name in self.names if [row.get(name) for row in rows] == value_N.tolist()]
        self.names = [name for name in self.names if name not in same]  # a setting does not tell itself
        if not self.names:
            raise UserError("the runs' settings do not vary, or their rows do not say them")
        texts = {name: [row.get(name) for row in rows if not _is_number(row.get(name))] for name in self.names}
        self.codes = {
            name: {text: float(code) for code, text in enumerate(dict.fromkeys(map(_text, values)))}
            for name, values in texts.items()
        }
        self.trees = Boosted(self._table(zoo), value_N)

    def read(self, zoo: Zoo, bench: Bench) -> Tensor:
        return self.trees.read(self._table(zoo))

    def _table(self, zoo: Zoo) -> Tensor:
        """Return the settings as numbers `[N, F]`: words numbered as they came, NaN for what was not met before."""
        rows = [_facts(row) for row in zoo.rows]
        return torch.tensor([[self._number(name, row.get(name)) for name in self.names] for row in rows]).double()

    def _number(self, name: str, value: Any) -> float:
        return float(value) if _is_number(value) else self.codes[name].get(_text(value), math.nan)


class Confidence:
    """How sure a network is of its classes at a few unlabelled inputs, sorted, by boosted trees."""

    def __init__(self, zoo: Zoo, value_N: Tensor, bench: Bench):
        self.trees = Boosted(self._table(zoo, bench), value_N)

    def read(self, zoo: Zoo, bench: Bench) -> Tensor:
        return self.trees.read(self._table(zoo, bench))

    def _table(self, zoo: Zoo, bench: Bench) -> Tensor:
        found = bench.log_probabilities(zoo.theta_ND, SPLIT, UNLABELLED)
        if found is None:
            raise UserError("the task has no classes to be sure of")
        return found[0].double().amax(dim=2).exp().sort(dim=1).values


CONTROLS: Mapping[str, type[Constant] | type[Settings] | type[Confidence]] = {
    "constant": Constant, "settings": Settings, "confidence": Confidence,
}  # fmt: skip


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"step": row.get("step"), **row.get("settings", {}), **{f"about {k}": v for k, v in about(row).items()}}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def settings_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the numbers that all rows have as settings."""
    every = [{name for name, value in row.get("settings", {}).items() if _is_number(value)} for row in rows]
    return sorted(set.intersection(*every)) if every else []
