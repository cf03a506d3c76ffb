"""Figures: what they show of networks without spread, and their axes."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pdiff_plugins.drawing.style import figure, focus, left_out, looks, plain_log, styled, violin
from pdiff_plugins.evaluators.figures import distance_distributions
from pdiff_plugins.reports.weights import heat_map
from tests.reports.helpers import ALL, figures


def test_networks_without_spread_are_drawn(view):
    """All originals equal, all scores equal: no density, no principal component, no warning."""
    for own in view.scores["networks"].values():
        for evaluator, key in (("accuracy", "values"), ("similarity", "max_values"), ("distance", "values")):
            own[evaluator][key] = [0.5] * len(own[evaluator][key])
    same = view.zoo.theta_ND[:1].expand(12, -1).contiguous()
    still = replace(view, theta={source: same[: len(theta)] for source, theta in view.theta.items()})
    assert [picture.name for picture in figures(still)] == [name for name in ALL if name != "map"]


def test_a_method_that_gave_one_network(view):
    own = view.scores["networks"]["pdiff"]
    own["count"] = 1
    for scores in own.values():
        if isinstance(scores, dict):
            scores |= {key: value[:1] for key, value in scores.items() if isinstance(value, list)}
    single = replace(view, theta=dict(view.theta) | {"pdiff": view.theta["pdiff"][:1]})
    assert [picture.name for picture in figures(single)] == ALL


def test_captions_say_what_the_axes_do_not_show(view):
    for source, own in view.scores["networks"].items():
        accuracy = own["accuracy"]
        accuracy["values"] = [0.1 if source == "constant" else 0.94 + 0.01 * (i % 2) for i in range(own["count"])]
    captions = {picture.name: picture.caption for picture in figures(view)}
    assert captions["score"].endswith("Not shown: constant (10.00).")
    assert captions["score_similarity"].endswith("Not shown: constant (10.00).")


def test_heat_map_is_normalised_by_the_originals(view):
    """A generated network at the originals' mean is white; originals are not."""
    mean = view.zoo.theta_ND.mean(dim=0, keepdim=True)
    flat = replace(view, theta=dict(view.theta) | {"pdiff": mean.repeat(9, 1)})
    picture = next(picture for picture in figures(flat) if picture.name == "parameters")
    pixels = np.asarray(Image.open(BytesIO(picture.data)).convert("RGB")).astype(int)
    strong = (pixels.max(axis=2) - pixels.min(axis=2))[:, 60:200].mean(axis=1)
    middle = len(strong) * 9 // 21
    assert strong[:middle].mean() > 20 * strong[middle + 12 : -30].mean()


def drawn(draw, view):
    """Return the chart as it is saved: its texts know where they stand."""
    with styled():
        chart, _ = draw(view, looks(list(view.theta), "pdiff"))
        chart.canvas.draw()
    return chart


def test_names_beside_few_rows_of_the_heat_map_do_not_overlap(view):
    few = {source: theta_MD[:2] for source, theta_MD in view.theta.items()}
    chart = drawn(heat_map, replace(view, theta=few))
    first, second, bar = (axes.yaxis.label.get_window_extent() for axes in chart.axes)
    assert not first.overlaps(second)
    whole = chart.bbox.extents
    assert all(name.y0 >= whole[1] and name.y1 <= whole[3] for name in (first, second, bar))


def numbers(axis) -> list[float]:
    return [float(text) for label in axis.get_ticklabels(which="both") if (text := label.get_text())]


@pytest.mark.parametrize(("low", "high", "shown"), [(1, 4, {1, 2, 3, 4}), (1, 60, {1, 2, 5, 10}), (1, 5e3, {1, 10})])
def test_a_logarithmic_axis_of_any_length_has_plain_numbers(low, high, shown):
    with styled():
        chart = figure(3)
        axes = chart.add_subplot()
        axes.plot([low, high], [0, 1])
        axes.set_xscale("log")
        plain_log(axes.xaxis, low, high)
        chart.canvas.draw()
    assert shown <= set(numbers(axes.xaxis)), "all of them, none as a formula"


def test_distances_that_differ_little_stand_at_plain_numbers(view):
    for number, own in enumerate(view.scores["networks"].values()):
        own["distance"]["values"] = [2.1 + number / 4] * len(own["distance"]["values"])
    assert {2, 3} <= set(numbers(drawn(distance_distributions, view).axes[0].xaxis))


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


def test_every_source_keeps_one_look_that_no_other_has():
    sources = ["original", "pdiff", "soup", "noise 0.1", "noise 0.2", "gaussian 1", *(f"other{i}" for i in range(12))]
    found = looks(sources, "pdiff")
    assert list(found) == sources
    many = looks(["original", "pdiff", *(f"b{i} {j}" for i in range(42) for j in (1, 2, 3))], "pdiff")
    for some in (found, many):
        assert len({look.colour for look in some.values()}) == len(some), "a dot beside a table has its colour alone"
    single = list(looks(["original", "pdiff", *(f"b{i}" for i in range(49))], "pdiff").values())[2:]
    assert len({look.marker for look in single[:7]}) == 7 and single[7].marker != single[0].marker
    assert found["noise 0.1"].marker == found["noise 0.2"].marker != found["soup"].marker
    assert looks(["original", "vae"], "vae")["vae"] == found["pdiff"]


def test_sources_that_share_a_hue_have_other_markers():
    found = looks(["original", "pdiff", *(f"kind{i}" for i in range(20))], "pdiff")
    assert len(set(found.values())) == len(found)
