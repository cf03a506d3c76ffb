"""Small runs that components are checked in, and options that make them short."""

from __future__ import annotations

from tests.gpt.helpers import TRANSFORMER

RUN = {
    "baseline": [{"name": "base"}, {"name": "soup"}, {"name": "constant"}],
    "evaluate": [{"name": name} for name in ("accuracy", "similarity", "distance", "denoising")],
    "expect": [{"source": "nowhere", "original": {"best": 90.0}}],
}
SMALL_NETWORK = {"channels": (8, 8), "kernel": 3}
SHORT_PDIFF = {"steps": 4, "timesteps": 6, "batch_size": 20}
SHORT_VAE = {"steps": 4, "batch_size": 20}
SHORT_TRANSFORMER = TRANSFORMER | {"latent": 4, "steps": 3, "batch_size": 20}
SHORT_READER = {"members": 1, "steps": 3, "batch_size": 20, "width": 16}
PAPER = {"codec": {"steps": 3, "batch_size": 20} | SMALL_NETWORK, "denoiser": SMALL_NETWORK}
DIGITS = {"name": "digits", "image_size": 8, "mean": (0.5,), "std": (0.5,)}
TINY_UNET = {"widths": (4, 8), "groups": 4}
GENERATION = {"features": {"name": "digit_features"}, "steps": 2}
DRAWING = {
    "dataset": {"name": "generation", "images": DIGITS, "examples": 20}, "task": {"name": "generation"} | GENERATION,
    "architecture": {"name": "ddpm_unet"} | TINY_UNET, "selector": {"name": "names", "include": ("conv_out.*",)},
}  # fmt: skip
"""A run in which images are drawn."""


FIELDS = {
    "dataset": {"name": "digit_fields", "side": 8, "test_count": 10}, "task": {"name": "field"}, "train": {},
    "architecture": {"name": "siren", "width": 4}, "selector": {"name": "entire"},
    "collect": {"name": "fields", "shapes": 40, "steps": 5, "points": 16}, "method": {"name": "pdiff"} | SHORT_PDIFF,
    "baseline": [{"name": "soup"}],
}  # fmt: skip
"""A run in which networks are shapes."""
LABELLED = FIELDS | {"encoder": {"name": "label"}, "method": {"name": "neighbours"}}
"""The same, asked for by label."""
SOLIDS = FIELDS | {
    "dataset": {"name": "shapes3d", "count": 30, "test_count": 6, "resolution": 8, "near": 8},
    "architecture": {"name": "siren"}, "collect": {"name": "fields", "steps": 1, "points": 8, "near": 8},
    "method": {"name": "copy"}, "baseline": [],
}  # fmt: skip
"""A run in which networks are shapes in space, hardly fitted: what a SIREN begins with has a surface."""
SHAPES = SOLIDS | {
    "dataset": {"name": "shapes3d", "count": 24, "test_count": 0, "resolution": 8, "near": 8},
    "task": {"name": "shape"}, "encoder": {"name": "label"}, "method": {"name": "neighbours"},
    "collect": {"name": "fields", "learnt": 12, "held_out": 6, "steps": 5, "points": 16, "near": 8},
}  # fmt: skip
"""A run in which networks are shapes of their own, asked for by label."""
ADAPTED = {
    "dataset": DIGITS, "task": {"name": "shifts", "order": ["whole"], "blur": [0], "contrast": [1]},
    "architecture": {"name": "strided_cnn", "channels": (4, 4)}, "selector": {"name": "lora", "rank": 1},
    "collect": {"name": "tasks", "learnt": 6, "held_out": 2, "steps": 3, "lr": 0.01, "batch_size": 20,
                "start": "multitask", "start_steps": 4},
    "encoder": {"name": "attributes", "angles": ["rotation"]}, "method": {"name": "neighbours"}, "baseline": [],
}  # fmt: skip
"""A run in which networks are adapters of one network."""
TRAINED_AGAIN = {
    "dataset": {"name": "part", "of": DIGITS, "train": 100, "validation": 60, "test": 60},
    "task": {"name": "classification"}, "architecture": {"name": "mlp", "hidden": (8,)}, "selector": {"name": "entire"},
    "baseline": [{"name": "deep_ensemble", "count": 4}, {"name": "lone", "trainings": (1, 2)}, {"name": "soup"}],
}  # fmt: skip
"""A run beside networks that are trained again."""
READ = TRAINED_AGAIN | {
    "train": {}, "collect": {"name": "varied", "count": 40, "steps": (1, 40), "lr": (1e-3, 0.1)},
    "method": {"name": "interpolation"}, "baseline": [],
}  # fmt: skip
"""A run whose networks were each trained in another way."""
ROUNDED = RUN | {"sample": {"count": 6, "baseline_count": 4, "step": {"rounded": 2}}}
"""A run of networks in two bits."""
WIDTHS = {
    "widths": (3, 6), "held_out": (2, 4), "count": 3, "held_out_count": 2, "steps": 4, "lr": 0.01, "batch_size": 20,
}  # fmt: skip
SHORT_UNITS = TRANSFORMER | {"steps": 3, "batch_size": 8, "timesteps": 6, "sampling_steps": 2, "warmup": 0}
OF_WIDTHS = {
    "task": {"name": "classification"}, "architecture": {"name": "mlp", "hidden": (6,)}, "train": {},
    "selector": {"name": "entire"}, "encoder": {"name": "width"}, "collect": {"name": "widths"} | WIDTHS,
    "method": {"name": "units"} | SHORT_UNITS, "baseline": [],
}  # fmt: skip
"""A run in which networks have several widths."""
