"""Neural fields: shapes as data, networks fitted to them together, metrics of shapes, and the way from noise."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn import functional as F
from typer.testing import CliRunner

import pdiff
from pdiff.cli import build
from pdiff.components import Architecture
from pdiff.context import Context
from pdiff.data import Batch
from pdiff.engine.work import build_network
from pdiff.errors import UserError
from pdiff.running.progress import Progress
from pdiff.running.snapshot import Snapshot
from pdiff.testing import tiny_zoo
from pdiff.zoo import Layout
from pdiff_plugins.backbones.codecs import Pca
from pdiff_plugins.backbones.denoisers import MlpDenoiser
from pdiff_plugins.fields import command as field_commands
from pdiff_plugins.fields.collector import Fields
from pdiff_plugins.fields.evaluation import metrics as field_metrics
from pdiff_plugins.fields.network import Siren
from pdiff_plugins.fields.shapes.plane import DigitFields, Shapes2d
from pdiff_plugins.fields.shapes.polygons import grid, polygon_distance, polygons
from pdiff_plugins.fields.task import FieldTask
from pdiff_plugins.latent import labels
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.maths import diffusion
from pdiff_plugins.reports.findings import findings
from pdiff_plugins.symmetry.permutations import Symmetry

SMALL = DigitFields(side=16)


@pytest.fixture(scope="module")
def data():
    return SMALL.load(Context(seed=0))


def collected(data, keys="", ctx=None, **options):
    """Return the zoo of a few shapes; `keys` limits the selection to entries that end so."""
    own = {"shapes": 8, "steps": 40, "points": 64} | options
    ctx = ctx or Context(seed=0)
    ctx = ctx.replace(build=lambda seed: build_network(Siren(), data, seed))
    model = build_network(Siren(), data, 0)
    layout = Layout.of(model, [key for key in model.state_dict() if key.endswith(keys)])
    return Fields(**own).collect(model, data=data, task=FieldTask(), layout=layout, ctx=ctx)


# Architecture, data and task


@pytest.mark.parametrize(
    ("name", "options", "inputs", "weights"),
    [("siren", {}, 2, 337), ("siren", {"width": 32}, 2, 1185), ("hyperdiffusion_mlp", {}, 3, 36_737)],
)
def test_networks_have_the_published_sizes(name, options, inputs, weights):
    network = Architecture.model_validate({"name": name} | options).build(input_shape=(inputs,), outputs=1)
    assert sum(p.numel() for p in network.parameters()) == weights


def test_networks_take_coordinates_alone():
    with pytest.raises(UserError, match=r"architecture siren: takes coordinates, not inputs of shape \[1, 8, 8\]"):
        Siren().build(input_shape=(1, 8, 8), outputs=10)


def test_grid_is_the_centres_of_pixels():
    assert grid(2).tolist() == [[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]
    assert grid(3, dim=3).shape == (27, 3) and grid(3, dim=3)[13].tolist() == [0, 0, 0]


@given(st.floats(-1, 1), st.floats(-1, 1), st.booleans())
@settings(max_examples=30, deadline=None)
def test_distance_to_a_polygon_is_that_to_a_box(x, y, clockwise):
    corners = torch.tensor([[-0.5, -0.25], [0.5, -0.25], [0.5, 0.25], [-0.5, 0.25]])
    dx, dy = abs(x) - 0.5, abs(y) - 0.25
    expected = math.hypot(max(dx, 0), max(dy, 0)) + min(max(dx, dy), 0)
    found = polygon_distance(torch.tensor([[x, y]]), corners.flip(0) if clockwise else corners)
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_procedural_shapes_lie_on_the_square_and_differ():
    shapes, kinds = polygons(12, torch.Generator().manual_seed(0))
    assert kinds.tolist() == [0, 1, 2] * 4
    assert all(shape.abs().max() < 1 for shape in shapes)
    areas = [float((polygon_distance(grid(32), shape) < 0).double().mean()) for shape in shapes]
    assert min(areas) > 0.05 and len(set(areas)) == 12


def test_digits_are_cut_at_random_with_one_test_split(data):
    other = SMALL.load(Context(seed=1))
    sizes = [split.targets.shape[1] for split in (data.train, data.validation, data.test)]
    assert sizes == [1232, 65, 500] and len(data.train.labels) == 1232
    assert torch.equal(data.test.targets, other.test.targets)
    assert not torch.equal(data.train.targets, other.train.targets)
    assert data.test.labels.bincount().min() > 30, "not the writers at the end of the file"


def test_distances_are_occupancies_at_a_slope():
    distance, occupancy = (Shapes2d(count=6, test_count=3, side=8, target=t) for t in ("distance", "occupancy"))
    d, o = (data.load(Context(seed=0)).test.targets for data in (distance, occupancy))
    assert torch.allclose(o, torch.sigmoid(-25 * d))
    with pytest.raises(UserError, match=r"dataset.test_count: 6 leaves none of 6 shapes; lower it"):
        Shapes2d(count=6, test_count=6).load(Context(seed=0))
    with pytest.raises(UserError, match=r"dataset: 5 test and 1 validation shapes leave none of 6 to train on; lower"):
        Shapes2d(count=6, test_count=5, side=8).load(Context(seed=0))


def test_a_shape_of_the_split_scores_fully(data):
    task, targets = FieldTask(), data.test.targets
    shapes = torch.cat([targets.T[:2], torch.zeros(1, len(targets))])
    assert task.score(shapes, targets).tolist() == [1, 1, 0]
    wrong = task.wrong(shapes, targets)
    assert not wrong[:2].any() and wrong[2].any()


def test_the_loss_of_one_network_is_that_of_the_average_shape(data):
    network, batch = build_network(Siren(), data, 0), data.train.batch(torch.arange(40), torch.device("cpu"))
    average = F.binary_cross_entropy_with_logits(network(batch.inputs)[:, 0], batch.targets.mean(dim=1))
    assert torch.allclose(FieldTask().loss(network, batch), average)
    squared = FieldTask(values="distance").loss(network, Batch(batch.inputs, batch.targets[:, :1]))
    assert torch.allclose(squared, (network(batch.inputs) - batch.targets[:, :1]).square().mean())


# Fitting


def test_networks_draw_their_shapes_and_a_shared_start_keeps_them_near(data):
    spread = {}
    for start in ("mean", "independent"):
        zoo = collected(data, start=start)
        assert min(row["metrics"]["psnr"] for row in zoo.rows) > 11, start
        unit = F.normalize(zoo.theta_ND, dim=1)
        spread[start] = float((unit @ unit.T).mean())
    assert spread["mean"] > 0.8 and spread["independent"] < 0.4
    assert [row["label"] for row in zoo.rows] == data.train.labels[:8].tolist()


def test_a_network_does_not_depend_on_how_many_others_there_are(data):
    few, more = (collected(data, start="first", shapes=shapes, steps=20) for shapes in (3, 6))
    assert torch.allclose(few.theta_ND, more.theta_ND[:3], atol=1e-4)


def test_with_biases_alone_the_weights_are_shared_and_trained(data):
    zoo = collected(data, keys="bias", steps=30)
    before = build_network(Siren(), data, 0).state_dict()
    assert zoo.layout.dim == 16 + 16 + 1
    assert not torch.equal(zoo.anchor["out.weight"], before["out.weight"])
    points, field = data.train.inputs[:50], build_network(Siren(), data, 0)
    field.load_state_dict(zoo.state_dict(zoo.theta_ND[3]))
    drawn = field(points).sigmoid()[:, 0] - data.train.targets[:50, 3]
    average = data.train.targets[:, :8].mean(dim=1)[:50] - data.train.targets[:50, 3]
    assert drawn.square().mean() < average.square().mean()


class Killed(Exception):
    pass


class Snapping(Snapshot):
    """Saves at every step, and dies at one of them."""

    def __init__(self, folder, name="snapshot", dies_at=0):
        super().__init__(folder, name, 0.0)
        self.dies_at = dies_at

    def scope(self, name):
        return Snapping(self.folder, f"{self.name}-{name}", self.dies_at)

    def due(self):
        return True

    def save(self, tensors, state):
        super().save(tensors, state)
        if self.name == "snapshot" and state["step"] == self.dies_at:
            raise Killed


def test_a_fit_that_was_killed_ends_in_the_same_bytes(data, tmp_path):
    whole = collected(data, steps=8)
    with pytest.raises(Killed):
        collected(data, steps=8, ctx=Context(seed=0, snapshot=Snapping(tmp_path, dies_at=5)))
    again = collected(data, steps=8, ctx=Context(seed=0, snapshot=Snapping(tmp_path)))
    assert torch.equal(whole.theta_ND, again.theta_ND) and whole.rows == again.rows


def test_targets_must_be_fields_and_fit_the_task():
    distances = Shapes2d(count=6, test_count=2, side=8, target="distance").load(Context(seed=0))
    with pytest.raises(UserError, match=r"task.values = 'occupancy': .* not 0 to 1; use values = 'distance'"):
        collected(distances)


# Metrics


def test_metrics_of_sets_that_are_alike_and_of_one_far_away():
    generator = torch.Generator().manual_seed(0)
    real, other = (torch.rand(80, 4, generator=generator) for _ in range(2))
    alike, far = field_metrics.metrics(other, real), field_metrics.metrics(other + 9, real)
    assert 0.35 < alike["one_nna"] < 0.65 and alike["precision"] > 0.7 and alike["recall"] > 0.7
    assert far["one_nna"] == 1 and far["precision"] == far["recall"] == 0 and far["mmd"] > 8
    same = field_metrics.metrics(real, real)
    assert same["mmd"] == 0 and same["coverage"] == 1 and same["precision"] == same["recall"] == 1
    assert field_metrics.metrics(real[:2], real)["one_nna"] is None


def test_ties_count_half():
    twins = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    own = field_metrics.apart(twins, twins)
    assert field_metrics.one_nearest_neighbour(own, own, own) == 0.5


def test_nearest_training_shape():
    distance, index = field_metrics.nearest(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [1.0, 1.0]]))
    assert index.tolist() == [1] and distance.tolist() == [1.0]


# The film


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
    generator = PDiff(codec=Pca(latent=4), denoiser=MlpDenoiser(width=64, depth=1), steps=5, timesteps=20).fit(zoo, ctx)
    signal_F, noisy_FMD, clean_FMD = generator.film(4, 5, ctx)
    assert noisy_FMD.shape == clean_FMD.shape == (len(signal_F), 4, zoo.layout.dim)
    assert signal_F == sorted(signal_F) and signal_F[-1] == 1
    assert torch.equal(noisy_FMD[-1], generator.sample(4, ctx)) and torch.equal(clean_FMD[-1], noisy_FMD[-1])
    assert not torch.equal(clean_FMD[0], noisy_FMD[0])


# Labels


def labelled(count=60):
    """Return a zoo of two labels whose networks differ in their first parameter."""
    zoo = tiny_zoo(count)
    zoo.theta_ND[:, 0] = torch.arange(count) % 2 * 10.0
    for number, row in enumerate(zoo.rows):
        row["label"] = number % 2
    return zoo


def test_a_label_that_is_asked_for_is_drawn():
    zoo, ctx = labelled(), Context(seed=3, progress=Progress())
    options = {
        "codec": Pca(latent=4), "denoiser": MlpDenoiser(width=64, depth=1), "steps": 200, "lr": 5e-3, "timesteps": 20,
        "schedule": "cosine", "labels": True,
    }  # fmt: skip
    generator = PDiff(**options).fit(zoo, ctx)
    drawn = []
    for label in (0, 1):
        own = PDiff(**options, label=label, guidance=1.5).load(generator.tensors(), zoo, ctx)
        drawn.append(float((own.sample(20, ctx)[:, 0] > 5).double().mean()))
    assert drawn[0] < 0.1 and drawn[1] > 0.9
    both = (generator.sample(40, ctx)[:, 0] > 5).double().mean()
    assert 0.2 < both < 0.8


def test_labels_are_asked_for_in_vain():
    zoo, ctx = labelled(), Context(seed=3, progress=Progress())
    method = PDiff(steps=2, timesteps=4, labels=True, label=2)
    with pytest.raises(UserError, match=r"method.label: 2 is none of the labels 0 to 1"):
        method.fit(zoo, ctx).sample(3, ctx)
    with pytest.raises(UserError, match=r"method.labels: checkpoint 0 has no label"):
        method.fit(tiny_zoo(), ctx)
    with pytest.raises(ValidationError, match=r"label and guidance are read with labels = true only"):
        PDiff(label=2)


def test_guidance_goes_beyond_the_label():
    def denoiser(z_BZ, t_B, condition_BK):
        return z_BZ if condition_BK is None else z_BZ + 1

    z_BZ, t_B, label_BK = torch.zeros(3, 2), torch.zeros(3), torch.ones(3, 2)
    for guidance in (0.0, 1.0, 2.5):
        assert torch.equal(labels.guided(denoiser, z_BZ, t_B, label_BK, guidance), torch.full((3, 2), guidance))


def test_without_labels_a_method_is_what_it_was_before_there_were_any():
    assert not {"labels", "guidance", "label"} & set(PDiff().identity())
    assert PDiff(labels=True).identity()["labels"] is True


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
[method]
name = "pdiff"
steps = 5
timesteps = 8
labels = true
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
    assert any("as many real training shapes" in note for note in scores["fields"]["notes"])
    assert "of the shapes drawn by pdiff lie among real ones" in findings(scores)[0]


def test_pictures_of_a_label_are_drawn_from_a_finished_run(run):
    asked = "render", str(run.folder), "-n", "5", "--label", "7", "--side", "8"
    result = CliRunner().invoke(build(), asked)
    assert result.exit_code == 0, result.output
    (picture,) = run.folder.glob("render-5-draw-1-label-7-8.png")
    assert picture.read_bytes() == field_commands.picture(run.drawing(label=7), 5, 1, 8)
    assert not torch.equal(run.drawing(label=7).theta(), run.drawing(label=3).theta())
    folder, rows = run.drawing(label=7).sample_to(None, count=2)
    assert folder.name == "samples-pdiff-2-draw-1-label-7" and len(rows) == 2


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
    with pytest.raises(UserError, match="method: Input should be greater than or equal to 0"):
        run.drawing(label=-3)


@pytest.mark.parametrize("name", ["siren", "relu_pe"])
def test_the_order_of_hidden_units_changes_no_drawing(name, data):
    network = Architecture.model_validate({"name": name}).build(input_shape=(2,), outputs=1)
    points, generator = data.train.inputs[:50], torch.Generator().manual_seed(0)
    symmetry, before = Symmetry.of(network, points[:2]), network(points)
    assert symmetry.sizes == [16, 16]
    network.load_state_dict(symmetry.permuted(network.state_dict(), symmetry.random(generator)))
    assert torch.allclose(network(points), before, atol=1e-5)
