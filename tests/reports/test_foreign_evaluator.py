"""A stranger's evaluator, installed from its own distribution: the report shows what it shows, and names its faults."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import HANG_S, ROOT, pdiff_command
from tests.reports.helpers import RECIPE

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "pdiff-norms"
version = "1.2.3"
[project.entry-points.pdiff]
norms = "pdiff_norms"
[tool.hatch.build.targets.wheel]
include = ["pdiff_norms.py"]
"""
BROKEN = """
    def figures(self, view):
        yield Figure("half", "Half of it", "Before it raised.", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg")
        raise RuntimeError("no <ink>")

    def findings(self, scores):
        return ["no Finding"]

    def page(self, view, figures):
        return Page("index", "Mine.", "It would take the place of the report", {})
"""


def example() -> str:
    """Return the module that the tutorial shows."""
    text = (ROOT / "docs" / "tutorials" / "own_plugin.md").read_text(encoding="utf-8")
    return re.search(r"```python\n(# pdiff_norms\.py\n.*?)```", text, re.DOTALL)[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder into which pip installed a distribution of the tutorial's module."""
    for needed in ("pip", "hatchling"):
        pytest.importorskip(needed)
    source = tmp_path_factory.mktemp("source")
    target = source / "installed"
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "pdiff_norms.py").write_text(example())
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--target", target]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *options, source]
    done = subprocess.run([str(part) for part in command], cwd=source, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def ran(folder: Path, installed: Path) -> tuple[Path, str]:
    """Run a small recipe with the evaluator in a fresh process; return the run's folder, and what was printed."""
    shown = RECIPE.replace('{ name = "accuracy" }', '{ name = "accuracy" }, { name = "norms" }')
    (folder / "tiny.toml").write_text(f'report = [{{ name = "html" }}, {{ name = "markdown" }}]\n{shown}')
    path = os.pathsep.join([str(installed), *sys.path])
    done = pdiff_command("run", "tiny.toml", "--device", "cpu", cwd=folder, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").glob("tiny-*")
    return run, done.stdout + done.stderr


def test_a_figure_a_finding_and_a_page_of_a_stranger_are_in_the_report(installed, tmp_path):
    run, _ = ran(tmp_path, installed)
    index, page = ((run / name).read_text(encoding="utf-8") for name in ("index.html", "norms.html"))
    assert (run / "figures" / "norms.svg").read_text().startswith("<svg")
    assert "data:image/svg+xml;base64," in index and "A bar per source." in index
    said = r"Vectors of pdiff are \d\.\d\d times as long as those of the originals\."
    assert re.search(f"<li>{said}</li>", index) and re.search(f"- {said}", (run / "report.md").read_text())
    assert '<a href="norms.html">The mean length of every source&#x27;s vectors &rarr;</a></p>' in index
    assert '<nav><a class="page" href="norms.html">Norms \u2192</a>' in index, "on top, too"
    assert f'<nav><a class="page" href="index.html">\u2190 {run.name}</a>' in page, "and back"
    assert "<h1>How long the vectors are.</h1>" in page and "<tr><td>soup</td><td>" in page
    assert index.count("Networks drawn by pdiff are") == 1 and 'id="not-shown"' not in index


def test_an_evaluator_that_raises_is_named_and_loses_nothing_of_the_report(installed, tmp_path):
    module = re.sub(r"\n    def findings.*?(?=\n\n\n@hookimpl)", lambda _: BROKEN.rstrip(), example(), flags=re.DOTALL)
    broken = shutil.copytree(installed, tmp_path / "broken")
    (broken / "pdiff_norms.py").write_text(module)
    run, printed = ran(tmp_path, broken)
    index, text = ((run / name).read_text(encoding="utf-8") for name in ("index.html", "report.md"))
    faults = (
        "evaluator norms: figures() raised RuntimeError: no &lt;ink&gt;",
        "evaluator norms: findings() raised TypeError: it gives a str where a Finding was expected",
        "evaluator norms: page() raised ValueError: the name &#x27;index&#x27; is taken by another page",
    )
    for fault in faults:
        assert f"<li>{fault}.</li>" in index
    assert f"- {faults[1]}" in text and "figures()" not in text
    assert "warning: evaluator norms: findings() raised TypeError" in " ".join(printed.split())
    assert printed.count("findings() raised") == 1
    shown = {path.stem for path in (run / "figures").iterdir()}
    assert {"half", "score", "similarity", "map", "training"} <= shown
    assert "Networks drawn by pdiff are" in index and "norms.html" not in index
