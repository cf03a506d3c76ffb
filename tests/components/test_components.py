"""Every registered component and preset keeps the contract of its kind; one without a case fails here."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pdiff.components import KINDS
from pdiff.context import Context
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.files import save_tensors
from pdiff.plugins.discovery import registry
from pdiff.testing import TinyMethod, TinyNet, check_component, check_definition, tiny_splits, tiny_zoo
from pdiff.testing.contracts import build_network
from pdiff_plugins.coco.segmentation import FcnTiny
from pdiff_plugins.control.data import Cartpole
from pdiff_plugins.generation.networks import DdpmUnet
from pdiff_plugins.networks.small import Mlp

RUN = {
    "baseline": [{"name": "base"}, {"name": "soup"}, {"name": "constant"}],
    "evaluate": [{"name": name} for name in ("accuracy", "similarity", "distance", "denoising")],
    "expect": [{"source": "nowhere", "original": {"best": 90.0}}],
}
SMALL_NETWORK = {"channels": (8, 8), "kernel": 3}
SHORT_PDIFF = {"steps": 4, "timesteps": 6, "batch_size": 20}
SHORT_VAE = {"steps": 4, "batch_size": 20}
TRANSFORMER = {"width": 8, "depth": 1, "heads": 2}
SHORT_TRANSFORMER = TRANSFORMER | {"latent": 4, "steps": 3, "batch_size": 20}
SHORT_GPT = TRANSFORMER | {"steps": 3, "batch_size": 8, "timesteps": 6, "sampling_steps": 2, "waves": 4, "warmup": 0}
PAPER = {"codec": {"steps": 3, "batch_size": 20} | SMALL_NETWORK, "denoiser": SMALL_NETWORK}


def pixel_splits():
    """Return three splits of 20 small images with a class for every pixel, some not counted."""
    g = torch.Generator().manual_seed(0)
    draw = [
        TensorSplit(torch.randn(20, 3, 16, 16, generator=g), torch.randint(3, (20, 16, 16), generator=g))
        for _ in range(3)
    ]
    draw[0].targets[:, :2] = 255
    return DatasetSplits(*draw, input_shape=(3, 16, 16), outputs=3)


DIGITS = {"name": "digits", "image_size": 8, "mean": (0.5,), "std": (0.5,)}
TINY_UNET = {"widths": (4, 8), "groups": 4}
GENERATION = {"features": {"name": "digit_features"}, "steps": 2}
DRAWING = {
    "dataset": {"name": "generation", "images": DIGITS, "examples": 20}, "task": {"name": "generation"} | GENERATION,
    "architecture": {"name": "ddpm_unet"} | TINY_UNET, "selector": {"name": "names", "include": ("conv_out.*",)},
}  # fmt: skip
"""A run in which images are drawn."""


def noise_splits():
    """Return splits in which train, too, pairs noise with real images."""
    splits = KINDS["dataset"].model_validate(DRAWING["dataset"]).load(Context(seed=0))
    return DatasetSplits(splits.test, splits.validation, splits.test, splits.input_shape, splits.outputs)


FIELDS = {
    "dataset": {"name": "digit_fields", "side": 8, "test_count": 10}, "task": {"name": "field"}, "train": {},
    "architecture": {"name": "siren", "width": 4}, "selector": {"name": "entire"},
    "collect": {"name": "fields", "shapes": 40, "steps": 5, "points": 16}, "method": {"name": "pdiff"} | SHORT_PDIFF,
    "baseline": [{"name": "soup"}],
}  # fmt: skip
"""A run in which networks are shapes."""
SOLIDS = FIELDS | {
    "dataset": {"name": "shapes3d", "count": 30, "test_count": 6, "resolution": 8, "near": 8},
    "architecture": {"name": "siren"}, "collect": {"name": "fields", "steps": 1, "points": 8, "near": 8},
    "method": {"name": "copy"}, "baseline": [],
}  # fmt: skip
"""A run in which networks are shapes in space, hardly fitted: what a SIREN begins with has a surface."""
EXTRAS = {("report", "meshes"): ("skimage", "trimesh")}
"""What a component needs beside pdiff's own dependencies."""
FIELD_TASK = KINDS["task"].model_validate({"name": "field"})
FIELD = {"architecture": KINDS["architecture"].model_validate(FIELDS["architecture"]),
         "data": KINDS["dataset"].model_validate(FIELDS["dataset"]).load(Context(seed=0))}  # fmt: skip
PROMPTED = {
    "task": {"name": "classification"}, "architecture": {"name": "mlp", "hidden": (4,)}, "train": {},
    "selector": {"name": "entire"}, "zoo": {"holdout": 6}, "baseline": [], "method": {"name": "gpt"} | SHORT_GPT,
    "collect": {"name": "seeds", "count": 6, "steps": 4, "lr": 0.1, "batch_size": 20, "every": 2,
                "include_start": True},
}  # fmt: skip
"""A run in which networks are asked for."""


CASES: dict[str, dict[str, Any]] = {
    "architecture": {
        "convnet_mini": {}, "mlp_mini": {}, "resnet_mini": {}, "vit_mini": {}, "convnext_mini": {}, "cnn_medium": {},
        "hyper_cnn": {}, "mlp": {}, "gpt_cnn": {},
        "resnet20": {"input_shape": (1, 16, 16), "outputs": 7}, "timm_model": {"model": "test_resnet"}, "resnet18": {},
        "ddpm_unet": TINY_UNET | {"input_shape": (3, 16, 16), "outputs": 3},
        **{name: {"input_shape": (2,), "outputs": 1} for name in ("siren", "relu_pe", "hyperdiffusion_mlp")},
        "digit_features": {"width": 8, "input_shape": (1, 8, 8), "outputs": 8},
    },
    "dataset": {"digits": {}, "part": {"of": {"name": "digits"}, "train": 50, "validation": 30},
                "generation": {"images": DIGITS},
                "digit_fields": {"side": 8}, "shapes2d": {"count": 9, "test_count": 3}, "cartpole": {},
                "shapes3d": {"count": 9, "test_count": 3, "resolution": 8, "near": 8}},
    "task": {
        "classification": {"label_smoothing": 0.1}, "field": FIELD,
        "generation": GENERATION | {"data": noise_splits(), "architecture": DdpmUnet(**TINY_UNET)},
        "segmentation": {"classes": 3, "data": pixel_splits(), "architecture": FcnTiny(widths=(4, 8))},
        "control": {"steps": 4, "horizon": 3, "data": Cartpole().load(Context(seed=0)), "architecture": Mlp()},
    },
    "selector": {
        "entire": {}, "last_norms": {"n": 1}, "names": {"include": ("*.weight",)},
        "layers": {"layer": "conv", "positions": (0, -1)},
    },
    "collector": {
        "trajectory": {"lr": 0.01, "count": 5, "batch_size": 20}, "folder": {"path": "checkpoints"},
        "seeds": {"count": 3, "steps": 5, "batch_size": 20, "lr": 0.01, "start": "base"},
        "fields": {"shapes": 3, "steps": 5, "points": 16, "task": FIELD_TASK} | FIELD,
    },
    "codec": {
        "identity": {}, "pca": {"latent": 8}, "conv1d": PAPER["codec"], "autoencoder": {"steps": 5, "hidden": 16},
        "mlp": {"steps": 5, "hidden": 16}, "transformer": {"size": 8, "window": 2, "halo": 1} | SHORT_TRANSFORMER,
    },
    "denoiser": {"conv1d": SMALL_NETWORK, "mlp": {"width": 16, "depth": 1}, "transformer": TRANSFORMER},
    "method": {
        "base": {}, "soup": {}, "constant": {}, "noise": {}, "gaussian": {"spreads": (1.0, 0.5)}, "interpolation": {},
        "pdiff": SHORT_PDIFF, "pdiff_paper": SHORT_PDIFF | PAPER, "vae": SHORT_VAE,
        "average": {}, "mixture": {}, "greedy_soup": {}, "copy": {}, "noise_absolute": {"scales": (0.1,)},
        "swag": {}, "gaussian_diagonal": {}, "kde": {"top": 0.5},
        "posterior": {"steps": 0, "centres": 2, "rank": 4},
        **{name: {"codec": SHORT_TRANSFORMER} for name in ("s_kde30", "sane_kde30", "sane_sub")},
        "flow_matching": {"steps": 4, "batch_size": 20, "sampling_steps": 3},
        "vae_paper": SHORT_VAE | {"codec": SMALL_NETWORK},
        "gpt": SHORT_GPT, **dict.fromkeys(["gpt_mnist", "gpt_cifar10"], SHORT_GPT | {"chunk": 10}),
        "gpt_cartpole": SHORT_GPT | {"metric": "loss"},
    },
    "evaluator": {"accuracy": {}, "similarity": {}, "distance": {}, "denoising": {"networks": 2, "points": 3},
                  "front": {"temperatures": (0.0, 1.0), "networks": 3},
                  "frechet": {"images": 2, "run": DRAWING}, "fields": {"run": FIELDS},
                  "renderings": {"samples": 2, "films": 2, "frames": 3, "sides": (4,), "run": FIELDS},
                  "prompts": {"starts": 2, "prompts": 3, "optimizer_steps": 3, "grid": 3, "run": PROMPTED},
                  "audit": {"examples": 50, "resamples": 20, "run": RUN}},
    "report": {"html": {"run": RUN}, "markdown": {"run": RUN}, "meshes": {"samples": 2, "side": 8, "run": SOLIDS}},
}  # fmt: skip
"""Kind -> name -> options of the component and of its check."""

DEFINITION_ONLY = {
    ("evaluator", "memory"): "a measurement, which differs from time to time; tests/test_book.py makes one",
    ("codec", "probes"): "asks networks, and decodes only once loaded; tests/test_probes.py has what it promises",
    **dict.fromkeys(
        [("architecture", name) for name in ("resnet50", "vit_tiny", "vit_base", "convnext_tiny", "convnext_base")],
        "millions of parameters, by the road of resnet18; tests/test_architectures.py asks timm for each",
    ),
    **dict.fromkeys(
        [("architecture", name) for name in ("fasterrcnn_resnet50_fpn", "fasterrcnn_tiny", "fcos_resnet50_fpn")]
        + [("architecture", "fcos_tiny"), ("task", "detection"), ("dataset", "coco_detection")],
        "images of any size, boxes, no torch.func.vmap; tests/test_detection.py has what it promises",
    ),
    **dict.fromkeys(
        [("architecture", "fcn_resnet50"), ("architecture", "fcn_tiny"), ("dataset", "coco_segmentation")],
        "logits of pixels in a mapping, files; tests/test_segmentation.py has what it promises",
    ),
    **dict.fromkeys(
        [("architecture", "ddpm_cifar10"), ("architecture", "inception")],
        "millions of parameters, an extra; tests/test_generation.py has what they promise",
    ),
    **dict.fromkeys(
        [("dataset", name) for name in ("cifar10", "cifar100", "mnist", "fashion_mnist", "stl10", "svhn")],
        "needs files; tests/test_datasets.py writes such",
    ),
    **dict.fromkeys(
        [("dataset", name) for name in ("flowers102", "oxford_pets", "food101", "imagenet", "image_folder")],
        "needs files; tests/test_datasets_files.py writes such",
    ),
    ("dataset", "mesh_folder"): "needs files, an extra; tests/test_fields3d.py writes such",
}
OPTIONS = {("dataset", "image_folder"): {"root": "images"}, ("dataset", "mesh_folder"): {"root": "meshes"}}
"""Options that a component without a full check has to be given."""

OFFERS = [(kind, name, plugin) for kind in KINDS for plugin, name, _, _ in registry().offers(kind)]


def test_every_plugin_loads():
    assert {plugin.name: plugin.failure for plugin in registry().plugins if plugin.failure} == {}


def test_no_case_is_of_a_component_that_is_not_there():
    cases = {(kind, name) for kind, names in CASES.items() for name in names}
    assert cases | set(DEFINITION_ONLY) | set(OPTIONS) <= {(kind, name) for kind, name, _ in OFFERS}
    assert not cases & set(DEFINITION_ONLY)


@pytest.mark.parametrize(("kind", "name", "plugin"), OFFERS, ids=[f"{kind}-{name}" for kind, name, _ in OFFERS])
def test_component(kind, name, plugin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if (kind, name) in DEFINITION_ONLY:
        return check_definition(made(kind, name, plugin, OPTIONS.get((kind, name), {})), strict=True)
    assert name in CASES[kind], f"{kind} {name!r} is registered and has no case here"
    for package in EXTRAS.get((kind, name), ()):
        pytest.importorskip(package)
    if name == "folder":
        write_checkpoints(tmp_path / "checkpoints")
    options = CASES[kind][name]
    component, _ = registry().find(kind, f"{plugin}:{name}")
    own = {key: value for key, value in options.items() if key in component.model_fields}
    more = {key: value for key, value in options.items() if key not in own}
    check_component(made(kind, name, plugin, own), strict=True, **more)


def made(kind, name, plugin, options):
    """Return the component that a recipe table gives."""
    return KINDS[kind].model_validate({"name": f"{plugin}:{name}"} | options)


def write_checkpoints(folder):
    folder.mkdir()
    for seed in range(3):
        model = build_network(TinyNet(), tiny_splits(), seed=0)
        with torch.no_grad():
            model[1].weight.add_(seed)
        save_tensors(folder / f"{seed}.safetensors", model.state_dict())


# The check itself: it must find what is wrong.


class Broken(TinyMethod.__base__):
    """A method with one fault, as asked."""

    name = "broken"
    fault: str = ""

    def fit(self, zoo, bench, ctx):
        generator = TinyMethod().fit(zoo, ctx)
        sample = generator.sample
        faults = {
            "global random state": lambda count, ctx: sample(count, ctx) * (1 + 0.1 * torch.rand(1)),
            "fixed": lambda count, ctx: sample(count, Context(seed=0)),
            "too many": lambda count, ctx: sample(count + 1, ctx),
            "not finite": lambda count, ctx: sample(count, ctx) / 0,
            "variances": lambda count, ctx: -sample(count, ctx),
            "size": lambda count, ctx: sample(count, ctx)[:, 1:],
        }
        generator.sample = faults.get(self.fault, sample)
        if self.fault == "log":
            generator.log = [{"step": 1, "loss": torch.ones(1)}]
        return generator

    def load(self, tensors, zoo, bench, ctx):
        return self.fit(tiny_zoo(seed=1) if self.fault == "load" else zoo, ctx)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("global random state", r"a second sample\(\) with the same context gives others"),
        ("fixed", "another seed gives the same networks"),
        ("too many", r"sample\(7\) gives \[8, 83\]"),
        ("not finite", "hold NaN or Inf"),
        ("variances", "is negative"),
        ("size", r"gives \[7, 82\]"),
        ("log", "its log is not JSON"),
        ("load", r"load\(\) of what tensors\(\) gave samples other networks"),
    ],
)
def test_a_broken_method_is_found(fault, said):
    check_component(Broken)
    with pytest.raises((AssertionError, ValueError), match=said):
        check_component(Broken, fault=fault)


class Stateful(TinyNet.__base__):
    """Network with one fault, as asked."""

    name = "stateful"
    fault: str = ""

    def build(self, *, input_shape, outputs):
        from torch import nn

        class Net(nn.Module):
            def __init__(self, fault):
                super().__init__()
                self.fault, self.linear = fault, nn.Linear(input_shape[0], outputs + (fault == "size"))
                hidden = torch.rand(1)
                if fault == "hidden":
                    self.hidden = hidden

            def forward(self, x):
                y = self.linear(x) + getattr(self, "hidden", 0)
                return y + torch.rand(1) if self.fault == "random" else y

        return Net(self.fault)


@pytest.mark.parametrize(
    ("fault", "said"),
    [("size", "gives"), ("hidden", "does not carry the whole network"), ("random", "gives another output")],
)
def test_a_broken_architecture_is_found(fault, said):
    check_component(Stateful, input_shape=(3,), outputs=2)
    with pytest.raises(AssertionError, match=said):
        check_component(Stateful, input_shape=(3,), outputs=2, fault=fault)


def test_what_a_definition_lacks_is_named():
    class Loose(TinyNet.__base__):
        """Network."""

        name = "loose"
        width: int = 3

        def build(self, *, input_shape, outputs):
            return TinyNet().build(input_shape=input_shape, outputs=outputs)

    with pytest.raises(AssertionError, match="loose: the option width has no description"):
        check_definition(Loose(), strict=True)
    check_definition(Loose())
    with pytest.raises(AssertionError, match="TinyNet: give the options that it needs: width"):
        check_component(TinyNet, width=-1)
    with pytest.raises(AssertionError, match="tiny_net: no option 'wdth'"):
        check_component(TinyNet, wdth=3)
