"""What the scores of shapes say, in words; reads JSON only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def headline(method: str, generated: Mapping[str, Any], real: Mapping[str, Any]) -> str:
    """Say how drawn shapes compare with real ones; nothing where there are too few."""
    if generated["one_nna"] is None:
        return ""
    return (
        f"{generated['precision']:.0%} of the shapes drawn by {method} lie among real ones that it has not seen "
        f"(of real training shapes {real['precision']:.0%}), and {generated['recall']:.0%} of the real ones among them "
        f"({real['recall']:.0%}); a nearest neighbour tells them from real ones in {generated['one_nna']:.0%} of cases "
        f"(real ones {real['one_nna']:.0%}), and {generated['copies']:.0%} are copies"
    )


def notes(method: str, networks: Mapping[str, Any], real: Mapping[str, Any], count: int, start: str) -> list[str]:
    """Return what the table has to be read with; `start` is how the fits of the checkpoints began."""
    return [_beside(real, count), *_empty(networks), *_failed(method, networks, start)]


def _beside(real: Mapping[str, Any], count: int) -> str:
    if real["precision"] is None:
        return f"{count} test shapes are too few for the metrics of shapes; 5 are needed"
    shown = {key: f"{value:.3f}" for key, value in real.items()}
    return (
        f"as many real training shapes against the {count} test shapes give precision {shown['precision']}, recall "
        f"{shown['recall']}, 1-NNA {shown['one_nna']}, coverage {shown['coverage']}, MMD {real['mmd']:.4f}; "
        f"test shapes lie {real['to_train']:.4f} from the nearest training shape in the median"
    )


def _empty(networks: Mapping[str, Any]) -> list[str]:
    """Say which sources have networks that draw nothing."""
    counts = {source: scored["empty"] for source, scored in networks.items() if scored.get("empty")}
    listed = ", ".join(f"{source} {count}" for source, count in counts.items())
    return [f"networks without any surface, which count as infinitely far from every shape: {listed}"] if counts else []


def _failed(method: str, networks: Mapping[str, Any], start: str) -> list[str]:
    """Say why, where networks that started apart were not learnt."""
    if start != "independent" or (networks[method]["one_nna"] or 0) < 0.9:
        return []
    return [
        f"{method} fails here, and it is the checkpoints' fault: every network was fitted from its own random "
        "start, so that the same shape can stand in weights in countless orders and signs of hidden units, and the "
        "weights' distribution has no shape that a generator could learn. With collect.start = 'mean' all else the "
        "same works"
    ]
