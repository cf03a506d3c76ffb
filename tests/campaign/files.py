"""Files by chance: what the program reads with is given changed ones, and each is valid or refused in a line."""

from __future__ import annotations

import json
import os
import random
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import tomli_w
import torch

from pdiff.files import read_json
from pdiff.recipe.loading import load_recipe
from pdiff.results.runs import SCORES, finished, read_scores
from pdiff.running.store import Stage, Store
from pdiff.testing import tiny_zoo
from pdiff.zoo import Zoo
from pdiff_plugins.generation.networks import DdpmUnet
from tests.campaign import sets, weights
from tests.campaign.guard import raised_by
from tests.campaign.mutation import of_bytes, of_json
from tests.campaign.options import Options
from tests.campaign.tally import Tally
from tests.campaign.weights import Attempt, Trial
from tests.helpers import TINY

COUNT = 60_000


def scores_files(folder: Path) -> Trial:
    """scores.json of a run, and any other JSON."""
    scores = {"networks": {"pdiff": {"count": 3}}, "columns": {"accuracy": [["best", "{:.1%}"]]}, "stages": ["a", "b"]}

    def trial(chance: random.Random) -> list[Attempt]:
        (folder / SCORES).write_bytes(of_json(chance, json.dumps(scores)))
        return [lambda: read_scores(folder), lambda: read_json(folder / SCORES), lambda: finished(folder.parent)]

    return trial


def zoo_files(folder: Path) -> Trial:
    tiny_zoo().save(folder)
    whole = (folder / "zoo.json").read_text()

    def trial(chance: random.Random) -> list[Attempt]:
        (folder / "zoo.json").write_bytes(of_json(chance, whole))
        return [lambda: Zoo.open(folder)]

    return trial


def stage_files(folder: Path) -> Trial:
    store, stage = Store(folder), Stage("train", {"seed": 1, "dataset": {"name": "digits", "mean": [0.1]}})
    store.compute(stage, lambda part: (part / "log.json").write_text("[]") and None)
    path = store.folder(stage) / "stage.json"
    whole = path.read_text()

    def trial(chance: random.Random) -> list[Attempt]:
        path.write_bytes(of_json(chance, whole))
        return [lambda: store.has(stage), lambda: store.stage(stage.folder_name), lambda: store.seconds(stage)]

    return trial


def resolved_files(folder: Path) -> Trial:
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    whole = tomli_w.dumps(load_recipe(folder / "tiny.toml").table()).encode()

    def trial(chance: random.Random) -> list[Attempt]:
        (folder / "resolved.toml").write_bytes(of_bytes(chance, whole))
        return [lambda: load_recipe(folder / "resolved.toml", {"run.out": str(folder)})]

    return trial


def diffusers_folders(folder: Path) -> Trial:
    config = {"block_out_channels": [8, 8], "layers_per_block": 1, "norm_num_groups": 4, "act_fn": "silu"}
    torch.save(dict(weights.network().state_dict()), folder / "diffusion_pytorch_model.bin")
    unet = DdpmUnet(weights=str(folder), widths=(8, 8), layers=1, groups=4, attention=())

    def trial(chance: random.Random) -> list[Attempt]:
        (folder / "config.json").write_bytes(of_json(chance, json.dumps(config)))
        return [unet.weights_path]

    return trial


KINDS: dict[str, tuple[int, Callable[[Path], Trial]]] = {
    "scores.json": (6, scores_files), "zoo.json": (6, zoo_files), "stage.json": (6, stage_files),
    "resolved.toml": (4, resolved_files), "config.json": (2, diffusers_folders),
} | weights.KINDS | sets.KINDS  # fmt: skip


def run(options: Options) -> Tally:
    """Try files of every kind, each changed by chance from one that is right."""
    tally = Tally("files")
    kinds = {kind: made for kind, made in KINDS.items() if options.only in kind}
    shares = [share for share, _ in kinds.values()]
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder, before, trials = options.work or Path(temporary), Path.cwd(), {}
        for number, (kind, (_, make)) in enumerate(kinds.items()):
            place = folder / str(number)
            place.mkdir(parents=True, exist_ok=True)
            trials[kind] = make(place)
        os.chdir(folder)
        try:
            for number in range(options.count or COUNT):
                chance = random.Random(f"{options.seed} {number}")
                kind = chance.choices(list(kinds), shares)[0]
                said = [raised_by(attempt, f"number {number}") for attempt in trials[kind](chance)]
                tally.add(kind, next(filter(None, said), None))
        finally:
            os.chdir(before)
    return tally
