"""Cells that the authors' repository has no code for: settings are ours, where the paper gives none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pdiff_plugins.book import published
from pdiff_plugins.book.cells import BASELINES, EVALUATORS, MAIN, REPORTS, Cell, official

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
        yield Cell(f"{data}_hypercnn", _hyper(data), "The hyper-representations' CNN of 2,464 parameters, whole")
    for size in SIZES:
        about = f"Memory at {size:,} numbers: a perceptron of that size on digits, few steps"
        yield Cell(f"memory_{size:06}", _memory(size), about)


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
        "baseline": BASELINES, "evaluate": EVALUATORS, "report": REPORTS, "expect": [published.table_7(data)],
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
