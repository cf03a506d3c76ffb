"""Reports: right, self-contained, escaped, the same bytes each time, and silent about what was not measured."""

from __future__ import annotations

import base64
import copy
import re
import tomllib
from dataclasses import replace
from html import unescape
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

import pdiff
from pdiff_plugins.drawing import style as figure_style
from pdiff_plugins.drawing.style import focus, left_out, looks, violin
from pdiff_plugins.reports.figures import pictures
from pdiff_plugins.reports.findings import findings
from pdiff_plugins.reports.reports import Html, Markdown

RECIPE = """
seed = 3
protocol = "paper"
dataset = { name = "digits", validation = 0.0, image_size = 8 }
task = { name = "classification" }
architecture = { name = "mlp_mini" }
selector = { name = "entire" }
train = { epochs = 2, lr = 3e-3 }
collect = { name = "trajectory", count = 12, lr = 3e-3, batch_size = 64 }
baseline = [{ name = "soup" }, { name = "gaussian", spreads = [1.0, 0.3] }, { name = "constant" }]
sample = { count = 9, baseline_count = 8 }
evaluate = [{ name = "accuracy" }, { name = "similarity" }, { name = "distance" }, { name = "denoising", points = 4 }]
[method]
name = "pdiff"
steps = 70
batch_size = 8
sampler = "ddim"
sampling_steps = 10
codec = { name = "pca", latent = 4 }
[[expect]]
source = "Table <1>"
original = { best = 61.25 }
similarity = { oo = 0.875 }
"""
ALL = ["score_similarity", "score", "similarity", "distance", "denoising", "parameters", "map", "training"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.toml").write_text(RECIPE)
    return pdiff.run(folder / "tiny.toml", set={"run.out": str(folder / "runs"), "run.device": "cpu"}, quiet=True)


@pytest.fixture(scope="module")
def original(run):
    """The view as the pipeline gives it, drawn coarsely, because only a look at the figures needs more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_style, "DPI", 30)
        yield run.pipeline.view(run.scores)


@pytest.fixture
def view(original):
    return replace(original, scores=copy.deepcopy(original.scores))


@pytest.fixture(scope="module")
def rendered(original, tmp_path_factory):
    return Html().render(original, tmp_path_factory.mktemp("html"))


def without(view, *evaluators):
    """Return the view of a recipe that never asked for some evaluators."""
    scores = copy.deepcopy(view.scores)
    for name in evaluators:
        scores["columns"].pop(name)
        scores.pop(name)
        for own in scores["networks"].values():
            own.pop(name, None)
    return replace(view, scores=scores)


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
    assert [picture.name for picture in pictures(less)] == [name for name in ALL if name not in gone]
    said = " ".join(findings(less.scores))
    words = {"accuracy": "mean accuracy", "similarity": "overlap", "distance": "nearest checkpoint"}
    assert [name for name in words if words[name] in said] == [name for name in words if name not in absent]


def test_reports_without_any_evaluator(view, tmp_path):
    bare = replace(without(view, "accuracy", "similarity", "distance", "denoising"), logs={})
    text = page(bare, tmp_path)
    assert "pdiff: no evaluator of the accuracy ran" in text and "figures" in text.lower()
    Markdown().render(bare, tmp_path)
    assert "| pdiff | 9 |" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_networks_without_spread_are_drawn(view):
    """All originals equal, all scores equal: no density, no principal component, no warning."""
    for own in view.scores["networks"].values():
        for evaluator, key in (("accuracy", "values"), ("similarity", "max_values"), ("distance", "values")):
            own[evaluator][key] = [0.5] * len(own[evaluator][key])
    same = view.zoo.theta_ND[:1].expand(12, -1).contiguous()
    still = replace(view, theta={source: same[: len(theta)] for source, theta in view.theta.items()})
    assert [picture.name for picture in pictures(still)] == [name for name in ALL if name != "map"]


def test_a_method_that_gave_one_network(view):
    own = view.scores["networks"]["pdiff"]
    own["count"] = 1
    for scores in own.values():
        if isinstance(scores, dict):
            scores |= {key: value[:1] for key, value in scores.items() if isinstance(value, list)}
    single = replace(view, theta=dict(view.theta) | {"pdiff": view.theta["pdiff"][:1]})
    assert [picture.name for picture in pictures(single)] == ALL


def test_captions_say_what_the_axes_do_not_show(view):
    for source, own in view.scores["networks"].items():
        accuracy = own["accuracy"]
        accuracy["values"] = [0.1 if source == "constant" else 0.94 + 0.01 * (i % 2) for i in range(own["count"])]
    captions = {picture.name: picture.caption for picture in pictures(view)}
    assert captions["score"].endswith("Not shown: constant (10.00).")
    assert captions["score_similarity"].endswith("Not shown: constant (10.00).")


def test_heat_map_is_normalised_by_the_originals(view):
    """A generated network at the originals' mean is white; originals are not."""
    mean = view.zoo.theta_ND.mean(dim=0, keepdim=True)
    flat = replace(view, theta=dict(view.theta) | {"pdiff": mean.repeat(9, 1)})
    picture = next(picture for picture in pictures(flat) if picture.name == "parameters")
    pixels = np.asarray(Image.open(BytesIO(picture.data)).convert("RGB")).astype(int)
    strong = (pixels.max(axis=2) - pixels.min(axis=2))[:, 60:200].mean(axis=1)
    middle = len(strong) * 9 // 21
    assert strong[:middle].mean() > 20 * strong[middle + 12 : -30].mean()


def test_focus_keeps_the_axis_to_what_matters():
    rng = np.random.default_rng(0)
    values = {
        "original": rng.normal(93, 1, 300), "pdiff": rng.normal(93, 1, 200), "constant": np.array([10.0]),
        "noise": np.array([92.0, 91.0, 20.0]), "base": np.array([90.5]),
    }  # fmt: skip
    low, high, outside = focus(values, ("original", "pdiff"))
    assert 80 < low < 90.5 and 95 < high < 100
    assert outside == {"constant": 1, "noise": 1}
    assert left_out(outside, values, ".1f") == "Not shown: constant (10.0). Off the axis: 1 of 3 noise."
    low, high, _ = focus(values | {"pdiff": np.full(200, 11.0)}, ("original", "pdiff"))
    assert low < 11 and high > 93


def test_violin_is_a_density():
    values = np.random.default_rng(0).normal(5, 2, 4000)
    grid, height = violin(values)
    assert grid[height.argmax()] == pytest.approx(5, abs=0.8)
    inside = (grid > 3) & (grid < 7)
    assert height[inside].sum() / height.sum() == pytest.approx(0.683, abs=0.02)
    assert violin(np.full(100, 0.94)) is None and violin(np.array([1.0, 2.0])) is None
    assert violin(np.minimum(values, 5), highest=5)[0].max() == 5


def test_every_source_keeps_one_look():
    sources = ["original", "pdiff", "soup", "noise 0.1", "noise 0.2", "gaussian 1", *(f"other{i}" for i in range(12))]
    found = looks(sources, "pdiff")
    assert list(found) == sources
    assert len({(look.colour, look.marker) for look in list(found.values())[:9]}) == 9
    assert found["noise 0.1"].marker == found["noise 0.2"].marker != found["soup"].marker
    assert looks(["original", "vae"], "vae")["vae"] == found["pdiff"]


def scored(method: float, original: float, soup: float, **more) -> dict:
    """Return the scores of three sources, made up."""

    def own(mean, std, ratio, overlap):
        accuracy = {"mean": mean, "std": std, "best": mean, "values": [mean] * 3, "selection_values": [mean] * 3}
        return {"count": 3, "accuracy": accuracy, "distance": {"ratio": ratio}, "similarity": {"max": overlap}}

    networks = {
        "original": own(original, 0.01, 1.0, 0.8),
        "pdiff": own(method, 0.01, 0.05, 0.9),
        "soup": own(soup, 0.0, 2.0, 0.7),
    }
    return {"main": "accuracy", "method": "pdiff", "selection": "validation", "networks": networks} | more


def test_headline_compares_with_originals_and_the_average():
    def first(*means):
        return findings(scored(*means))[0]

    assert first(0.905, 0.9, 0.905) == (
        "Networks drawn by pdiff are as good as the originals (mean accuracy 90.50% against 90.00%); "
        "a plain average of the checkpoints is no worse (90.50%)"
    )
    for mean, how, average in ((0.5, "worse", "better"), (0.95, "better", "worse")):
        said = first(mean, 0.9, 0.9)
        assert f"are {how} than the originals" in said and said.endswith(f"is {average} (90.00%)")


def test_findings_are_frank():
    said = " | ".join(findings(scored(0.9, 0.9, 0.9)))
    assert "The score alone is no reason to prefer pdiff (90.00%)" in said
    assert "No worse than pdiff, and less like the originals: soup (overlap 0.700, 90.00%)" in said
    assert "0.05 times as far away" in said and "copies, or nearly" in said
    said = " | ".join(findings(scored(0.95, 0.9, 0.9)))
    assert "No baseline reaches pdiff's mean of 95.00%; the nearest is soup, the plain average" in said
    path = {"progress": [0.0, 1.0], "scores": [[0.9, 0.9]], "split": "validation"}
    facts = {"pdiff": {"codec": {"explained": -0.5}}}
    said = " | ".join(findings(scored(0.9, 0.9, 0.9, denoising=path, facts=facts)))
    assert "Pure noise, decoded, already scores 90.00% on the validation split" in said
    assert "The codec keeps none of the variance" in said
    path["scores"] = [[0.1, 0.9]]
    assert "Pure noise" not in " | ".join(findings(scored(0.9, 0.9, 0.9, denoising=path)))


def test_markdown_holds_the_numbers(view, tmp_path):
    (path,) = Markdown().render(view, tmp_path)
    text = path.read_text(encoding="utf-8")
    assert path == tmp_path / "report.md" and text.startswith(f"# {view.name}\n")
    assert "12 checkpoints of" in text
    assert "Protocol paper (selects on the test split itself), seed 3, device cpu" in text
    for row in view.table()[1]:
        assert f"| {' | '.join(row)} |" in text
    assert "| original | best | 61.25 |" in text and "| codec of | latent |" in text and "| fit pdiff |" in text
