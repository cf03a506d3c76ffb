"""Pictures of scenes: where things stand and in what colour, and what the report shows of a run."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pdiff.context import Context
from pdiff_plugins.drawing.kept import opened
from pdiff_plugins.fields.evaluation.asked import varied, words
from pdiff_plugins.fields.evaluation.pictures import in_rows, tiled
from pdiff_plugins.fields.evaluation.sets import shapes
from pdiff_plugins.fields.moving import gif
from pdiff_plugins.radiance.pictures import AZIMUTH, DISTANCE, ELEVATION, FIELD
from pdiff_plugins.radiance.rays import around, placed
from tests.radiance.drawing import BallNet, ball, renderer

SIDE = 48


def middle(pixels_HW3):
    """Return where the things of a picture stand: mean row and column, and how many pixels they are."""
    there = (pixels_HW3.float().mean(dim=2) < 200).nonzero().double()
    return *there.mean(dim=0).tolist(), len(there)


def test_a_ball_is_drawn_where_it_is_as_large_as_it_is_in_its_colour():
    (pixels_HW3,) = renderer()(ball(radius=0.4)[None], SIDE)
    row, column, count = middle(pixels_HW3)
    focal = SIDE / 2 / math.tan(FIELD / 2)
    assert abs(row - 23.5) < 0.3 and abs(column - 23.5) < 0.3
    assert count == pytest.approx(math.pi * (focal * math.tan(math.asin(0.4 / DISTANCE))) ** 2, rel=0.06)
    assert pixels_HW3[24, 24].tolist() == pytest.approx([230, 51, 26], abs=1)
    assert (pixels_HW3[0] == 255).all()


def test_what_is_higher_stands_higher_and_turning_shows_the_other_side():
    up = ball(place=(0, 0, 0.5), radius=0.2)
    aside = ball(place=(-0.5 * math.sin(AZIMUTH), 0.5 * math.cos(AZIMUTH), 0), radius=0.2)  # right of the first camera
    turned_MT = renderer().turned(torch.stack([up, aside]), SIDE, 4)
    assert turned_MT.shape == (2, 4, SIDE, SIDE, 3) and torch.equal(
        turned_MT[:, 0], renderer()(torch.stack([up, aside]), SIDE)
    )
    rows, columns = zip(*(middle(turned_MT[0, turn])[:2] for turn in range(4)), strict=True)
    assert max(rows) < 17 and max(columns) - min(columns) < 0.5
    right, _, left, _ = (middle(turned_MT[1, turn])[1] for turn in range(4))
    assert right > 30 and left < 17 and right + left == pytest.approx(SIDE - 1, abs=0.5)
    behind, before = (middle(turned_MT[1, turn])[2] for turn in (1, 3))
    assert before > 1.2 * behind or behind > 1.2 * before


def test_rays_that_pass_by_are_white_as_if_they_were_rendered():
    draw, segments_E6 = renderer(), around([AZIMUTH], [ELEVATION], 12, DISTANCE, FIELD)
    theta_1D = ball(radius=0.6)[None]
    net = BallNet()
    net.load_state_dict(draw.bench.zoo.layout.tensors(theta_1D[0]))
    wanted_E3 = draw.task.seen(net, placed(segments_E6))
    assert (segments_E6[:, :3] == segments_E6[:, 3:]).all(dim=1).any()
    torch.testing.assert_close(draw.seen(theta_1D, segments_E6)[0], wanted_E3)


def test_pictures_stand_in_rows_with_lines_between_them():
    pixels_M = torch.zeros(3, 2, 2, 3, dtype=torch.uint8)
    whole = tiled(in_rows(pixels_M, 2))
    assert whole.shape == (8, 8, 3) and (whole[0] == 200).all() and (whole[1:3, 1:3] == 0).all()
    assert (whole[5:7, 5:7] == 255).all()
    assert tiled(in_rows(pixels_M[..., 0], 3)).shape == (4, 12)


def test_a_gif_has_all_frames_in_their_colours_and_has_no_end(tmp_path):
    frames = [np.full((4, 6, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    (tmp_path / "turn.gif").write_bytes(gif(frames, [50, 60, 70], enlarged=2))
    with Image.open(tmp_path / "turn.gif") as read:
        assert read.n_frames == 3 and read.size == (12, 8) and read.info["loop"] == 0
        seen = []
        for number in range(3):
            read.seek(number)
            seen.append((read.convert("RGB").getpixel((3, 3)), read.info["duration"]))
    assert seen == [((255, 0, 0), 50), ((0, 255, 0), 60), ((0, 0, 255), 70)]


TEXTS = (
    "a tall red torus",
    "a tall blue torus",
    "a flat red ball",
    "a tall red ball",
    "one box seen here",
    "a red box",
)


def test_each_word_is_replaced_by_others_that_texts_have_in_its_place():
    rows = varied("a tall red torus", TEXTS)
    assert rows == [
        ["a tall red torus", "a flat red torus"], ["a tall red torus", "a tall blue torus"],
        ["a tall red torus", "a tall red ball"],
    ]  # fmt: skip
    assert varied("nothing like it", TEXTS) == [["nothing like it"]]
    assert varied("a tall red torus", [*TEXTS, "a tall green torus"], others=1)[1][1] == "a tall blue torus"


def test_networks_of_varied_sentences_are_those_that_were_asked_for():
    class Sized:
        conditional = True

        def sample(self, count, bench, ctx, condition_MC):
            return torch.stack([ball(radius=0.1 * float(condition_M)) for condition_M in condition_MC])

    rows = [{"about": {"shape": number, "text": text}} for number, text in enumerate(("a cat", "a horse"))]
    draw = renderer()
    view = SimpleNamespace(
        recipe=SimpleNamespace(encoder=SimpleNamespace(reads=("text",))), generators={"mine": Sized()}, method="mine",
        zoo=SimpleNamespace(rows=rows, holdout=None),
        bench=SimpleNamespace(encode=lambda abouts: torch.tensor([[len(about["text"])] for about in abouts])),
    )  # fmt: skip
    kept = words(view, draw, Context(seed=0), SIDE)
    assert kept["sentences"] == [["a cat", "a horse"]]
    small, large = np.split(np.asarray(opened(kept["picture"])), 2, axis=1)
    assert (small < 150).any(axis=2).sum() < (large < 150).any(axis=2).sum()


# A whole run


def test_the_report_shows_scenes_in_colour(drawn):
    made = {path.name for path in (drawn.folder / "figures").iterdir()}
    assert {"unseen.png", "film.png", "film_animated.gif", "shapes.png", "turntable.gif", "resolutions.png",
            "between.png", "conditions_between.png"} <= made  # fmt: skip
    assert "words.png" not in made
    page = (drawn.folder / "index.html").read_text()
    assert page.count("data:image/gif;base64,") == 2 and "Held-out scenes" in page and "nothing is picked" in page
    assert "hypernetwork has no such way" in page and "one network of pdiff" in page
    for name, frames, size in (("turntable.gif", 5, (40, 20)), ("film_animated.gif", 3, (40, 40))):
        with Image.open(drawn.folder / "figures" / name) as film:
            assert film.n_frames == frames and film.size == size and film.info["loop"] == 0
    with Image.open(drawn.folder / "figures" / "shapes.png") as shapes:
        assert shapes.mode == "RGB"


def test_held_out_scenes_stand_beside_their_own_networks_and_the_best_plain_way(drawn):
    kept, data = drawn.scores["renderings"]["unseen"], drawn.pipeline.data.test
    assert [row.split(":")[0] for row in kept["rows"]] == ["truth", "own networks", "hypernetwork", "kernel"]
    picture = np.asarray(opened(kept["picture"]))
    assert picture.shape == (4 * 10, 3 * 10, 3)
    first = drawn.zoo.holdout.rows[0]["about"]["shape"]
    truth = (255 * data.targets[:, first]).round().reshape(8, 8, 3).to(torch.uint8)
    assert (picture[1:9, 1:9] == truth.numpy()).all()
    own_E3 = drawn.bench.predict(drawn.zoo.holdout.theta_ND[:1], "test")[0]
    psnr = -10 * (own_E3 - data.targets[:, first]).square().mean().log10()
    shown = (255 * own_E3).round().reshape(8, 8, 3).to(torch.uint8).numpy()
    assert np.abs(picture[11:19, 1:9].astype(int) - shown).max() <= 1 and psnr > 5


def test_the_nearest_scene_is_one_that_was_learnt(drawn):
    view = drawn.pipeline.view(drawn.scores)
    numbers = {row["about"]["shape"] for row in drawn.zoo.rows}
    held = {row["about"]["shape"] for row in drawn.zoo.holdout.rows}
    assert set(shapes(view.zoo)) == numbers and not held & numbers
    draw = drawn.recipe.task.renderer(drawn.recipe, drawn.bench)
    _, known_M = draw.beside(view, drawn.zoo.holdout.theta_ND, 8)
    own_N = draw(drawn.zoo.theta_ND, 8)
    assert all(any(torch.equal(known, own) for own in own_N) for known in known_M)


def test_scenes_with_cameras_of_their_own_are_compared_from_a_few_sides():
    draw = renderer(own_cameras=True)
    theta_ND = torch.stack([ball(radius=0.2), ball(radius=0.7)])
    view = SimpleNamespace(zoo=SimpleNamespace(theta_ND=theta_ND, rows=[{}, {}]))
    ours, known = draw.beside(view, torch.stack([ball(radius=0.65), ball(radius=0.25)]), 16)
    assert torch.equal(known, draw(theta_ND.flip(0), 16)) and not torch.equal(ours, known)
