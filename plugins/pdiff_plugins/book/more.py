"""Cells that the authors' repository has no code for: settings are ours, where the paper gives none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pdiff_plugins.book import published
from pdiff_plugins.book.cells import BASELINES, EVALUATORS, HYPER, MAIN, REPORTS, Cell, official

DRAWN = (50, 100, 500)
"""Networks drawn, beside the 200 of the main cell."""
SIZES = {  # parameters, filled up to a multiple of 64: (hidden width, latent, Table 13's MB of autoencoder, diffusion)
    2_048: (26, 128, 658, 530),
    30_016: (389, 256, 3_756, 1_418),
    100_288: (1_302, 512, 13_352, 3_594),
    300_288: (3_899, 1_024, 44_882, 12_942),
}


def more() -> Iterator[Cell]:
    """Yield the cells."""
    main = next(cell for cell in official() if cell.name == MAIN)
    for count in DRAWN:
        about = f"The main cell with {count} networks drawn"
        yield Cell(f"drawn_{count:03}", main.recipe | {"sample": {"count": count}}, about)
    for data in ("mnist", "svhn"):
        yield Cell(
            f"{data}_hypercnn",
            _hyper(data),
            "The hyper-representations' CNN of 2,464 parameters, whole; settings are partly ours",
        )
    yield from tasks()
    for size in SIZES:
        about = f"Memory at {size:,} numbers: a perceptron of that size on digits, few steps, which is ours"
        yield Cell(f"memory_{size:06}", _memory(size), about)


def tasks() -> Iterator[Cell]:
    """Yield Tables 10 to 12, for which there is no public code: selection and collection are our choice.

    The last two norms are 5,120 numbers of a ResNet-50's last block, as in the classification cells.
    """
    keys = [f"backbone.body.layer4.2.bn{n}.{entry}" for n in (2, 3) for entry in ("weight", "bias")]
    norms = {"name": "names", "include": keys}
    boxes = {"dataset": {"name": "coco_detection", "validation": 0.0}, "task": {"name": "detection"}}
    for model, groups in published.TABLE_10.items():
        setting = boxes | {
            "architecture": {"name": f"{model}_resnet50_fpn", "weights": "pretrained"},
            "selector": norms,
        }
        yield Cell(
            f"coco_{model}",
            _pretrained(setting, 1e-4, 2, "Table 10: AP", groups),
            "Detection with a ResNet-50 FPN; settings are ours",
        )
    masks = {
        "dataset": {"name": "coco_segmentation", "validation": 0.0}, "task": {"name": "segmentation"},
        "architecture": {"name": "fcn_resnet50", "weights": "pretrained"},
        "selector": {"name": "names", "include": [key.replace("body.", "") for key in keys]},
    }  # fmt: skip
    yield Cell(
        "coco_fcn",
        _pretrained(masks, 1e-4, 8, "Table 11: mIoU", published.TABLE_11),
        "Segmentation with an FCN; settings are ours",
    )
    half = {"name": "cifar10", "image_size": 32, "mean": [0.5], "std": [0.5], "augment": "none", "validation": 0.0}
    drawing = {
        "dataset": {"name": "generation", "images": half, "examples": 10_000, "reference": "train"},
        "task": {"name": "generation"},
        "architecture": {"name": "ddpm_cifar10", "weights": "pretrained"},
        "selector": {"name": "names", "include": ["conv_out.*"]},
    }  # fmt: skip
    setting = _pretrained(drawing, 1e-5, 128, "Table 12: FID of 50,000 images; ours of 10,000", published.TABLE_12)
    setting["evaluate"] = [{"name": name} for name in ("accuracy", "frechet", "distance", "denoising")]
    yield Cell(
        "cifar10_ddpm",
        setting,
        "Image generation with the last convolution of a DDPM UNet, 3,459 numbers; settings are ours",
    )


def _pretrained(
    setting: dict[str, Any], lr: float, batch_size: int, what: str, groups: published.Groups
) -> dict[str, Any]:
    """Return a recipe that fine-tunes published weights as the ImageNet cells do, without base training."""
    collect = {"name": "trajectory", "count": 300, "lr": lr, "weight_decay": 5e-4, "batch_size": batch_size}
    codec = {"name": "conv1d", "latent": 128, "steps": 500}
    expect = published.reference("paper", f"arXiv 2402.13144v3, {what}", groups)
    return {
        "seed": 430, "protocol": "paper", **setting, "collect": collect,
        "method": {"name": "pdiff_paper", "steps": 2000, "codec": codec},
        "baseline": BASELINES, "evaluate": EVALUATORS, "report": REPORTS, "expect": [expect],
    }  # fmt: skip


def _hyper(data: str) -> dict[str, Any]:
    """Base training as the model zoos' (Schürholt et al. 2022, arXiv 2209.14764); collection as p-diff's other CNN."""
    dataset = {"name": data, "image_size": 28, "channels": 1, "validation": 0.0, "augment": "none"}
    return {
        "seed": 430, "protocol": "paper",
        "dataset": dataset | ({"centre": 28} if data == "svhn" else {}),
        "task": {"name": "classification"},
        "architecture": {"name": "hyper_cnn", "init": "uniform"},
        "selector": {"name": "entire"},
        "train": {"epochs": 50, "lr": 3e-4 if data == "mnist" else 3e-3, "batch_size": 10, "optimizer": "adam"},
        "collect": {"name": "trajectory", "count": 300, "lr": 3e-3, "batch_size": 128},
        "method": {
            "name": "pdiff_paper", "steps": 8000, "weight_decay": 1e-5,
            "codec": {"name": "conv1d", "latent": 256, "steps": 2000, "weight_decay": 1e-5},
        },
        "baseline": HYPER, "evaluate": EVALUATORS, "report": REPORTS, "expect": published.table_7(data)[:1],
    }  # fmt: skip


def _memory(size: int) -> dict[str, Any]:
    width, latent, codec, denoiser = SIZES[size]
    groups = {"memory": {"codec": codec, "denoiser": denoiser}}
    return {
        "seed": 430,
        "dataset": {"name": "digits"},
        "task": {"name": "classification"},
        "architecture": {"name": "mlp_mini", "pool": 1, "hidden": [width]},
        "selector": {"name": "entire"},
        "train": {"epochs": 5, "lr": 1e-3, "batch_size": 64},
        "collect": {"name": "trajectory", "count": 100, "lr": 1e-3, "batch_size": 64},
        "method": {
            "name": "pdiff_paper", "steps": 3, "sampler": "ddim", "sampling_steps": 10,
            "codec": {"name": "conv1d", "latent": latent, "steps": 3},
        },
        "sample": {"count": 10},
        "evaluate": [{"name": "accuracy"}, {"name": "memory"}],
        "report": REPORTS,
        "expect": [published.reference("paper", "arXiv 2402.13144v3, Table 13, in MB, batch 50", groups)],
    }  # fmt: skip
