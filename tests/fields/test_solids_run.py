"""Networks that are solids, from recipe to meshes."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

import pdiff
from pdiff.cli import build
from pdiff_plugins.fields.figures import networks as figures_fields

RECIPE = """
[dataset]
name = "shapes3d"
count = 30
test_count = 6
resolution = 10
near = 64
[task]
name = "field"
[architecture]
name = "siren"
width = 8
[selector]
name = "entire"
[collect]
name = "fields"
steps = 80
lr = 3e-2
points = 64
near = 64
[encoder]
name = "label"
[method]
name = "pdiff"
steps = 5
timesteps = 8
batch_size = 20
[[baseline]]
name = "copy"
[sample]
count = 6
baseline_count = 6
[[evaluate]]
name = "fields"
surface_points = 50
[[evaluate]]
name = "renderings"
samples = 3
films = 2
frames = 3
turns = 3
side = 10
sides = [8, 12]
[[report]]
name = "meshes"
side = 12
format = "obj"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("skimage")
    pytest.importorskip("trimesh")
    folder = tmp_path_factory.mktemp("space")
    (folder / "solids.toml").write_text(RECIPE)
    return pdiff.run(folder / "solids.toml", set={"run.out": str(folder / "runs")}, quiet=True)


def test_sets_of_solids_are_compared_by_their_surfaces(run):
    networks = run.scores["networks"]
    assert networks["copy"]["fields"]["copies"] > networks["pdiff"]["fields"]["copies"]
    assert all(0 <= own["fields"]["mmd"] <= 24 for own in networks.values())
    assert run.scores["fields"]["real"]["mmd"] < 0.2 and run.scores["fields"]["real"]["train_iou"] > 0.3


def test_pictures_of_solids_are_panels_of_one_size(run):
    view = run.pipeline.view(run.scores)
    for draw in (figures_fields.film, figures_fields.samples, figures_fields.resolutions, figures_fields.between):
        made, caption = draw(view, None)
        assert made.axes and caption
    assert figures_fields.resolutions(view, None)[0].axes[1].get_title() == "12 x 12 x 12"
    turned, caption = figures_fields.turntable(view, None)
    assert turned[:4] == b"GIF8" and "from all around" in caption
    animated, _ = figures_fields.film_animated(view, None)
    assert animated[:4] == b"GIF8"


def test_samples_are_exported_as_meshes(run):
    import trimesh

    files = sorted((run.folder / "meshes").iterdir())
    assert files and all(file.suffix == ".obj" for file in files)
    read = [trimesh.load_mesh(file) for file in files]
    assert all(mesh.is_watertight and mesh.volume > 0 for mesh in read)


def test_solids_of_a_label_are_drawn_from_a_finished_run(run):
    from PIL import Image

    asked = "render", str(run.folder), "-n", "3", "-o", "label=2", "--side", "8"
    result = CliRunner().invoke(build(), asked)
    assert result.exit_code == 0, result.output
    (picture,) = run.folder.glob("render-3-draw-1-label-2-8.png")
    with Image.open(picture) as image:
        assert image.size == (3 * 162, 162)


def test_solids_turn(run, tmp_path):
    from PIL import Image

    to = tmp_path / "turn.gif"
    result = CliRunner().invoke(
        build(), ["render", str(run.folder), "-n", "1", "--side", "8", "--turntable", "--to", str(to)]
    )
    assert result.exit_code == 0, result.output
    with Image.open(to) as film:
        assert film.n_frames > 3 and film.size == (162, 162) and film.info["loop"] == 0
