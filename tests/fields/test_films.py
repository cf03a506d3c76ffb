"""The way from noise to a shape: films, their report, and pictures drawn from a finished run."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from typer.testing import CliRunner

import pdiff
from pdiff.cli import build
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.running.progress import Progress
from pdiff.testing import Points, tiny_zoo
from pdiff_plugins.backbones.codecs import Pca
from pdiff_plugins.backbones.denoisers import MlpDenoiser
from pdiff_plugins.fields import command as field_commands
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.latent.priors import FlowMatching
from pdiff_plugins.maths import diffusion
from tests.reports.helpers import said


def test_frames_show_as_much_change_each():
    schedule = diffusion.Schedule("linear", 1000)
    stops = diffusion.frames(schedule, 200, 12)
    times = diffusion.timesteps(1000, 200)
    phi = [math.acos(math.sqrt(float(schedule.alpha_bar[times[stop]]))) for stop in stops[:-1]] + [0.0]
    steps = [a - b for a, b in pairwise(phi)]
    assert stops[0] == 0 and stops[-1] == 200 and len(stops) == 12
    assert max(steps[:-1]) < 1.2 * min(steps[:-1])


def test_a_film_ends_in_the_sample_and_in_its_prediction():
    zoo, ctx = tiny_zoo(), Context(seed=3, progress=Progress())
    method, bench = (
        PDiff(codec=Pca(latent=4), denoiser=MlpDenoiser(width=64, depth=1), steps=5, timesteps=20),
        Points(zoo),
    )
    generator = method.fit(zoo, bench, ctx)
    signal_F, noisy_FMD, clean_FMD = generator.film(4, 5, ctx)
    assert noisy_FMD.shape == clean_FMD.shape == (len(signal_F), 4, zoo.layout.dim)
    assert signal_F == sorted(signal_F) and signal_F[-1] == 1
    assert torch.equal(noisy_FMD[-1], generator.sample(4, bench, ctx)) and torch.equal(clean_FMD[-1], noisy_FMD[-1])
    assert not torch.equal(clean_FMD[0], noisy_FMD[0])


def test_a_film_of_a_flow_ends_in_the_sample_and_begins_where_the_sample_does():
    zoo, ctx = tiny_zoo(), Context(seed=3, progress=Progress())
    method, bench = (
        FlowMatching(codec=Pca(latent=4), denoiser=MlpDenoiser(width=64, depth=1), steps=5, sampling_steps=20),
        Points(zoo),
    )
    generator = method.fit(zoo, bench, ctx)
    signal_F, noisy_FMD, clean_FMD = generator.film(4, 5, ctx)
    assert signal_F[0] == 0 and signal_F[-1] == 1 and signal_F == sorted(signal_F) and len(signal_F) == 5
    assert torch.equal(noisy_FMD[0], generator.path(4, 2, ctx)[1][0])
    assert torch.equal(noisy_FMD[-1], generator.sample(4, bench, ctx)) and torch.equal(clean_FMD[-1], noisy_FMD[-1])
    assert not torch.equal(clean_FMD[0], noisy_FMD[0])


def test_shapes_in_the_plane_do_not_turn(run):
    for asked in (["--turntable"], ["--views", "3"]):
        refused = CliRunner().invoke(build(), ["render", str(run.folder), "-n", "1", *asked])
        assert str(refused.exception) == f"{' '.join(asked)}: shapes in the plane have no other side; leave it out"


# A whole run

RECIPE = """
[dataset]
name = "digit_fields"
side = 8
[task]
name = "field"
[architecture]
name = "siren"
width = 6
[selector]
name = "entire"
[collect]
name = "fields"
shapes = 60
steps = 10
points = 32
[encoder]
name = "label"
[method]
name = "pdiff"
steps = 5
timesteps = 8
[[baseline]]
name = "copy"
[sample]
count = 20
baseline_count = 20
[[evaluate]]
name = "fields"
[[evaluate]]
name = "renderings"
samples = 4
films = 2
frames = 4
side = 8
sides = [8, 16]
[[report]]
name = "html"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    (folder / "shapes.toml").write_text(RECIPE)
    return pdiff.run(folder / "shapes.toml", set={"run.out": str(folder / "runs")}, quiet=True)


def test_the_report_shows_shapes_appearing_from_noise(run):
    from PIL import Image

    made = {path.name for path in (run.folder / "figures").iterdir()}
    assert {"film.png", "film_animated.gif", "shapes.png", "resolutions.png", "between.png"} <= made
    assert "data:image/gif;base64," in (run.folder / "index.html").read_text()
    with Image.open(run.folder / "figures" / "film_animated.gif") as film:
        assert film.n_frames == 4 and film.size == (2 * 2 * 10, 2 * 2 * 10)


def test_metrics_stand_beside_those_of_real_shapes(run):
    scores = run.scores
    assert scores["fields"]["real"]["one_nna"] < 0.6 < scores["networks"]["pdiff"]["fields"]["one_nna"]
    assert any("as many real training shapes" in note for note in scores["notes"])
    assert "of the shapes drawn by pdiff lie among real ones" in said(scores, run.recipe.evaluate)[0]


def test_pictures_of_a_label_are_drawn_from_a_finished_run(run):
    asked = "render", str(run.folder), "-n", "5", "-o", "label=7", "--side", "8"
    result = CliRunner().invoke(build(), asked)
    assert result.exit_code == 0, result.output
    (picture,) = run.folder.glob("render-5-draw-1-label-7-8.png")
    assert picture.read_bytes() == field_commands.picture(run.recipe, run.drawing(label=7).draw(5), run.bench, 8)
    assert not torch.equal(run.drawing(label=7).theta(), run.drawing(label=3).theta())
    folder, rows = run.drawing(label=7).sample_to(None, count=2)
    assert folder.name == "samples-pdiff-2-draw-1-label-7" and len(rows) == 2


def test_pictures_beside_drawn_networks_are_of_their_source(run, tmp_path):
    pictures = []
    for source in ("pdiff", "copy"):
        asked = ["sample", str(run.folder), "-n", "2", "--source", source, "--render", "--to", str(tmp_path / source)]
        result = CliRunner().invoke(build(), asked)
        assert result.exit_code == 0 and "samples.png" in result.output, result.output
        pictures.append((tmp_path / source / "samples.png").read_bytes())
        assert pictures[-1] == field_commands.picture(run.recipe, run.draw(2, source=source), run.bench, 64)
    assert pictures[0] != pictures[1]


def test_pictures_are_written_where_they_are_asked_for(run, tmp_path):
    asked = ["render", str(run.folder), "-n", "2", "--side", "8", "--to"]
    path = tmp_path / "missing" / "folder" / "two.png"
    result = CliRunner().invoke(build(), [*asked, str(path), "--set", "run.device=cpu"])
    assert result.exit_code == 0 and path.read_bytes()[:4] == b"\x89PNG", result.output
    elsewhere = CliRunner().invoke(build(), [*asked, str(path), "--set", "run.device=moon"])
    assert isinstance(elsewhere.exception, UserError) and "moon" in str(elsewhere.exception)
    for name in ("two.jpg", "two"):
        refused = CliRunner().invoke(build(), [*asked, name])
        assert str(refused.exception) == f"--to {name}: is no name of a PNG file; let it end in .png"


def test_options_that_are_not_of_sampling_are_refused(run):
    with pytest.raises(UserError, match="steps: method pdiff has no such option of sampling; it has: sampler"):
        run.drawing(steps=3)
    with pytest.raises(UserError, match=r"method: guidance = -3: input should be greater than or equal to 0"):
        run.drawing(guidance=-3)
    with pytest.raises(UserError, match=r"label = '-3': the zoo has no such label.*; it has: 0, 1"):
        run.drawing(label=-3).draw(2)
