"""What the numbers of neural fields say; reads JSON only."""

from __future__ import annotations

from typing import Any


def shapes_headline(scores: dict[str, Any]) -> str:
    """Say how drawn shapes compare with real ones, where networks are shapes."""
    own, real = scores["networks"][scores["method"]].get("fields", {}), scores.get("fields", {}).get("real", {})
    if own.get("one_nna") is None:
        return ""
    return (
        f"{own['precision']:.0%} of the shapes drawn by {scores['method']} lie among real ones that it has not seen "
        f"(of real training shapes {real['precision']:.0%}), and {own['recall']:.0%} of the real ones among them "
        f"({real['recall']:.0%}); a nearest neighbour tells them from real ones in {own['one_nna']:.0%} of cases "
        f"(real ones {real['one_nna']:.0%}), and {own['copies']:.0%} are copies"
    )
