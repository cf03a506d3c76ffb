"""Image generation from digits to generated networks."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch

import pdiff
from pdiff.components import Train
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.files import load_tensors
from pdiff.networks import build_network
from pdiff.results.summary import expected
from pdiff.testing import TinyNet, TinyTask, tiny_splits
from pdiff.training import base_network
from pdiff_plugins.drawing.style import styled
from pdiff_plugins.generation.evaluator import Frechet
from pdiff_plugins.generation.figures import generated_images
from pdiff_plugins.generation.rows import strip
from tests.generation.helpers import CPU, digits_data


def test_splits_pair_noise_with_real_images():
    data = digits_data().load(Context(seed=0))
    assert data.input_shape == (1, 8, 8) and data.outputs == 1
    train_batch = data.train.batch(torch.arange(3), CPU)
    assert train_batch.inputs.min() == -1 and train_batch.inputs.max() == 1
    pairs = data.test.batch(torch.arange(40), CPU)
    assert pairs.inputs.std().item() == pytest.approx(1, abs=0.1) and pairs.targets.dtype == torch.uint8
    assert {0, 255} <= set(pairs.targets.flatten().tolist()) and len(data.validation) == 40
    assert not torch.equal(data.validation.inputs, data.test.inputs)
    with pytest.raises(UserError, match=r"come in -0.811..1.85, the noise of diffusion is for -1..1; write mean"):
        digits_data(images={"name": "digits", "image_size": 8}).load(Context(seed=0))


RECIPE = """
[dataset]
name = "generation"
examples = 60
[dataset.images]
name = "digits"
image_size = 8
mean = [0.5]
std = [0.5]

[task]
name = "generation"
steps = 4
features = { name = "digit_features" }

[architecture]
name = "ddpm_unet"
widths = [8, 16]
groups = 4

[selector]
name = "names"
include = ["conv_out.*"]

[train]
epochs = 8
lr = 2e-3
keep = "average"

[collect]
name = "trajectory"
count = 6
lr = 1e-3
batch_size = 64

[method]
name = "pdiff"
steps = 40
timesteps = 20
batch_size = 6

[[expect]]
source = "nowhere"
frechet = { original_best = 3.17 }

[[baseline]]
name = "base"
[[baseline]]
name = "constant"

[sample]
count = 3

[[evaluate]]
name = "accuracy"
[[evaluate]]
name = "frechet"
images = 4
[[evaluate]]
name = "similarity"
[[evaluate]]
name = "distance"

[[report]]
name = "html"
[[report]]
name = "markdown"
"""


def test_from_digits_to_generated_networks(tmp_path):
    (tmp_path / "digits.toml").write_text(RECIPE)
    pdiff.run(tmp_path / "digits.toml", set={"run.out": str(tmp_path / "runs")}, quiet=True)
    run = pdiff.open_run("digits", out=tmp_path / "runs")
    scores = run.scores
    assert run.pipeline.zoo.layout.keys == ["conv_out.weight", "conv_out.bias"]
    assert scores["parameters"] == 8 * 9 + 1 and scores["networks"]["original"]["count"] == 6
    own = {source: scored["frechet"] for source, scored in scores["networks"].items()}
    assert set(own) == {"original", "pdiff", "base", "constant"}
    for source, scored in own.items():
        skill = scores["networks"][source]["accuracy"]["values"]
        distance = [(1 - value) * scores["frechet"]["variance"] for value in skill]
        assert scored["values"] == pytest.approx(distance) and all(map(math.isfinite, distance))
    assert scores["frechet"]["real"] < own["original"]["mean"] < scores["frechet"]["noise"]
    assert set(scores["frechet"]["images"]) == {"real", *own}
    (folder,) = [path for path in (tmp_path / "runs").glob("digits-*")]
    assert (folder / "figures" / "images.png").stat().st_size > 1000
    assert "Fréchet" in (folder / "report.md").read_text()
    assert expected(scores)[1][0][:3] == ["frechet", "original_best", "3.17"]
    assert float(expected(scores)[1][0][3]) == pytest.approx(own["original"]["best"], rel=1e-3)
    base = run.networks(1, source="base")[0]
    score = run.recipe.task.score(run.pipeline.predictions("base", "test"), run.pipeline.data.test.targets)
    inputs, targets = run.pipeline.data.test.batch(torch.arange(60), CPU)
    with torch.no_grad():
        again = run.recipe.task.reduce(run.recipe.task.predict(base, inputs)[None], targets)
    assert run.recipe.task.score(again, targets).item() == pytest.approx(score.item(), rel=1e-3)


def test_the_moving_average_is_kept_where_the_recipe_asks_for_it(tmp_path):
    """Against an average taken of the weights after each step of the same training."""
    states, data, ctx = [], tiny_splits(), Context(seed=0)

    class Keeps:
        def __init__(self, model):
            self.model = model

        def after(self, step):
            states.append({key: value.clone() for key, value in self.model.state_dict().items()})
            return {}

    models = [build_network(TinyNet(), data, seed=0) for _ in range(2)]
    average = {key: value.clone() for key, value in models[0].state_dict().items()}
    settings = Train(epochs=3, batch_size=20, lr=0.05, keep="average")
    base_network._fine_tune(models[0], settings, data, TinyTask(), ctx, 3, Keeps(models[0]))
    for step, state in enumerate(states):
        decay = min(0.999, (1 + step) / (10 + step))
        average = {
            k: decay * v + (1 - decay) * state[k] if v.is_floating_point() else state[k] for k, v in average.items()
        }
    base_network.do_train(models[1], settings, data, "validation", TinyTask(), tmp_path, ctx)
    kept = load_tensors(tmp_path / "network.safetensors")
    torch.testing.assert_close(kept, average)
    assert not any("score" in row for row in json.loads((tmp_path / "log.json").read_text()))


def test_rows_of_fewer_images_begin_at_the_left():
    rows = {"real": strip(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)), "pdiff": strip(torch.zeros(10, 1, 8, 8).byte())}
    view = SimpleNamespace(scores={"frechet": {"images": rows}}, selection="validation")
    with styled():
        chart, _ = generated_images(view, {})
        chart.canvas.draw()
    real, drawn = chart.axes
    assert real.get_window_extent().x0 == pytest.approx(drawn.get_window_extent().x0)
    assert real.get_xlim() == drawn.get_xlim()


def test_frechet_is_for_this_task_alone(finished):
    with pytest.raises(UserError, match="evaluate frechet: is for task generation, found classification"):
        Frechet().evaluate(finished.pipeline.view(), Context(seed=0))
