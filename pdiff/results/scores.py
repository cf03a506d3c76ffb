"""Scores: the keys of a run's scores.json, and of what several evaluators give. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, NotRequired, Required, TypedDict, get_args, get_origin, get_type_hints

from pdiff.errors import UserError


class RunScores(TypedDict):
    """A run's scores; beside these keys, each evaluator's name leads to what it gives for the run as a whole."""

    run: Annotated[str, "the run's name, `<recipe>-<key>`"]
    recipe: Annotated[dict[str, Any], "the recipe, every option written out"]
    protocol: Annotated[str, "`paper` or `holdout`"]
    selection: Annotated[str, "the split on which epochs and the best network are selected"]
    method: Annotated[str, "the source that is the recipe's method"]
    main: Annotated[str, "what the task calls its score"]
    scored_by: Annotated[str, "the evaluator that gives the task's score of each source; empty where none does"]
    compared_by: Annotated[str, "the evaluator by whose means sources are compared: that one, else one that `compares`"]
    device: Annotated[str, "where it was computed"]
    parameters: Annotated[int, "selected parameters of a network"]
    networks: Annotated[dict[str, dict[str, Any]], "source -> its `count`, and its scores by evaluator"]
    columns: Annotated[dict[str, list[list[str]]], "evaluator -> its columns of the table: title, key, format"]
    first: Annotated[list[str], "titles of the columns that matter most"]
    verdict: Annotated[str, "what an evaluator says of the run as a whole, in a sentence; empty where none does"]
    legends: Annotated[list[str], "what the columns' titles mean"]
    notes: Annotated[list[str], "what a reader of the table must know"]
    facts: Annotated[dict[str, dict[str, Any]], "source -> what fitting its method found worth telling"]
    base: Annotated[dict[str, Any], "the base network's training"]
    elsewhere: Annotated[list[str], "what was made outside of the run, and trained on what it cannot know"]
    expect: Annotated[list[dict[str, Any]], "published numbers, as the recipe has them"]
    seconds: Annotated[dict[str, float], "stage -> how long it took"]
    stages: Annotated[list[str], "the folders in the store of the base network and of the checkpoints"]


RESERVED = frozenset(RunScores.__annotations__)
"""Names that no evaluator can have."""


class Spread(TypedDict):
    """One number of each network of a source, summed up."""

    mean: Annotated[float, "over networks"]
    std: Annotated[float, "standard deviation over networks (of a population)"]
    median: Annotated[float, "over networks"]
    min: Annotated[float, "over networks"]
    max: Annotated[float, "over networks"]


class TaskScore(Spread):
    """The task's score of a source's networks on the test split."""

    best: Annotated[float, "of the network that is best on the selection split"]
    best_index: Annotated[int, "number of that network"]
    values: Annotated[list[float], "of each network"]
    selection_values: Annotated[list[float], "of each network on the selection split"]


def given_by(scores: Mapping[str, Any], evaluator: str) -> dict[str, dict[str, Any]]:
    """Return source -> what an evaluator gave for it, for sources that have it."""
    return {source: scored[evaluator] for source, scored in scores["networks"].items() if evaluator in scored}


def scored(scores: Mapping[str, Any]) -> dict[str, TaskScore]:
    """Return source -> the task's score; nothing where no evaluator gave it."""
    return given_by(scores, scores.get("scored_by", ""))  # type: ignore[return-value]


def beside(scores: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return name -> evaluator -> what it gave for what stands in the table and is no source."""
    known: dict[str, dict[str, dict[str, Any]]] = {}
    for name in (name for name in scores.get("columns", ()) if name in scores):
        rows = scores[name].get("beside")
        for what, row in rows.items() if isinstance(rows, dict) else ():
            known.setdefault(what, {})[name] = row
    return known


def compared(scores: Mapping[str, Any]) -> dict[str, Spread]:
    """Return by source, and by name of what stands beside them, the numbers that they are compared by."""
    name = scores.get("compared_by") or scores.get("scored_by", "")
    others = {what: rows[name] for what, rows in beside(scores).items() if name in rows}
    return given_by(scores, name) | others  # type: ignore[return-value]


@dataclass(frozen=True)
class Unit:
    """How a score is written: a share of 1 in per cent, anything else as the plain number that it is."""

    name: str = "%"

    @classmethod
    def of(cls, values: Iterable[float], name: str | None = None) -> Unit:
        """Return the unit that a task names; where it names none, per cent if all values lie within 0..1."""
        known = [value for value in values if value == value]
        return cls(("%" if known and all(0 <= value <= 1 for value in known) else "") if name is None else name)

    @property
    def factor(self) -> float:
        """What a score is multiplied with to be written."""
        return 100.0 if self.name == "%" else 1.0

    def text(self, value: float) -> str:
        return f"{value:.2%}" if self.name == "%" else f"{value:.5g} {self.name}".strip()

    def difference(self, value: float, sign: str = "") -> str:
        """Return a difference of two scores in words; with sign "+" a rise bears it."""
        return f"{self.bare(value, sign)} {'points' if self.name == '%' else self.name}".strip()

    def bare(self, value: float, sign: str = "") -> str:
        """Return a difference of two scores as the number alone."""
        return format(100 * value, f"{sign}.2f") if self.name == "%" else format(value, f"{sign}.3g")

    def axis(self, what: str) -> str:
        return f"{what} ({self.name})" if self.name else what


def unit_of(scores: Mapping[str, Any]) -> Unit:
    """Return how the run's scores are written."""
    values = [value for score in scored(scores).values() for value in score["values"]]
    named = (table.get("unit") for name, table in scores.items() if name not in RESERVED and isinstance(table, Mapping))
    return Unit.of(values, next((unit for unit in named if unit is not None), None if values else "%"))


def nothing(scores: Mapping[str, Any]) -> list[str]:
    """Return why the run can tell nothing about a generator: the reasons that evaluators give as `nothing`."""
    given = (table for name, table in scores.items() if name not in RESERVED and isinstance(table, Mapping))
    return [reason for table in given for reason in table.get("nothing", ())]


class Key(NamedTuple):
    """A key of a TypedDict: its type without `Annotated`, and the text that it is annotated with."""

    name: str
    hint: Any
    required: bool
    about: str


def keys(table: type) -> list[Key]:
    """Return the keys of a TypedDict, its bases' first. Raises UserError where a type is not known at run time."""
    try:
        hints = get_type_hints(table, include_extras=True)
    except NameError as error:
        raise UserError(f"{table.__qualname__}: {error}; import it outside of TYPE_CHECKING") from None
    required: frozenset[str] = table.__required_keys__  # type: ignore[attr-defined]
    return [_key(name, hint, name in required, "") for name, hint in hints.items()]


def _key(name: str, hint: Any, required: bool, about: str) -> Key:
    """Take off what stands around a type; where annotations are text, the class does not know what is not required."""
    origin = get_origin(hint)
    if origin is Annotated:
        text = next((text for text in hint.__metadata__ if isinstance(text, str)), about)
        return _key(name, hint.__origin__, required, text)
    if origin in (NotRequired, Required):
        return _key(name, get_args(hint)[0], required and origin is Required, about)
    return Key(name, hint, required, about)
