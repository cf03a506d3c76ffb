"""What evaluators and reports promise: scores as declared, and what is shown of them."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypedDict, Union, get_args, get_origin, is_typeddict

from pdiff.components import Evaluator, Report, Tracker
from pdiff.context import Context
from pdiff.engine.observe import notify, tracked
from pdiff.engine.scores import scores_of
from pdiff.results.scores import Key, TaskScore, Unit, keys
from pdiff.results.shown import Showing
from pdiff.results.summary import cell
from pdiff.testing.asserts import is_json, seeded
from pdiff.testing.tiny import TinyMethod, tiny_run
from pdiff.view import View


def check_evaluator(component: Evaluator, *, run: dict[str, Any] | None = None) -> None:
    """Scores of a tiny run: JSON, as declared, only of sources that there are, with all that the columns show.

    Then what is shown of them: figures, findings and a page that a report takes.
    """
    with tempfile.TemporaryDirectory() as folder:
        pipeline = tiny_run(folder, **{"baseline": [TinyMethod()]} | (run or {}))
        view = pipeline.view()
        scores, again = (seeded(noise, lambda: component.evaluate(view, Context(seed=3))) for noise in (1, 2))
        is_json(scores, f"{component.name}: its scores")
        assert scores == again, f"{component.name}: the same context gives other scores"
        networks = scores.get("networks", {})
        unknown = sorted(set(networks) - set(view.theta))
        assert not unknown, f"{component.name}: scores networks of {unknown[0]!r}; there are {', '.join(view.theta)}"
        _check_columns(component, networks)
        _check_declared(component, networks, {key: value for key, value in scores.items() if key != "networks"})
        recipes = {evaluator.name for evaluator in pipeline.recipe.evaluate}
        _check_shown(component, pipeline.view(scores_of(pipeline, () if component.name in recipes else (component,))))


def _check_columns(component: Evaluator, networks: dict[str, Any]) -> None:
    for source, scored in networks.items():
        for title, key, spec in component.columns:
            value = scored.get(key)
            assert value is None or cell(value, spec, Unit()), f"{component.name}: no {title} of {source}"
    for title, key, _ in component.columns:
        shown = any(key in scored for scored in networks.values())
        assert shown, f"{component.name}: the column {title} shows {key!r}, which no source has"


def _check_declared(component: Evaluator, networks: dict[str, Any], whole: dict[str, Any]) -> None:
    """Scores are those of the TypedDicts, where the evaluator declares any."""
    per_source, per_run = component.source_scores, component.run_scores
    if component.gives_score:
        lacking = {key.name for key in keys(TaskScore)} - {key.name for key in keys(per_source or NoScores)}
        assert not lacking, f"{component.name}: gives the task's score, and source_scores lacks {sorted(lacking)[0]!r}"
    if per_source is None and per_run is None:
        return
    wrong = [
        f"{line}, of {source}"
        for source, scored in networks.items()
        for line in misfits(scored, per_source or NoScores)
    ]
    wrong += misfits(whole, per_run or NoScores)
    assert not wrong, f"{component.name}: its scores are not as declared: {wrong[0]}"


class NoScores(TypedDict):
    """What an evaluator gives that declares nothing."""


def fits(value: Any, hint: Any) -> bool:
    """Return whether JSON is of a type; a whole number is a number, too, and a table has the keys that it must have."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is list:
        return isinstance(value, list) and all(fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(item, arguments[1]) for item in value.values())
    if is_typeddict(hint):
        return isinstance(value, dict) and not misfits(value, hint)
    if hint in (float, int):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return hint is Any or (value is None if hint in (None, NoneType) else isinstance(value, origin or hint))


def misfits(value: dict[str, Any], table: type) -> list[str]:
    """Return what is wrong with a mapping that is to be a TypedDict, a line each."""
    known = {key.name: key for key in keys(table)}
    lines = [f"{name!r} is no key of {table.__name__}" for name in value if name not in known]
    return lines + [line for key in known.values() if (line := _misfit(value, key))]


def _misfit(value: dict[str, Any], key: Key) -> str:
    if key.name not in value:
        return f"{key.name!r} is missing" if key.required else ""
    good = fits(value[key.name], key.hint)
    return "" if good else f"{key.name!r} is to be {key.hint}, found {value[key.name]!r:.80}"


def _check_shown(component: Evaluator, view: View) -> None:
    """What it shows is fit for a report, the second time too, and no sentence brings its full stop."""
    showing, again = (Showing({component.name: component}, lambda line: None) for _ in range(2))
    figures = showing.figures(view)
    headline, sentences = showing.findings(view.scores)
    showing.pages(view, figures)
    assert not showing.faults, showing.faults[0]
    assert again.figures(view) == figures, f"{component.name}: figures() gives others the second time"
    ended = [text for text in (headline, *sentences) if text.endswith(".")]
    assert not ended, f"{component.name}: a report ends the sentence itself: {ended and ended[0]!r}"


def check_report(component: Report, *, run: dict[str, Any] | None = None) -> None:
    """Files below the folder given, also the second time."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline, out = tiny_run(folder, **run or {}), Path(folder) / "report"
        out.mkdir()
        view = pipeline.view(scores_of(pipeline))
        for _ in range(2):
            paths = [Path(path) for path in component.render(view, out)]
            assert paths, f"{component.name}: writes nothing"
            for path in paths:
                assert path.resolve().is_relative_to(out.resolve()), f"{component.name}: {path} is not below {out}"
                assert path.is_file() and path.stat().st_size, f"{component.name}: {path.name} is empty or not there"


def check_tracker(component: Tracker) -> None:
    """It follows a tiny run to its end, and one that fails, and no hook of it raises."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        pipeline, recipe = tiny_run(Path(folder) / "runs"), {"seed": 0, "method": {"name": "tiny_method"}}
        stages = {what: stage.key for what, stage in pipeline.plan}
        for fails in (False, True):
            about: dict[str, Any] = {"run": pipeline.name, "folder": Path(folder) / f"run-{fails}"}
            about["folder"].mkdir()
            with (
                contextlib.suppress(ArithmeticError),
                tracked([component], said.append, recipe=recipe, stages=stages, **about),
            ):
                scores = scores_of(pipeline)
                if fails:
                    raise ArithmeticError("as a test asks for")
                for name in ("recipe.toml", "resolved.toml", "scores.json"):
                    (about["folder"] / name).write_text("{}")
                notify(said.append, "run_finished", scores=scores, files=[], failure="", **about)
    assert not said, f"{component.name}: {said[0]}"
