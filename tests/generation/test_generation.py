"""Image generation: the UNet's layout, the Fréchet distance, and p-diff on a tiny UNet that draws digits."""

from __future__ import annotations

import builtins
import json
import math
import sys

import pytest
import torch
from torch import nn

import pdiff
from pdiff.components import Architecture, Dataset, Task
from pdiff.context import Context
from pdiff.data import Batch
from pdiff.engine import work as stages
from pdiff.engine.work import build_network
from pdiff.errors import UserError
from pdiff.files import load_tensors, save_tensors
from pdiff.recipe.tables import Train
from pdiff.results.summary import expected
from pdiff.testing import TinyNet, TinyTask, tiny_splits
from pdiff.training.loop import train
from pdiff_plugins.generation.data import Frechet, Generation
from pdiff_plugins.generation.diffusion import images, loss
from pdiff_plugins.generation.frechet import Features, Gaussian, outside, to_pixels
from pdiff_plugins.generation.nets.unet import UNet
from pdiff_plugins.generation.networks import DdpmUnet, DigitFeatures
from pdiff_plugins.maths.diffusion import Schedule, coefficients
from tests.helpers import pdiff_command

SMALL = {"widths": (8, 16), "layers": 1, "attention": (1,), "groups": 4}
CPU = torch.device("cpu")


def unet(seed: int = 0, channels: int = 1, **sizes) -> UNet:
    torch.manual_seed(seed)
    return UNet(channels, **SMALL | sizes).eval()


# The network.


def test_the_layout_of_ddpm_cifar10_has_its_published_sizes():
    preset = Architecture.model_validate({"name": "ddpm_cifar10"})
    with torch.device("meta"):
        model = preset.build(input_shape=(3, 32, 32), outputs=3)
    assert sum(p.numel() for p in model.parameters()) == 35_746_307
    assert sum(p.numel() for p in model.conv_out.parameters()) == 3_459
    assert model(torch.empty(2, 3, 32, 32, device="meta"), torch.empty(2, device="meta")).shape == (2, 3, 32, 32)


def oracle(channels: int, side: int, widths, layers, attention, groups):
    diffusers = pytest.importorskip("diffusers")
    kinds = ["AttnDownBlock2D" if level in attention else "DownBlock2D" for level in range(len(widths))]
    return diffusers.UNet2DModel(
        sample_size=side, in_channels=channels, out_channels=channels, block_out_channels=widths, norm_eps=1e-6,
        layers_per_block=layers, norm_num_groups=groups, down_block_types=kinds, downsample_padding=0, freq_shift=1,
        up_block_types=[kind.replace("Down", "Up") for kind in reversed(kinds)], flip_sin_to_cos=False,
        attention_head_dim=None,
    )  # fmt: skip


@pytest.mark.parametrize("sizes", [SMALL, {"widths": (8, 16, 16), "layers": 2, "attention": (0, 2), "groups": 8}])
def test_it_is_the_network_of_diffusers(sizes):
    theirs, ours = oracle(3, 16, **sizes).eval(), unet(channels=3, **sizes)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3.0, 977.0])
    with torch.no_grad():
        torch.testing.assert_close(ours(x, t), theirs(x, t).sample, atol=1e-5, rtol=1e-5)


def test_a_folder_that_diffusers_wrote_is_read(tmp_path):
    theirs = oracle(1, 8, **SMALL).eval()
    theirs.save_pretrained(tmp_path)
    ours = build_network(DdpmUnet(**SMALL, weights=str(tmp_path)), tiny_splits((1, 8, 8), 1, 2), seed=0)
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize("steps", [10, 1000])
def test_images_are_those_of_the_schedulers_of_diffusers(steps):
    """Clipped, with the noise that follows from the clipped image."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(clip_sample=True, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    x = start = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def model(x, t):
        return 0.9 * x + 0.1 * torch.sin(3 * x)

    for t in scheduler.timesteps:
        x = scheduler.step(model(x, t), t, x, eta=0.0, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(images(model, start, Schedule(), steps=steps, eta=0.0), x, atol=1e-4, rtol=0)


CONFIG = {
    "_class_name": "UNet2DModel", "act_fn": "silu", "attention_head_dim": None, "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "layers_per_block": 1, "norm_eps": 1e-6,
    "norm_num_groups": 4,
}  # fmt: skip


def write_folder(folder, state, config=CONFIG, name="diffusion_pytorch_model.safetensors"):
    folder.mkdir(exist_ok=True)
    save_tensors(folder / name, state) if name.endswith("safetensors") else torch.save(state, folder / name)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_weights_come_from_a_folder_or_a_file_also_with_old_names(tmp_path):
    wanted = unet(seed=1).state_dict()
    new_to_old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for key, value in wanted.items():
        for name, before in new_to_old.items():
            key = key.replace(f".{name}.", f".{before}.")
        old[key] = value
    assert sorted(old) != sorted(wanted)
    folders = [write_folder(tmp_path / "new", wanted), write_folder(tmp_path / "old", old, name=f"{STEM}.bin")]
    for weights in [*folders, folders[0] / f"{STEM}.safetensors", folders[1] / f"{STEM}.bin"]:
        found = build_network(DdpmUnet(**SMALL, weights=str(weights)), tiny_splits((1, 8, 8), 1, 2), seed=0)
        assert all(torch.equal(value, wanted[key]) for key, value in found.state_dict().items())
    moved = folders[0].rename(tmp_path / "moved")
    assert DdpmUnet(weights=str(moved)).identity()["weights"].startswith("sha256:")


STEM = "diffusion_pytorch_model"


def test_bad_weights_are_one_line(tmp_path, monkeypatch):
    def said(weights, **options):
        with pytest.raises(UserError) as error:
            build_network(DdpmUnet(**SMALL | options, weights=str(weights)), tiny_splits((1, 8, 8), 1, 2), seed=0)
        assert "\n" not in str(error.value)
        return str(error.value)

    state = unet().state_dict()
    folder = write_folder(tmp_path / "unet", state)
    assert "config.json has layers_per_block = 1, this UNet 2" in said(folder, layers=2)
    write_folder(folder, state, CONFIG | {"downsample_padding": 1})
    assert "config.json has downsample_padding = 1, this UNet 0" in said(folder)
    write_folder(folder, {key: value for key, value in state.items() if key != "conv_in.bias"})
    assert "it lacks 'conv_in.bias'" in said(folder)
    (folder / "config.json").unlink()
    assert "holds no config.json" in said(folder)
    (folder / f"{STEM}.safetensors").unlink()
    assert "neither diffusion_pytorch_model.safetensors nor" in said(folder)
    assert "no such file" in said(tmp_path / "nowhere.safetensors")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refused)
    assert "could not be fetched (no route to host)" in said("pretrained")


def refused(*_, **__):
    raise OSError("no route to host\nand more")


def test_sizes_that_do_not_fit_are_told():
    with pytest.raises(UserError, match="sides that 2 divides, found 7x7"):
        DdpmUnet(**SMALL).build(input_shape=(1, 7, 7), outputs=1)
    with pytest.raises(UserError, match="it is for dataset generation"):
        DdpmUnet(**SMALL).build(input_shape=(1, 8, 8), outputs=10)
    with pytest.raises(ValueError, match="groups = 5 does not divide the width 8"):
        DdpmUnet(**SMALL | {"groups": 5})


# Diffusion of images.


def test_sampling_is_that_of_latents_where_nothing_is_clipped():
    """The linear model whose images stay small: clipping has no effect, and the folded update is the same."""
    schedule, start = Schedule(steps=100), 0.1 * torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))

    def model(x, t):
        return 0.5 * x

    x = start
    for t, (a, b, _) in coefficients(schedule, "epsilon", 20, 0.0):
        x = a * x + b * model(x, t)
    assert x.abs().max() < 1
    torch.testing.assert_close(images(model, start, schedule, steps=20, eta=0.0), x)


def test_images_lie_in_range_and_depend_on_their_own_noise_alone():
    model, start = unet(), torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for eta in (0.0, 1.0):
        with torch.no_grad():
            together = images(model, start, Schedule(), steps=4, eta=eta)
            alone = torch.cat([images(model, one, Schedule(), steps=4, eta=eta) for one in start.split(1)])
        assert together.abs().max() <= 1
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_the_exact_noise_of_a_point_leads_to_it():
    """For data that are one image x0 the ideal network is known, and every sampler ends there."""
    schedule, x0 = Schedule(), torch.linspace(-0.9, 0.9, 16).view(1, 1, 4, 4)

    def ideal(x, t):
        alpha_bar = schedule.alpha_bar[t.long()].float().view(-1, 1, 1, 1)
        return (x - alpha_bar.sqrt() * x0) / (1 - alpha_bar).sqrt()

    start = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for steps, eta in ((10, 0.0), (50, 1.0)):
        drawn = images(ideal, start, schedule, steps=steps, eta=eta)
        torch.testing.assert_close(drawn, x0.expand(2, -1, -1, -1), atol=1e-3, rtol=0)


def test_the_loss_is_one_for_a_network_that_finds_nothing_and_draws_from_the_global_generator():
    x0 = torch.randn(2000, 1, 4, 4).clamp(-1, 1)
    torch.manual_seed(5)
    first = loss(lambda x, t: torch.zeros_like(x), x0, Schedule())
    assert first.item() == pytest.approx(1, abs=0.03)
    torch.manual_seed(5)
    assert torch.equal(loss(lambda x, t: torch.zeros_like(x), x0, Schedule()), first)


def test_training_stopped_midway_ends_in_the_same_bytes(tmp_path):
    from pdiff.running.snapshot import Snapshot

    x0 = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)

    def trained(ctx, stop=0):
        model = unet()

        def one(step, generator):
            if stop and step == stop:
                raise KeyboardInterrupt
            return loss(model, x0, Schedule())

        train(model, one, steps=6, ctx=ctx, what="x", lr=1e-3, ema=0.9)
        return model.state_dict()

    whole = trained(Context(seed=1))
    ctx = Context(seed=1, snapshot=Snapshot(tmp_path, every_s=0.0))
    with pytest.raises(KeyboardInterrupt):
        trained(ctx, stop=3)
    again = trained(ctx)
    assert all(torch.equal(value, whole[key]) for key, value in again.items())


# Fréchet distance.


def test_the_distance_of_known_gaussians():
    """One feature: (m1 - m2)^2 + (s1 - s2)^2; independent ones add up; of itself it is 0."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(400, 1, generator=generator), 3 + 2 * torch.randn(300, 1, generator=generator)
    apart = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    assert Gaussian(a).distance(Gaussian(b)) == pytest.approx(apart.item(), rel=1e-5)
    x = torch.randn(50, 6, generator=generator)
    assert Gaussian(x).distance(Gaussian(x)) == pytest.approx(0, abs=1e-12)
    assert Gaussian(x).distance(Gaussian(x + 2)) == pytest.approx(6 * 4)
    assert Gaussian(x).distance(Gaussian(3 * x - 2 * x.mean(0))) == pytest.approx(4 * Gaussian(x).variance)
    assert Gaussian(x).variance == pytest.approx(x.double().var(dim=0).sum().item())
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    y = torch.randn(70, 6, generator=generator).double()
    turned = Gaussian(x.double() @ rotation).distance(Gaussian(y @ rotation))
    assert turned == pytest.approx(Gaussian(x).distance(Gaussian(y)))


@pytest.mark.parametrize(("count", "features"), [(300, 12), (9, 30)])
def test_the_distance_is_that_of_scipys_matrix_root(count, features):
    linalg = pytest.importorskip("scipy.linalg")
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(features, features, generator=generator)
    a, b = (torch.randn(count, features, generator=generator) @ m for m in (mix, torch.eye(features)))
    first, second = (x.double().T.cov().numpy() for x in (a, b))
    root = linalg.sqrtm(first @ second)
    apart = (a.double().mean(0) - b.double().mean(0)).square().sum().item()
    expected = apart + first.trace() + second.trace() - 2 * root.trace().real
    assert Gaussian(a).distance(Gaussian(b)) == pytest.approx(expected, rel=1e-5)


class Pooled(nn.Module):
    """Features of uint8 or of -1..1 images: means of four quarters, per channel."""

    num_features = 12

    def forward(self, x):
        x = x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x
        return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


def test_the_distance_is_that_of_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid")
    generator = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (200, 3, 8, 8), generator=generator, dtype=torch.uint8)
    fake = torch.randint(0, 180, (150, 3, 8, 8), generator=generator, dtype=torch.uint8)
    metric = fid.FrechetInceptionDistance(feature=Pooled(), input_img_size=(3, 8, 8))
    metric.set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    own = Features(DigitFeatures(), 0)
    own.networks[CPU] = Pooled()
    distance = Gaussian(own.of(fake)).distance(Gaussian(own.of_real(real)))
    assert distance == pytest.approx(metric.compute().item(), rel=1e-4)


def test_outside_the_manifold_is_farther_than_the_third_neighbour():
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0], [100.0]])
    found = torch.tensor([[-2.9], [-3.1], [1.5], [60.0], [4.9], [5.1], [400.0]])
    radii = [3.0, 2.0, 2.0, 3.0, 99.0]
    slow = [all(abs(x - r) > d for r, d in zip(real[:, 0].tolist(), radii, strict=True)) for x in found[:, 0].tolist()]
    assert outside(found, real).tolist() == slow == [False, True, False, False, False, False, True]


def test_the_score_is_one_for_real_images_and_zero_for_average_features():
    task = Generation(features=DigitFeatures())
    data = digits_data().load(Context(seed=0))
    real = data.test.targets
    features = task.measure().of_real(real)
    average = features.mean(dim=0).expand_as(features)
    noise = task.measure().of(to_pixels(torch.randn(real.shape)))
    score = task.score(torch.stack([features, average, noise]), real)
    assert score[:2].tolist() == pytest.approx([1, 0], abs=1e-6) and score[2] < -1
    wrong = task.wrong(torch.stack([features, noise]), real)
    assert not wrong[0].any() and wrong[1].double().mean() > 0.8


def test_the_digits_features_tell_digits_apart():
    """Their nearest neighbour has the same class for nine in ten of the digits that the classifier never saw."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    network = DigitFeatures().build(input_shape=(1, 8, 8), outputs=0)
    again = DigitFeatures().build(input_shape=(1, 8, 8), outputs=0)
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), again.parameters(), strict=True))
    with torch.no_grad():
        features = network(torch.from_numpy(pixels / 8 - 1).float().view(-1, 1, 8, 8))
    nearest = torch.cdist(features[-500:], features[:-500]).argmin(dim=1)
    assert (labels[-500:] == labels[:-500][nearest]).mean() > 0.9


# Inception.


def test_inception_says_what_is_missing(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.delitem(sys.modules, "pdiff_plugins.generation.nets.inception", raising=False)
        patched.setattr(builtins, "__import__", without("torch_fidelity", builtins.__import__))
        with pytest.raises(UserError, match=r"which is missing; pip install 'neural-pdiff\[generation\]'"):
            Generation().measure().of(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    pytest.importorskip("torch_fidelity")
    other = tmp_path / "resnet.safetensors"
    save_tensors(other, {"conv1.weight": torch.zeros(3)})
    for weights, said in (
        (tmp_path / "no.pth", "no.pth: no such file"),
        (other, "inception: not this network's state dict: it lacks"),
    ):
        with pytest.raises(UserError, match=said) as error:
            features = {"name": "inception", "weights": str(weights)}
            task = Task.model_validate({"name": "generation", "features": features})
            task.measure().of(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
        assert "task.features.weights" in str(error.value) and "\n" not in str(error.value)
        with pytest.raises(UserError, match=said):
            task.loss(unet(), Batch(torch.zeros(1, 1, 8, 8), torch.zeros(1)))
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refused)
    with pytest.raises(UserError, match=r"could not be fetched .no route to host and more.; connect"):
        Generation().measure().of(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def without(name, original):
    def imported(wanted, *args, **options):
        if wanted.split(".")[0] == name:
            raise ImportError(wanted)
        return original(wanted, *args, **options)

    return imported


def test_inception_takes_a_file_of_its_weights(tmp_path):
    """With random weights, as its published ones are 95 MB: grey images are those of three equal channels."""
    pytest.importorskip("torch_fidelity")
    from pdiff_plugins.generation.nets.inception import Inception

    torch.manual_seed(0)
    with torch.no_grad():
        weights = {key: value for key, value in Inception().state_dict().items()}
    torch.save(weights, tmp_path / "inception.pth")
    task = Task.model_validate(
        {"name": "generation", "features": {"name": "inception", "weights": str(tmp_path / "inception.pth")}}
    )
    grey = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    features = task.measure().of(grey)
    assert features.shape == (2, 2048)
    own = Inception().eval()
    own.load_state_dict(weights)
    torch.testing.assert_close(own(grey.expand(-1, 3, -1, -1).float() / 127.5 - 1), features)


# The whole way.


def digits_data(**options):
    images = {"name": "digits", "image_size": 8, "mean": [0.5], "std": [0.5]}
    return Dataset.model_validate({"name": "generation", "images": images, "examples": 40} | options)


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
    done = pdiff_command("run", "digits.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
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
    stages._fine_tune(models[0], settings, data, TinyTask(), ctx, 3, Keeps(models[0]))
    for step, state in enumerate(states):
        decay = min(0.999, (1 + step) / (10 + step))
        average = {
            k: decay * v + (1 - decay) * state[k] if v.is_floating_point() else state[k] for k, v in average.items()
        }
    stages.do_train(models[1], settings, data, "validation", TinyTask(), tmp_path, ctx)
    kept = load_tensors(tmp_path / "network.safetensors")
    torch.testing.assert_close(kept, average)
    assert not any("score" in row for row in json.loads((tmp_path / "log.json").read_text()))


def test_frechet_is_for_this_task_alone(finished):
    with pytest.raises(UserError, match="evaluate frechet: is for task generation, found classification"):
        Frechet().evaluate(finished.pipeline.view(), Context(seed=0))
