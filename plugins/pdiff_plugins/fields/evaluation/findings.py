"""What the scores of shapes say, in words; reads JSON only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def headline(method: str, drawn: Mapping[str, Any], real: Mapping[str, Any]) -> str:
    """Say how drawn shapes compare with real ones; nothing where there are too few."""
    if drawn["one_nna"] is None:
        return ""
    return (
        f"{drawn['precision']:.0%} of the shapes drawn by {method} lie among real ones that it has not seen "
        f"(of real training shapes {real['precision']:.0%}), and {drawn['recall']:.0%} of the real ones among them "
        f"({real['recall']:.0%}); a nearest neighbour tells them from real ones in {drawn['one_nna']:.0%} of cases "
        f"(real ones {real['one_nna']:.0%}), and {drawn['copies']:.0%} are copies"
    )


def notes(method: str, networks: Mapping[str, Any], real: Mapping[str, Any], count: int, start: str) -> list[str]:
    """Return what the table has to be read with; `start` is how the fits of the checkpoints began."""
    return [_beside(real, count), *_empty(networks), *_failed(method, networks, start)]


def _beside(real: Mapping[str, Any], count: int) -> str:
    if real["precision"] is None:
        return f"{count} test shapes are too few for the metrics of shapes; 5 are needed"
    own = {key: f"{value:.3f}" for key, value in real.items()}
    return (
        f"as many real training shapes against the {count} test shapes give precision {own['precision']}, recall "
        f"{own['recall']}, 1-NNA {own['one_nna']}, coverage {own['coverage']}, MMD {real['mmd']:.4f}; test shapes lie "
        f"{real['to_train']:.4f} from the nearest training shape in the median"
    )


def _empty(networks: Mapping[str, Any]) -> list[str]:
    """Say which sources have networks that draw nothing."""
    counts = {source: own["empty"] for source, own in networks.items() if own.get("empty")}
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
