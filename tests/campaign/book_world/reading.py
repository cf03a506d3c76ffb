"""What a finished run must have left: scores as they are declared, and a report with all its parts."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from pdiff.engine.plan import Plan
from pdiff.recipe.loading import load_recipe
from pdiff.recipe.tables import Recipe
from pdiff.results.scores import RunScores
from pdiff.testing.showing import misfits
from pdiff.view import ORIGINAL
from pdiff_plugins.reports.reports import plain

FIGURES = {
    "accuracy": ("score",), "similarity": ("similarity", "score_similarity"), "distance": ("distance",),
    "denoising": ("denoising",), "front": ("front",), "audit": ("novel_and_performant",), "frechet": ("images",),
    "renderings": ("film", "film_animated", "shapes", "resolutions", "between"), "fields": (), "memory": (),
    "prompts": ("prompts", "prompts_gradients", "prompts_plane", "prompts_recursion"),
}  # fmt: skip
"""Those that a report has of each evaluator."""
ALWAYS = ("parameters", "map", "training")
PAGES = {"audit": "audit.html"}
LEAST = 3
"""Checkpoints that a map of them needs."""
UNTOLD = re.compile(r"\b(nan|inf|NaN|Infinity|None)\b")
"""Of a number that is none."""


def fault(folder: Path) -> str | None:
    """Return the first thing that is wrong with a run's folder."""
    return next(faults(folder), None)


def faults(folder: Path) -> Iterator[str]:
    recipe = load_recipe(folder / "resolved.toml")
    text = (folder / "scores.json").read_text(encoding="utf-8")
    strange: list[str] = []
    scores = json.loads(text, parse_constant=strange.append)
    if strange:
        yield f"scores.json holds {strange[0]}"
    yield from _scores(recipe, scores)
    listed = json.loads((folder / "report.json").read_text(encoding="utf-8"))["pages"]
    yield from (f"{name} is listed and not there" for name in listed if not (folder / name).is_file())
    yield from _markdown(recipe, scores, (folder / "report.md").read_text(encoding="utf-8"))
    yield from _html(recipe, scores, folder)
    drawn = scores["networks"][scores["method"]]
    solid = drawn.get("fields", {}).get("empty", 0) < drawn["count"]  # networks that were hardly trained show nothing
    wanted = solid and any(report.name == "meshes" for report in recipe.report)
    if wanted and not list((folder / "meshes").glob("*.ply")):
        yield "no meshes"


def _scores(recipe: Recipe, scores: Mapping[str, Any]) -> Iterator[str]:
    evaluators = {evaluator.name: evaluator for evaluator in recipe.evaluate}
    yield from misfits({key: value for key, value in scores.items() if key not in evaluators}, RunScores)
    plan, networks = Plan(recipe), scores["networks"]
    if list(networks) != list(plan.populations):
        yield f"scores are of {', '.join(networks)}, the recipe has {', '.join(plan.populations)}"
    if networks[plan.method]["count"] != recipe.sample.count:
        yield f"{networks[plan.method]['count']} networks of {plan.method}, not {recipe.sample.count}"
    for name, evaluator in evaluators.items():
        if name not in scores:
            yield f"no scores of {name}"
        elif evaluator.run_scores:
            yield from (f"{name}: {line}" for line in misfits(scores[name], evaluator.run_scores))
        for source, scored in networks.items():
            if name in scored and evaluator.source_scores:
                yield from (f"{name} of {source}: {line}" for line in misfits(scored[name], evaluator.source_scores))
            elif name not in scored and evaluator.gives_score:
                yield f"{name} says nothing of {source}"


def _markdown(recipe: Recipe, scores: Mapping[str, Any], text: str) -> Iterator[str]:
    for source, scored in scores["networks"].items():
        if f"\n| {plain(source)} | {scored['count']} |" not in text:
            yield f"report.md has no row of {source}"
    parts = ["## Notes", "## Time", *["## Published beside ours"] * bool(recipe.expect)]
    parts += ["## Codec gate"] * any("codec" in facts for facts in scores["facts"].values())
    yield from (f"report.md has no {part}" for part in parts if f"\n{part}" not in text)
    if "\n## Not shown" in text:
        yield f"report.md: not shown: {' '.join(text.partition('## Not shown')[2].split())[:200]}"
    yield from _unfit("report.md", text)


def _has_no_numbers(figure: str, scores: Mapping[str, Any]) -> bool:
    """Return whether there is nothing to draw: of methods without a path, of checkpoints that are all the same."""
    if figure == "denoising":
        return not scores["denoising"]["progress"]
    return figure == "novel_and_performant" and all("np" not in own["audit"] for own in scores["networks"].values())


def _html(recipe: Recipe, scores: Mapping[str, Any], folder: Path) -> Iterator[str]:
    text = (folder / "index.html").read_text(encoding="utf-8")
    names = [evaluator.name for evaluator in recipe.evaluate]
    sections = ["summary", "figures", "details", *(name for name in names if name in PAGES)]
    sections += ["published-beside-ours"] * bool(recipe.expect)
    yield from (f"index.html has no {name}" for name in sections if f'<section id="{name}">' not in text)
    yield from (f"no page {PAGES[name]}" for name in names if name in PAGES and not (folder / PAGES[name]).is_file())
    for target in re.findall(r'<a href="([^"]+)"', text):
        there = f'id="{target[1:]}"' in text if target.startswith("#") else (folder / target).is_file()
        if not there:
            yield f"index.html: the link {target} leads nowhere"
    shown = re.findall(r'<figure id="([^"]+)">', text)
    few = scores["networks"][ORIGINAL]["count"] < LEAST
    due = [*(figure for name in names for figure in FIGURES[name]), *([] if few else ALWAYS)]
    due = [figure for figure in due if not _has_no_numbers(figure, scores)]
    yield from (f"no figure {name}" for name in due if name not in shown)
    yield from (line for path in sorted((folder / "figures").iterdir()) if (line := _blank(path)))
    if 'id="not-shown"' in text:
        yield f"index.html: not shown: {' '.join(text.partition('>Not shown</h2>')[2].split())[:200]}"
    yield from _unfit("index.html", re.sub(r"<style>.*?</style>|<pre>.*?</pre>|<[^>]*>", " ", text, flags=re.DOTALL))


def _blank(path: Path) -> str:
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        image.load()
        colours = image.convert("RGB").getcolors(2**24) or []
    return f"{path.name} is blank" if len(colours) < 2 else ""


def _unfit(name: str, text: str) -> Iterator[str]:
    for found in UNTOLD.finditer(text):
        yield f"{name} says ...{' '.join(text[max(found.start() - 60, 0) : found.end() + 20].split())}"
