"""Cells: the experiments of Neural Network Diffusion, each as the recipe that repeats it."""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from pdiff_plugins.book import published

Row = Mapping[str, str]
MAIN = "cifar100_resnet18"
"""The cell that all ablations change one thing of."""
DATASETS = {"flowers": "flowers102", "in1k": "imagenet", "pets": "oxford_pets"}
PRESETS = {
    "vittiny": "vit_tiny", "vitbase": "vit_base", "convnexttiny": "convnext_tiny", "convnextbase": "convnext_base",
    "cnnmedium": "cnn_medium", "convnet": "convnet_mini", "convnext": "convnext_mini", "mlp": "mlp_mini",
    "resnet": "resnet_mini", "vit": "vit_mini",
}  # fmt: skip
STANDARD_DEVIATIONS = {
    "0.5071, 0.4867, 0.4408": [0.2675, 0.2565, 0.2761], "0.485, 0.456, 0.406": [0.229, 0.224, 0.225],
    "0.5, 0.5, 0.5": [0.5, 0.5, 0.5], "0.5,": [0.5],
}  # fmt: skip
LAST_TWO_NORMS = ("layer4.1.bn", "layer4.2.bn", "blocks.11.norm2", "norm_layers[-4:]", "stages.3.blocks.2.norm")
"""How lists of keys begin that are the network's last two normalisation layers."""
BASELINES: list[dict[str, Any]] = [
    {"name": "base"}, {"name": "soup"}, {"name": "noise"}, {"name": "noise_zoo"},
    {"name": "gaussian", "spreads": [1.0, 0.3]}, {"name": "interpolation"}, {"name": "constant"},
]  # fmt: skip
HYPER: list[dict[str, Any]] = [*BASELINES, {"name": "s_kde30"}, {"name": "sane_kde30"}, {"name": "sane_sub"}]
"""Those of Table 7."""
EVALUATORS = [{"name": name} for name in ("accuracy", "similarity", "distance", "denoising", "audit")]
REPORTS = [{"name": "html"}, {"name": "markdown"}]


@dataclass(frozen=True)
class Cell:
    """One experiment."""

    name: str
    recipe: dict[str, Any]
    about: str
    """What it is, for the head of its recipe."""


def rows() -> list[dict[str, str]]:
    """Return the 81 cells of the authors' code: settings, and what their logs say."""
    text = resources.files(__package__).joinpath("cells.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def official() -> Iterator[Cell]:
    """Yield the authors' cells."""
    table = rows()
    main = next(row for row in table if row["tag"] == MAIN)
    for row in table:
        category = row["cat"]
        yield Cell(row["tag"], recipe_of(row, main), f"The authors' cell {category}/{row['tag']}")


def recipe_of(row: Row, main: Row) -> dict[str, Any]:
    """Return a cell's recipe; what an ablation does not say is the main cell's."""
    data, architecture = (main if row["cat"] == "ablation" else row)["tag"].split("_")
    collected = main if row["loop"] == "reuse" else row
    recipe: dict[str, Any] = {
        "seed": int(row["seed"]), "protocol": "paper", "dataset": _dataset(row, data),
        "task": {"name": "classification"}, "architecture": _architecture(row, architecture),
        "selector": _selector(row),
    }  # fmt: skip
    if data != "in1k":
        recipe["train"] = _train(row if row["tr_lr"] else main, row["collect_opt"])
    recipe["collect"] = _collect(collected)
    reused = int(row["n_saved"].split()[0]) if row["loop"] == "reuse" else 0
    if reused and reused < int(main["n_saved"]):
        recipe["zoo"] = [{"name": "first", "count": 1 if "twice" in row["n_saved"] else reused}]
    recipe["method"] = _vae(row) if row["tag"] == "vae_sample" else _method(row, reused or int(row["pdiff_bs"]))
    baselines = HYPER if architecture == "cnnmedium" else BASELINES
    recipe |= {"baseline": baselines, "evaluate": EVALUATORS, "report": REPORTS}
    references = [*_log(row), *_paper(row, data, architecture)]
    return recipe | ({"expect": references} if references else {})


def _dataset(row: Row, data: str) -> dict[str, Any]:
    name = DATASETS.get(data, data)
    numbers = {"mean": list(ast.literal_eval(f"[{row['norm_mean']}]")), "std": STANDARD_DEVIATIONS[row["norm_mean"]]}
    table = {"name": name, "image_size": int(row["img_size"]), "validation": 0.0} | numbers
    return table | ({"augment": "crop_flip"} if name == "mnist" else {})


def _architecture(row: Row, architecture: str) -> dict[str, Any]:
    table = {"name": PRESETS.get(architecture, architecture)}
    return table if row["cat"] == "full" else table | {"weights": "pretrained"}


def _selector(row: Row) -> dict[str, Any]:
    if not row["keys"]:
        return {"name": "entire"}
    if row["keys"].startswith("norm_layers"):
        return {"name": "last_norms", "n": 2}
    keys = [key.removeprefix("model.") for key in ast.literal_eval(row["keys"])]
    if keys[0].startswith(LAST_TWO_NORMS):
        return {"name": "last_norms", "n": 2}
    return {"name": "names", "include": keys}


def _train(row: Row, optimizer: str) -> dict[str, Any]:
    table = {
        "epochs": int(row["tr_epochs"]), "lr": float(row["tr_lr"]), "weight_decay": float(row["tr_wd"]),
        "batch_size": int(row["tr_bs"]),
    }  # fmt: skip
    return table | _optimizer(optimizer)


def _optimizer(name: str) -> dict[str, Any]:
    return {} if name == "AdamW" else {"optimizer": name.lower()}


def _collect(row: Row) -> dict[str, Any]:
    loop, lr, end = row["loop"], float(row["collect_lr"]), float(row["collect_lr_end"])
    table = {
        "name": "trajectory", "count": int(row["n_saved"]), "lr": lr, "weight_decay": float(row["collect_wd"]),
        "batch_size": int(row["collect_bs"]), "batch_norm": row["bn_mode"],
    } | _optimizer(row["collect_opt"])  # fmt: skip
    if end != lr:
        table["lr_end"] = end
    if "skip batch 0" in loop:
        table["skip_first_batch"] = True
    if "every 33" in loop:  # a 300th of an epoch of ImageNet, which has 10,010 batches
        table["every"] = 33
    if "unsaved epoch" in loop:
        table["skip_steps"] = 10_010
    return table


def _method(row: Row, checkpoints: int) -> dict[str, Any]:
    batch, decay = min(int(row["pdiff_bs"]), max(checkpoints, 2)), float(row["pdiff_wd"])
    shared = ({"weight_decay": decay} if decay else {}) | ({"batch_size": batch} if batch < 50 else {})
    codec = {"name": "conv1d", "latent": int(row["latent"]), "steps": int(row["ae_steps"])} | shared
    for option, column, default in (("input_noise", "param_noise", 0.001), ("latent_noise", "latent_noise", 0.1)):
        noise = _product(row[column])
        codec |= {option: noise} if noise != default else {}
    table = {"name": "pdiff_paper", "steps": int(row["diff_steps"])} | shared
    table |= {"timesteps": int(row["T"])} if row["T"] != "1000" else {}
    return table | {"codec": codec}


def _vae(row: Row) -> dict[str, Any]:
    codec = {"name": "conv1d", "latent": int(row["latent"])}
    return {"name": "vae_paper", "steps": int(row["ae_steps"]), "lr": float(row["ae_lr"]), "codec": codec}


def _product(text: str) -> float:
    """Return the value of `0.1*0.01`, rounded as one writes it."""
    result = 1.0
    for factor in text.split("*"):
        result *= float(factor)
    return round(result, 10)


def _log(row: Row) -> list[dict[str, Any]]:
    """Return what the authors' log of the cell says, where there is one."""
    if not row["orig_n"]:
        return []
    sampled = "vae" if row["tag"] == "vae_sample" else "pdiff"

    def spread(prefix: str) -> dict[str, float]:
        return {key: round(100 * float(row[f"{prefix}_{key}"]), 2) for key in ("best", "mean", "std", "min")}

    overlaps = {key: round(float(row[f"iou_{key}"]), 4) for key in ("oo", "gg", "og", "og_max")}
    counts = f"{float(row['orig_n']):.0f} originals, {float(row['gen_n']):.0f} generated"
    source = f"log.txt of {row['cat']}/{row['tag']} in the authors' repository ({counts})"
    groups = {"original": spread("orig"), sampled: spread("gen"), "similarity": overlaps}
    return [published.reference("log", source, groups)]


def _paper(row: Row, data: str, architecture: str) -> list[dict[str, Any]]:
    if architecture == "cnnmedium":
        return published.table_7(data)
    return published.first_version(data, architecture) if row["cat"] == "main" else []
