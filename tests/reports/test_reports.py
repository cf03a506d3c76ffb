"""Reports: right, self-contained, escaped, the same bytes each time, and silent about what was not measured."""

from __future__ import annotations

import base64
import copy
import re
import tomllib
from dataclasses import replace
from html import unescape
from pathlib import Path

import matplotlib
import pytest
import torch
from PIL import Image

from pdiff_plugins.drawing import page as html_page
from pdiff_plugins.drawing import style as figure_style
from pdiff_plugins.reports.reports import Html, Markdown
from tests.reports.helpers import ALL, figures, said


def without(view, *evaluators):
    """Return the view of a recipe that never asked for some evaluators."""
    scores = copy.deepcopy(view.scores)
    for name in evaluators:
        scores["columns"].pop(name)
        scores.pop(name)
        for own in scores["networks"].values():
            own.pop(name, None)
    scores["scored_by"] = "" if "accuracy" in evaluators else scores["scored_by"]
    left = {name: evaluator for name, evaluator in view.evaluators.items() if name not in evaluators}
    return replace(view, scores=scores, evaluators=left)


def page(view, out: Path) -> str:
    Html().render(view, out)
    return (out / "index.html").read_text(encoding="utf-8")


def test_html_is_one_file_that_fetches_nothing(rendered):
    index, *figures = rendered
    assert [path.relative_to(index.parent).as_posix() for path in figures] == [f"figures/{name}.png" for name in ALL]
    text = index.read_text(encoding="utf-8")
    assert "://" not in text and "@import" not in text and "<script" not in text and "<link" not in text
    for target in re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)|url\(([^)]*)""", text):
        assert re.match(r"data:image/png;base64,|#", "".join(target))
    for path in figures:
        assert f"base64,{base64.b64encode(path.read_bytes()).decode()}" in text
        with Image.open(path) as image:
            assert image.width == round(30 * figure_style.WIDTH)


def test_html_shows_the_table_the_notes_and_published_numbers(rendered, view):
    text = rendered[0].read_text(encoding="utf-8")
    head, rows = view.table()
    cells = re.findall(r"<t[dh][^>]*>(?:<span[^>]*></span>)?([^<]*)</t[dh]>", text)
    wanted = [*head, *(cell for row in rows for cell in row)]
    assert [unescape(cell) for cell in cells[: len(wanted)]] == wanted
    assert "selected on the test split itself" in text
    assert "<td>original</td><td>best</td>" in text and ">61.25</td>" in text and ">0.875</td>" in text
    assert "published: Table &lt;1&gt;" in text


def test_html_holds_the_resolved_recipe(rendered, view):
    text = rendered[0].read_text(encoding="utf-8")
    recipe = unescape(re.search(r"<pre>(.*)</pre>", text, re.DOTALL)[1])
    assert tomllib.loads(recipe) == view.scores["recipe"]


def test_everything_is_the_same_bytes_again_whatever_matplotlibrc_says(rendered, view, tmp_path):
    before, random = dict(matplotlib.rcParams), torch.get_rng_state()
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False}):
        again = Html().render(view, tmp_path)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in rendered]
    assert dict(matplotlib.rcParams) == before and torch.equal(torch.get_rng_state(), random)


def test_names_are_escaped_everywhere(view, tmp_path):
    """A source may come from a third party's method, a run's name from a file name."""
    strange = "<b>$x_{$|&_soup"
    scores = copy.deepcopy(view.scores)
    for table in (scores["networks"], scores["facts"]):
        own = {strange if source == "soup" else source: value for source, value in table.items()}
        table.clear()
        table.update(own)
    theta = {strange if source == "soup" else source: value for source, value in view.theta.items()}
    curve = [{"step": 1, "loss": -1.0, "part": "<i>$"}, {"step": 2, "loss": 3.0, "part": "<i>$"}]
    logs = dict(view.logs) | {strange: curve}
    odd = replace(view, name="<b>run</b>", scores=scores, theta=theta, logs=logs)
    text = page(odd, tmp_path)
    assert "<b>" not in text and "<i>" not in text
    assert "<title>&lt;b&gt;run&lt;/b&gt;</title>" in text and "&lt;b&gt;$x_{$|&amp;_soup</td>" in text
    Markdown().render(odd, tmp_path)
    lines = (tmp_path / "report.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# &lt;b&gt;run&lt;/b&gt;"
    row = next(line for line in lines if line.startswith("| &lt;b&gt;"))
    assert len(re.findall(r"(?<!\\)\|", row)) == len(view.table()[0]) + 1


@pytest.mark.parametrize(
    "absent, gone",
    [
        (["accuracy", "distance"], {"score", "score_similarity", "distance"}),
        (["similarity", "denoising"], {"similarity", "score_similarity", "denoising"}),
    ],
)
def test_what_was_not_evaluated_is_left_out(view, absent, gone):
    less = without(view, *absent)
    assert [picture.name for picture in figures(less)] == [name for name in ALL if name not in gone]
    text = " ".join(said(less.scores, less.evaluators.values()))
    words = {"accuracy": "mean accuracy", "similarity": "overlap", "distance": "nearest checkpoint"}
    assert [name for name in words if words[name] in text] == [name for name in words if name not in absent]


def test_reports_without_any_evaluator(view, tmp_path):
    bare = replace(without(view, "accuracy", "similarity", "distance", "denoising"), logs={})
    text = page(bare, tmp_path)
    assert "pdiff: no evaluator of the accuracy ran" in text and "figures" in text.lower()
    Markdown().render(bare, tmp_path)
    assert "| pdiff | 9 |" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_markdown_holds_the_numbers(view, tmp_path):
    (path,) = Markdown().render(view, tmp_path)
    text = path.read_text(encoding="utf-8")
    assert path == tmp_path / "report.md" and text.startswith(f"# {view.name}\n")
    assert "12 checkpoints of" in text
    assert "Protocol paper (selects on the test split itself), seed 3, device cpu" in text
    for row in view.table()[1]:
        assert f"| {' | '.join(row)} |" in text
    assert "| original | best | 61.25 |" in text and "| codec of | latent |" in text and "| fit pdiff |" in text


def test_a_headline_is_short_and_the_rest_of_it_follows() -> None:
    long = "Networks are as good as the originals (mean 83.79% against 83.63%); an average is better (86.80%)."
    shown = html_page.page("run", long, "ran.", {"Audit": "a link", "Empty": ""}, {"audit.html": "Audit"})
    assert "<h1>Networks are as good as the originals.</h1>" in shown
    assert '<p class="lead">Mean 83.79% against 83.63%. An average is better (86.80%).</p>' in shown
    assert shown.count(">Audit</a>") == 1 and 'href="#audit"' not in shown and 'id="audit"' in shown
    plain = html_page.page("run", "It learnt (a) thing, or (b).", "ran.", {})
    assert "<h1>It learnt (a) thing, or (b).</h1>" in plain and "lead" not in plain.partition("</style>")[2]


def test_a_table_scrolls_by_keys_too_and_says_so_where_it_is_wide() -> None:
    narrow, broad = (html_page.table(["a"] * n, [["1"] * n]) for n in (3, 9))
    assert 'class="wide" tabindex="0"' in narrow and "scroll" not in narrow and broad.startswith('<p class="hint">')
    assert html_page.table([], []) == ""
