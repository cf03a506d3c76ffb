"""A sweep of tiny cells, and what a store holds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tests.helpers import TINY

SHARING = "method.steps=10,11,12,13,14,15,16,17"
"""Eight cells that have the base network, the checkpoints and the baselines in common."""


def written(folder: Path, more: str = "") -> Path:
    """Write the tiny recipe, with few epochs and checkpoints; return its path."""
    text = TINY.replace("epochs = 6", "epochs = 2").replace("count = 60", "count = 20")
    path = folder / "tiny.toml"
    path.write_text(text.replace("steps = 60", "steps = 20").replace("timesteps = 40", "timesteps = 10") + more)
    return path


def digests(out: Path) -> dict[str, str]:
    """Return the digests of all that stages hold, by path; of stage.json, all but the time that the stage took."""
    found = {}
    for path in sorted((out / "store").glob("*-*/**/*")):
        if path.is_file() and not path.parts[len(out.parts) + 1].endswith(".part"):
            data = path.read_bytes()
            if path.name == "stage.json":
                data = json.dumps(json.loads(data) | {"seconds": 0}).encode()
            found[path.relative_to(out).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


def computed(sweep: Path) -> int:
    """Return how many stages the workers of a sweep computed."""
    return sum(json.loads(path.read_text()).get("computed", 0) for path in (sweep / "workers").glob("*.json"))
