"""Shown: what evaluators show of a run's scores, and how reports gather it. Imports no torch."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

NAME = re.compile(r"[a-z][a-z0-9_]*")
TYPES = {"str": str, "bytes": bytes, "int": int, "bool": bool, "Mapping[str, str]": str}
MEDIA = {"png": "image/png", "gif": "image/gif", "svg": "image/svg+xml"}


@dataclass(frozen=True)
class Figure:
    """A picture with its title and caption. ValueError for a name or a kind that is none."""

    name: str
    """Of its file, in lower_snake_case; no two of a run have the same."""
    title: str
    caption: str
    """Whole sentences; `x` in backticks is code."""
    data: bytes
    """The file."""
    kind: str = "png"
    """png, gif or svg."""
    order: int = 50
    """What is smaller is shown earlier, what is equal in the recipe's order.

    10: what networks do; 30: scores against one another; 50: one score; 90: what belongs to no evaluator.
    """

    def __post_init__(self) -> None:
        _check_name("figure", self.name)
        if self.kind not in MEDIA:
            raise ValueError(f"figure {self.name}: kind {self.kind!r} is none of {', '.join(MEDIA)}")

    @property
    def uri(self) -> str:
        """The picture as the source of an HTML image."""
        return f"data:{MEDIA[self.kind]};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Finding:
    """What scores say, in a sentence without its full stop; `x` in backticks is code."""

    text: str
    headline: bool = False
    """It sums the run up: a report begins with the first of them, that of an evaluator that `gives_score` last."""
    note: bool = False
    """A reader of the table must know it: it stands below the table, also on the terminal. A note ends as it likes."""


@dataclass(frozen=True)
class Page:
    """A page of an HTML report beside its first, which links to it. ValueError for a name that is none."""

    name: str
    """Of its file, in lower_snake_case; no two of a run have the same."""
    title: str
    """What stands on top of it, a whole sentence."""
    about: str
    """What is on it, in a line: the link."""
    sections: Mapping[str, str]
    """Heading -> HTML; without scripts, and with nothing to fetch: a figure's `uri` is its image's source."""

    def __post_init__(self) -> None:
        _check_name("page", self.name)


def _check_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"the {what}'s name {name!r} is not in lower_snake_case")


class Shows(Protocol):
    """An evaluator, as far as reports ask it."""

    @property
    def name(self) -> str: ...
    @property
    def gives_score(self) -> bool: ...
    def figures(self, view: Any) -> Iterable[Figure]: ...
    def findings(self, scores: Any) -> Iterable[Finding]: ...
    def page(self, view: Any, figures: Sequence[Figure]) -> Page | None: ...


class Showing:
    """Asks the evaluators of a run what they show; one that raises is named, and passed over from there on."""

    def __init__(self, evaluators: Mapping[str, Shows], warn: Callable[[str], None]):
        """`warn` is told who raised what, as `faults` are."""
        self._evaluators, self._warn = list(evaluators.values()), warn
        self.faults: list[str] = []
        """Who raised what, a line each."""

    def figures(self, view: Any, taken: Collection[str] = ()) -> list[Figure]:
        """Return the figures of a view, in the order in which they are shown; the names `taken` are refused."""
        names = set(taken)
        figures = [
            figure for evaluator in self._evaluators for figure in self._ask(evaluator, "figures", Figure, names, view)
        ]
        return sorted(figures, key=lambda figure: figure.order)

    def findings(self, scores: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Return (headline, sentences), no full stops; the headline is empty where no evaluator gives one.

        A further headline is a sentence as any other, but for that of an evaluator that `gives_score`, which goes.
        """
        told = [(evaluator.gives_score, finding) for evaluator, finding in self._told(scores) if not finding.note]
        headlines = sorted((pair for pair in told if pair[1].headline), key=lambda pair: pair[0])
        first = headlines[0][1] if headlines else None
        rest = [finding.text for score, finding in told if finding is not first and not (score and finding.headline)]
        return first.text if first else "", rest

    def notes(self, scores: Mapping[str, Any]) -> list[str]:
        """Return what a reader of the table must know."""
        return [finding.text for _, finding in self._told(scores) if finding.note]

    def pages(self, view: Any, figures: Sequence[Figure], taken: Collection[str] = ()) -> list[Page]:
        """Return the pages of a view; `figures` are all of its report, the names `taken` are refused."""
        names = set(taken)
        return [
            page for evaluator in self._evaluators for page in self._ask(evaluator, "page", Page, names, view, figures)
        ]

    def _told(self, scores: Mapping[str, Any]) -> list[tuple[Shows, Finding]]:
        return [
            (evaluator, finding)
            for evaluator in self._evaluators
            for finding in self._ask(evaluator, "findings", Finding, None, scores)
        ]

    def _ask(self, evaluator: Shows, what: str, kind: type[Any], names: set[str] | None, *arguments: Any) -> list[Any]:
        """Return what an evaluator gives, as far as it is fit to be shown; `names` grows by those of what it gives."""
        given: list[Any] = []
        try:
            answer = getattr(evaluator, what)(*arguments)
            for thing in [answer] if isinstance(answer, Page) else answer or ():
                _check(thing, kind, names)
                given.append(thing)
        except Exception as error:
            reason = " ".join(str(error).split())
            self._fault(f"evaluator {evaluator.name}: {what}() raised {type(error).__name__}: {reason}")
        return given

    def _fault(self, line: str) -> None:
        if line not in self.faults:
            self.faults.append(line)
            self._warn(line)


def _check(thing: Any, kind: type[Any], names: set[str] | None) -> None:
    if not isinstance(thing, kind):
        raise TypeError(f"it gives a {type(thing).__name__} where a {kind.__name__} was expected")
    for field in fields(thing):
        value = getattr(thing, field.name)
        texts = list(value.values()) if isinstance(value, Mapping) else [value]
        if not all(isinstance(text, TYPES[str(field.type)]) for text in texts):
            raise TypeError(f"{kind.__name__}.{field.name} is to be {field.type}, found {value!r:.40}")
    if names is not None:
        if thing.name in names:
            raise ValueError(f"the name {thing.name!r} is taken by another {kind.__name__.lower()}")
        names.add(thing.name)
