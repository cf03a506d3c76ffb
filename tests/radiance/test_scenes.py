"""Procedural scenes: solids in closed form, pictures against finer ones, sentences that determine scenes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.recipe.loading import load_recipe
from pdiff_plugins.fields.shapes.polygons import grid
from pdiff_plugins.radiance.rays import around, placed
from pdiff_plugins.radiance.rendering import rendered
from pdiff_plugins.radiance.scenes.dataset import Scenes3d
from pdiff_plugins.radiance.scenes.drawing import Scene, apart, attributes, drawn
from pdiff_plugins.radiance.scenes.sentences import HEIGHT_WORDS, SIZE_WORDS, named, rank, sentences
from pdiff_plugins.radiance.scenes.solids import AMBIENT, LIGHT, RING, SHARPNESS, TUBE, Thing
from pdiff_plugins.radiance.scenes.traits import COLOURS, GAP
from pdiff_plugins.radiance.scenes.views import DISTANCE, FIELD, cameras, seen

RED = (0.9, 0.1, 0.2)
CTX = Context(seed=0)
ALL = [{}, {"poses": True}, {"objects": 2, "poses": True}, {"levels": 3}, {"objects": 2, "levels": 2}]


def scenes(**options):
    options = Scenes3d(**{"count": 12, **options})
    return options, drawn(options, CTX.generator("scenes"))


def uniform(count):
    return 2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) - 1


@pytest.mark.parametrize("lean", [0.0, 30.0])
def test_distances_of_boxes_are_those_of_the_closed_form(lean):
    points, (sine, cosine) = uniform(500), (math.sin(math.radians(lean)), math.cos(math.radians(lean)))
    x, y, z = (points - torch.tensor([0.1, 0.0, -0.2])).T
    beyond = [(cosine * x - sine * z).abs() - 0.4, y.abs() - 0.4, (sine * x + cosine * z).abs() - 0.2]
    outside = sum(side.clamp_min(0) ** 2 for side in beyond).sqrt()
    expected = outside + torch.stack(beyond).amax(dim=0).clamp_max(0)
    thing = Thing("box", RED, 0.4, 0.2, lean, (0.1, 0.0, -0.2))
    torch.testing.assert_close(thing.distance(points), expected, rtol=0, atol=1e-6)


def test_a_thing_leans_to_the_right_where_x_is():
    thing = Thing("box", RED, 0.1, 0.5, 30.0)
    top = torch.tensor([[math.sin(math.pi / 6), 0.0, math.cos(math.pi / 6)]])
    assert thing.distance(0.5 * top).abs() < 1e-6 and thing.distance(-0.5 * top).abs() < 1e-6
    assert thing.distance(0.5 * top * torch.tensor([-1, 1, 1])) > 0.2


def test_distances_of_round_things_are_those_of_spheres_and_round_tori():
    points, (ring, tube) = uniform(500), (RING * 0.5, TUBE * 0.5)
    torch.testing.assert_close(Thing("ball", RED, 0.5, 0.5).distance(points), points.norm(dim=1) - 0.5)
    expected = torch.hypot(points[:, :2].norm(dim=1) - ring, points[:, 2]) - tube
    torch.testing.assert_close(Thing("torus", RED, 0.5, tube).distance(points), expected)
    assert Thing("torus", RED, 0.5, 0.2).distance(torch.zeros(1, 3)) > 0.2, "its hole is open"
    for kind in ("ball", "box", "torus"):
        assert Thing(kind, RED, 0.5, 0.3).distance(torch.zeros(1, 3)).isfinite().all()


@pytest.mark.parametrize("lean", [0.0, 25.0])
@pytest.mark.parametrize("kind", ["ball", "box", "torus"])
def test_volumes_and_extents_are_those_of_the_closed_form(kind, lean):
    size, height = 0.6, 0.3
    tube = TUBE * size
    across = math.pi * tube**2 + 4 * tube * (height - tube)
    ideal = {
        "ball": 4 / 3 * math.pi * size**2 * height, "box": 8 * size**2 * height,
        "torus": 2 * math.pi * RING * size * across,
    }[kind]  # fmt: skip
    points, thing = grid(80, 3), Thing(kind, RED, size, height, lean)
    inside = thing.distance(points) < 0
    assert 8 * inside.double().mean() == pytest.approx(ideal, rel=0.02)
    assert points[inside].norm(dim=1).max() <= thing.radius
    for axis in range(3):
        assert points[inside][:, axis].max() == pytest.approx(thing.extent(axis), abs=0.05)


@pytest.mark.parametrize("kind", ["ball", "box", "torus"])
def test_shades_are_those_of_slopes_of_the_distance(kind):
    thing = Thing(kind, (1.0, 1.0, 1.0), 0.5, 0.3, 20.0)
    points = uniform(20_000)
    points, steps = points[thing.distance(points).abs() < 0.005], 1e-4 * torch.eye(3, dtype=torch.float64)
    slope = torch.stack([thing.distance(points + step) - thing.distance(points - step) for step in steps], dim=1)
    shade = Scene((thing,)).seen(points.repeat(1, 2))[1][:, 0]
    light = torch.nn.functional.normalize(torch.tensor(LIGHT), dim=0)
    expected = AMBIENT + (1 - AMBIENT) * torch.nn.functional.normalize(slope, dim=1).float() @ light
    off = (shade - expected).abs()
    assert len(off) > 20 and (off < 0.02).float().mean() > {"box": 0.4}.get(kind, 0.99), "all but close to edges"


@pytest.mark.parametrize("options", ALL)
def test_pictures_are_those_of_ten_times_as_many_samples(options):
    segments = around(*cameras(2, 0.1), 16, DISTANCE, FIELD)
    for scene in scenes(**options)[1][:6]:
        fine = rendered(scene.seen, placed(segments), 400)
        assert (seen(scene, segments) - fine).abs().max() < 0.01
        assert fine[0].min() > 0.999, "a white background where nothing is"


@pytest.mark.parametrize("options", ALL)
def test_everything_is_in_the_unit_ball_and_two_things_are_apart(options):
    points = grid(40, 3)
    for scene in scenes(**options, side=4)[1]:
        distances = torch.stack([thing.distance(points) for thing in scene.things])
        assert points[distances.amin(dim=0) < 0].norm(dim=1).max() < 0.95
        assert scene.seen(points[points.norm(dim=1) > 1].repeat(1, 2))[0].max() < 2
        if len(scene.things) == 2:
            first, second = scene.things
            axis = 0 if scene.place == "left" else 2
            gap = abs(first.centre[axis] - second.centre[axis]) - first.extent(axis) - second.extent(axis)
            assert gap == pytest.approx(GAP) and not (distances < 0).all(dim=0).any()
            assert (first.centre[0] < 0) if scene.place == "left" else (first.centre[2] > 0)


@pytest.mark.parametrize("options", ALL)
def test_the_first_scenes_are_the_same_however_many_there_are(options):
    small = {"side": 4, "views": 2, "unseen": 1} | options
    few, more = (Scenes3d(count=count, **small).load(CTX) for count in (4, 9))
    assert few.train.abouts == more.train.abouts[:4] == few.test.abouts
    assert all(few.split(name).targets.equal(more.split(name).targets[:, :4]) for name in ("train", "test"))
    assert few.train.targets.shape == (32, 4, 3) and few.test.shape == (1, 4, 4)
    other = Scenes3d(count=4, **small).load(Context(seed=1))
    assert few.test.segments.equal(other.test.segments) and few.train.abouts != other.train.abouts
    assert not few.test.segments.equal(few.validation.segments)


@pytest.mark.parametrize("levels", [2, 3, 4])
@pytest.mark.parametrize("more", [{"kinds": ("torus", "ball"), "poses": True}, {"objects": 2, "poses": True}])
def test_in_levels_a_sentence_determines_the_scene(levels, more):
    options, drawn_scenes = scenes(levels=levels, count=240, **more)
    words = CTX.generator("sentences")
    said = [sentences(scene, options, words) for scene in drawn_scenes]
    assert len({text for text, _ in said}) == len(set(drawn_scenes)) == 240
    for text, wordings in said:
        assert len({text, *wordings}) == 7
        assert all(named(colour) in text for colour in COLOURS.values() if named(colour) in "".join(wordings))
    everything = [sentence for text, wordings in said for sentence in (text, *wordings)]
    owners = {sentence: number // 7 for number, sentence in enumerate(everything)}
    assert all(owners[sentence] == number // 7 for number, sentence in enumerate(everything)), "of one scene alone"


def test_all_scenes_of_a_few_levels_are_there():
    _, drawn_scenes = scenes(levels=2, kinds=("box",), count=40)
    assert len(set(drawn_scenes)) == 40


def test_words_are_monotone_and_mean_one_level_each():
    for words in (SIZE_WORDS, HEIGHT_WORDS):
        for count, own in words.items():
            flat = [word for same in own for word in same]
            assert len(own) == count and len(set(flat)) == len(flat)
            assert [rank(at / (count - 1), (0, 1), count, True) for at in range(count)] == [*range(count)]
    ranks = [rank(share / 100, (0, 1), 4, False) for share in range(101)]
    assert ranks == sorted(ranks) and [ranks.count(number) for number in range(4)] == [25, 25, 25, 26]
    assert all(named(colour) == name for name, colour in COLOURS.items())
    apart_by = [math.dist(a, b) for a in COLOURS.values() for b in COLOURS.values() if a != b]
    assert min(apart_by) > 0.35 and named((0.2, 0.3, 0.9)) == "blue"


def test_sentences_say_what_is_there():
    box = Thing("box", COLOURS["green"], 0.32, 0.18, -30.0)
    ball, torus = Thing("ball", COLOURS["orange"], 0.25, 0.26), Thing("torus", COLOURS["red"], 0.17, 0.13)
    one, words = Scenes3d(levels=2, poses=True, count=9), torch.Generator().manual_seed(0)
    assert sentences(Scene((box,)), one, words)[0] == "a small, flat green box leaning left"
    two = Scenes3d(levels=2, objects=2, count=9)
    scene = Scene(tuple(apart([ball, torus], "left")), "left")
    plain, others = sentences(scene, two, words)
    assert plain == "a large, tall orange ball to the left of a small, tall red torus"
    assert len(others) == 6 and all("orange" in other and "red" in other for other in others)
    assert any(" an " in f" {other}" for other in others) or all("orange" not in other[:12] for other in others)
    about = attributes(replace(scene, place="above"), poses=True)
    assert [about[key] for key in ("label", "kind", "kind_2", "place", "lean_2", "red")] == [
        "ball and torus", "ball", "torus", "above", 0.0, COLOURS["orange"][0],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kinds": ()}, "kinds"),
        ({"kinds": ("ball", "ball")}, "kinds names one twice"),
        ({"kinds": ("cone",)}, "ball"),
        ({"levels": 1}, "levels"),
        ({"objects": 3}, "objects"),
        ({"levels": 2}, "count = 576: levels = 2 gives 120 different scenes; lower it"),
    ],
)
def test_options_are_checked_before_anything_is_drawn(options, words):
    with pytest.raises(ValidationError, match=words):
        Scenes3d(**options)


def test_a_recipe_says_what_is_wrong():
    recipe = Path(__file__).parents[2] / "recipes" / "radiance_scenes.toml"
    with pytest.raises(UserError, match=r"dataset\.levels"):
        load_recipe(recipe, {"dataset.levels": 1})


def test_surfaces_are_as_soft_as_is_said():
    density, _ = Scene((Thing("ball", RED, 0.5, 0.5),)).seen(torch.tensor([[0.5 + 1 / SHARPNESS, 0, 0, 1, 0, 0]]))
    assert float(density) == pytest.approx(20 / (1 + math.e), rel=1e-4)
