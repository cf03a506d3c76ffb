"""Names of adapters' entries, as PEFT, diffusers and Kohya's scripts write them, and which layer each is of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

PARTS = {"A": "A", "down": "A", "B": "B", "up": "B", "alpha": "alpha"}
ENDS = (
    r"\.lora_(?:embedding_)?(?P<peft>[AB])(?:\.(?!weight$)(?P<adapter>[^.]+))?(?:\.weight)?",
    r"(?:\.lora|_lora|\.lora_linear_layer)\.(?P<diffusers>down|up)\.weight",
    r"\.lora_(?P<kohya>down|up)\.weight",
    r"\.(?P<alpha>alpha)",
)
ENTRY = re.compile(rf"(?P<module>.+)(?:{'|'.join(ENDS)})")
BEFORE = "base_model.model."
"""What stands before all of PEFT's names."""
DORA = (".lora_magnitude_vector", ".lora_magnitude_vector.weight", ".dora_scale")
"""Ends of what DoRA multiplies rows by, as PEFT and Kohya's scripts have it."""


def entry(name: str) -> tuple[str, str] | None:
    """Return the layer that an entry is of, as the file calls it, and its part: A, B or alpha; None: of no adapter."""
    found = ENTRY.fullmatch(name)
    if not found:
        return None
    part = next(PARTS[found[kind]] for kind in ("peft", "diffusers", "kohya", "alpha") if found[kind])
    return plain(found["module"]), part


def plain(module: str) -> str:
    """Return a layer's name without what PEFT and diffusers put into it."""
    return module.replace(".base_layer", "").replace(".processor.", ".")


def layers(theirs: Iterable[str], ours: Sequence[str]) -> dict[str, str]:
    """Return which of our layers each layer of a file is, where it is one of them.

    Names agree behind one prefix, which all have: `base_model.model.`, `unet.`, `lora_unet_`; of Kohya's all dots are
    underscores.
    """
    theirs = list(dict.fromkeys(theirs))
    short = {name: name.removeprefix(BEFORE) for name in theirs}
    known = {name: name for name in ours}
    flat = {name.replace(".", "_"): name for name in ours}
    best: dict[str, str] = {}
    for table in (known, flat) if len(flat) == len(ours) else (known,):
        for prefix in _prefixes(short.values(), table, "." if table is known else "_"):
            behind = ((name, rest.removeprefix(prefix)) for name, rest in short.items() if rest.startswith(prefix))
            found = {name: table[rest] for name, rest in behind if rest in table}
            best = found if len(found) > len(best) else best
    return best


def _prefixes(names: Iterable[str], known: Mapping[str, str], dot: str) -> list[str]:
    """Return what stands before names that are known, the commonest first, of equal ones the shortest."""
    counts: Counter[str] = Counter()
    for name in names:
        places = [0, *(match.end() for match in re.finditer(re.escape(dot), name))]
        counts.update(name[:at] for at in places if name[at:] in known)
    return sorted(counts, key=lambda prefix: (-counts[prefix], len(prefix)))[:4]
