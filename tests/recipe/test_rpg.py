"""RPG's cells: the networks that the recipes name have the published sizes and take the recipes' images."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import timm
import torch

RPG = Path(__file__).parents[2] / "recipes/rpg"
MILLIONS = {
    "resnet18": 11.7, "resnet50": 25.6, "vittiny": 5.7, "vitsmall": 22.1, "vitbase": 86.6, "convnextlarge": 197.8,
    "convnextatto": 3.7, "vittiny_tokens": 5.7,
}  # fmt: skip
"""arXiv 2501.11587, ImageNet-1k."""


@pytest.mark.parametrize("cell", sorted(path.stem for path in RPG.glob("*.toml")))
def test_size_and_normalisation(cell: str) -> None:
    recipe = tomllib.loads((RPG / f"{cell}.toml").read_text())
    with torch.device("meta"):
        network = timm.create_model(recipe["architecture"]["model"])
    assert sum(weight.numel() for weight in network.parameters()) / 1e6 == pytest.approx(MILLIONS[cell], abs=0.06)
    config = network.pretrained_cfg
    assert tuple(recipe["dataset"]["mean"]) == config["mean"]
    assert tuple(recipe["dataset"]["std"]) == config["std"]
