"""What the scores of scenes say, in words; reads JSON only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pdiff.view import ORIGINAL
from pdiff_plugins.radiance.evaluation.names import REAL

LITTLE = 0.2
"""Precision and recall below which a set is none of real scenes, whatever 1-NNA says."""
Rows = Mapping[str, Mapping[str, Any]]


def headline(method: str, networks: Rows, ours: Mapping[str, Any]) -> str:
    """Say how the method's scenes compare, and which control does better; nothing where nothing was compared."""
    if ours["kind"] == "sets" and networks[method]["one_nna"] is not None:
        return "; ".join([_set(method, networks[method], ours["beside"][REAL]), _rivals(method, networks, ours)])
    if ours["kind"] == "pictures" and networks[method]["ssim"] is not None:
        return _pictures(method, networks, ours)
    return ""


def notes(ours: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the table has to be read with."""
    yield from ours["missing"]
    if ours["kind"] != "sets":
        return
    real = ours["beside"][REAL]
    if real["precision"] is None:
        yield f"{ours['count']} scenes held out are too few for the metrics of sets; 5 are needed"
        return
    yield (
        f"{REAL}: as many learnt scenes as were held out, {ours['count']}, in place of generated ones; `to learnt`, "
        "`copies` and `right class` in that row are of the scenes held out"
    )


def _set(method: str, row: Mapping[str, Any], real: Mapping[str, Any]) -> str:
    """Say how a set compares with the scenes held out."""
    copies = f"{row['copies']:.0%} are copies" if row["copies"] else "none is a copy"
    near = f"they lie {row['to_learnt']:.1f} dB from learnt scenes (unseen real ones {real['to_learnt']:.1f} dB)"
    return (
        f"scenes of {method} are told from unseen real ones in {row['one_nna']:.0%} of cases by the nearest scene "
        f"(learnt real ones in {real['one_nna']:.0%}; 50 % is not at all); {row['precision']:.0%} lie among real ones, "
        f"and {row['recall']:.0%} of the real ones among them; {near}, and {copies}"
    )


def _rivals(method: str, networks: Rows, ours: Mapping[str, Any]) -> str:
    """Say which other source is told from real scenes less well, beyond chance.

    Not among them is one with little precision or recall: real scenes in the midst of scattered ones, each of which is
    nearest to a real one, are told from them in half of the cases.
    """
    rest = {
        source: row for source, row in networks.items()
        if source not in (method, ORIGINAL) and row["one_nna"] is not None
    }  # fmt: skip
    mine = networks[method]["one_nna"]
    rest = {source: row for source, row in rest.items() if min(row["precision"], row["recall"]) > LITTLE} or rest
    if not rest:
        return "no control gives a set"
    best, row = min(rest.items(), key=lambda pair: pair[1]["one_nna"])
    by, chance = mine - row["one_nna"], 2 * _error(mine, row["one_nna"], ours["count"])
    copied = f", {row['to_learnt']:.1f} dB from learnt scenes, {row['copies']:.0%} copies"
    if by > chance:
        return f"{best} does better ({row['one_nna']:.0%}{copied})"
    if by > -chance:
        return f"it cannot be told from {best} ({row['one_nna']:.0%}{copied})"
    return f"no control does as well (the best, {best}: {row['one_nna']:.0%})"


def _error(a: float, b: float, count: int) -> float:
    """Return the standard error of the difference of two shares, each of twice so many scenes."""
    return math.sqrt((a * (1 - a) + b * (1 - b)) / (2 * count))


def _pictures(method: str, networks: Rows, ours: Mapping[str, Any]) -> str:
    """Say how like pictures are, and which control does better."""
    controls = {source: gain for source, gain in ours.get("gains", {}).items() if source != ORIGINAL}
    text = (
        f"pictures of {ours['count']} unseen scenes, as {method} gives them, have an SSIM of "
        f"{networks[method]['ssim']:.3f} (the scenes' own networks {networks[ORIGINAL]['ssim']:.3f})"
    )
    ahead = [source for source, gain in controls.items() if gain["said"] == "worse"]
    level = [source for source, gain in controls.items() if not gain["said"]]
    if ahead:
        return f"{text}; {ahead[0]} does better ({networks[ahead[0]]['ssim']:.3f})"
    if level:
        return f"{text}; it cannot be told from {level[0]} ({networks[level[0]]['ssim']:.3f})"
    return f"{text}; no control does as well" if controls else text
