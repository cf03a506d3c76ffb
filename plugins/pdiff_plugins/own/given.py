"""The tables of a recipe for what a Python session hands over: networks, data, checkpoints, a loss."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pdiff.components import KINDS, Component, NoSuchComponent, Task
from pdiff.data import DatasetSplits
from pdiff.errors import UserError
from pdiff.files import PRETRAINED, make_folder, save_tensors, sha256_of
from pdiff.plugins.discovery import registry
from pdiff_plugins.own.prints import data_digest, digest
from pdiff_plugins.own.splits import example_of, parts_of, split_of
from pdiff_plugins.own.targets import LIVE, keep_live

DEFAULTS: dict[str, Any] = {
    "selector": {"name": "entire"},
    "method": {"name": "posterior"},
    "baseline": [
        {"name": "soup"}, {"name": "average"}, {"name": "noise_zoo"}, {"name": "gaussian", "spreads": [1.0, 0.3]},
        {"name": "interpolation"}, {"name": "constant"},
    ],
    "evaluate": [{"name": name} for name in ("accuracy", "similarity", "distance", "denoising", "front", "audit")],
    "report": [{"name": "html"}],
}  # fmt: skip
"""What a recipe gets that is no file and leaves them out: quickstart's, but for the method and the base network."""
CLASSLESS = {"method": {"name": "posterior", "together": 0.0}}
"""For tasks that give no probabilities of classes, of which an ensemble's loss could be made."""
ONE_EACH = ("binary", "multilabel")
"""Tasks with a logit for each label, not for each class."""
TRAJECTORY = {"name": "trajectory", "count": 200, "lr": 1e-3, "batch_size": 64}
TRAIN = {"epochs": 30, "lr": 1e-3, "batch_size": 64}


def completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables; see `pdiff.hookspecs.complete_recipe`. Raises UserError."""
    tables = dict(given["recipe"])
    for table, kind in (("selector", "selector"), ("method", "method")):
        if table in given:
            tables[table] = _component(given[table], kind)
    if "checkpoints" in given:
        tables["collect"] = _collector(given["checkpoints"], Path(given["out"]))
    if "data" in given:
        tables["dataset"] = _over(tables.get("dataset"), _dataset(given["data"]))
    if "task" in given:
        tables["task"] = _component(given["task"], "task", _loss)
    _give_outputs(tables, given.get("data"))
    if "architecture" in given:
        tables["architecture"] = _over(
            tables.get("architecture"), _architecture(given["architecture"], "collect" in tables)
        )
    if given["complete"]:
        return _with_defaults(tables, given.get("data"))
    return tables


def _over(before: Any, table: Any) -> Any:
    """Return an object's table with the other options that the table of an object in its place has."""
    live = isinstance(before, Mapping) and str(before.get("target", "")).startswith(LIVE)
    return {**before, **table} if live and isinstance(table, Mapping) and "target" in table else table


def _component(value: Any, kind: str, own: Callable[[Any], Any] | None = None) -> Any:
    """Return what a recipe takes for a name, a table, a component or its class, else what `own` makes of an object."""
    if isinstance(value, str):
        try:
            registry().find(kind, value)
        except NoSuchComponent:
            if ":" in value and own:
                return {"name": "python", "target": value}
        return {"name": value}
    if isinstance(value, type) and issubclass(value, Component):
        value = value()
    if isinstance(value, Component):
        if not isinstance(value, KINDS[kind]):
            raise UserError(f"{kind}: {value.name} is of kind {value.kind}")
        registry().keep(type(value), digest(type(value)))
        return value
    if isinstance(value, Mapping) and "name" in value:
        return value
    if own:
        return own(value)
    raise UserError(f"{kind}: give a name, a table or a component, not a {type(value).__name__}")


def _architecture(value: Any, collected: bool) -> Any:
    def own(value: Any) -> dict[str, Any]:
        if not callable(value):
            raise UserError(f"architecture: give a network, or what builds one, not a {type(value).__name__}")
        table = {"name": "python", "target": keep_live(value, _named(value), digest(value))}
        starts = isinstance(value, nn.Module) and not collected
        return table | ({"weights": PRETRAINED} if starts else {})

    return _component(value, "architecture", own)


def _dataset(value: Any) -> Any:
    def own(value: Any) -> dict[str, Any]:
        if callable(value) and not isinstance(value, DatasetSplits):
            return {"name": "python", "target": keep_live(value, _named(value), digest(value))}
        return {"name": "python", "target": keep_live(value, "data", data_digest(value))}

    return _component(value, "dataset", own)


def _named(value: Any) -> str:
    return str(getattr(value, "__name__", type(value).__name__)).strip("<>")


def _loss(value: Any) -> dict[str, Any]:
    if isinstance(value, type) and issubclass(value, nn.Module):
        value = value()
    if not callable(value):
        raise UserError(f"task: give a name, a table, a task or a loss function, not a {type(value).__name__}")
    return {"name": "python", "target": keep_live(value, _named(value), digest(value))}


def _with_defaults(tables: dict[str, Any], data: Any) -> dict[str, Any]:
    for table, keyword in (("dataset", "data"), ("architecture", "architecture")):
        if table not in tables:
            raise UserError(f"pdiff.run: no {keyword}; say {keyword}=..., or give a recipe that has [{table}]")
    target = _some_targets(data)
    quantities = target is not None and target.is_floating_point()
    tables.setdefault("task", {"name": "regression" if quantities else "classification"})
    if "collect" not in tables:
        weights = tables["architecture"].get("weights") if isinstance(tables["architecture"], Mapping) else ""
        tables |= {"collect": TRAJECTORY} | ({} if weights or "train" in tables else {"train": TRAIN})
    if _has_classes(tables["task"]):
        return DEFAULTS | tables
    by_name = tables.get("method") == {"name": CLASSLESS["method"]["name"]}  # asked for, and nothing of it said
    return DEFAULTS | CLASSLESS | tables | (CLASSLESS if by_name else {})


def _has_classes(task: Any) -> bool:
    """Whether a task gives probabilities of classes."""
    try:
        return Task.model_validate(task).has_classes
    except ValidationError:  # told of where the whole recipe is validated
        return True


def _some_targets(data: Any) -> Tensor | None:
    """Return targets of train, of what is read by item one alone; None where that cannot be seen before loading."""
    if (
        data is None
        or isinstance(data, str | Component)
        or (callable(data) and not isinstance(data, DatasetSplits))
        or (isinstance(data, Mapping) and "name" in data)
    ):
        return None
    if isinstance(data, DatasetSplits):
        return data.train.targets
    train = parts_of(data)["train"]
    train = train.dataset if isinstance(train, DataLoader) else train
    if isinstance(train, Mapping | tuple | list) or hasattr(train, "batch"):
        return split_of(train, "train").targets
    return example_of(train, 0, 0, "train")[1][None]


def _give_outputs(tables: dict[str, Any], data: Any) -> None:
    """Say how many outputs data have, where their targets do not say it by themselves but with the task."""
    task, dataset = tables.get("task"), tables.get("dataset")
    name = task.get("name") if isinstance(task, Mapping) else getattr(task, "name", task)
    if not isinstance(dataset, dict) or "outputs" in dataset or not str(dataset.get("target", "")).startswith(LIVE):
        return
    targets = _some_targets(data) if name in (*ONE_EACH, "classification") else None
    if targets is None or not len(targets):
        return
    if name in ONE_EACH:
        dataset["outputs"] = max(targets[0].numel(), 1)
    elif targets.is_floating_point() and targets[0].numel() == 1 and len(targets) > 1 and targets.max() >= 1:
        dataset["outputs"] = int(targets.max()) + 1  # class numbers, as floats


def _collector(value: Any, out: Path) -> Any:
    if isinstance(value, Component) or (isinstance(value, Mapping) and "name" in value):
        return _component(value, "collector")
    if isinstance(value, str | os.PathLike):
        return {"name": "folder", "path": os.fspath(value)}
    if not isinstance(value, Sequence) or not value:
        raise UserError("checkpoints: give a folder, a list of files, or a list of state dicts")
    if all(isinstance(each, str | os.PathLike) for each in value):
        files = [Path(each) for each in value]
        missing = next((file for file in files if not file.is_file()), None)
        if missing:
            raise UserError(f"checkpoints: {missing}: no such file")
        names = [f"{number:05d}-{file.name}" for number, file in enumerate(files)]
        write = [lambda to, file=file: shutil.copyfile(file, to) for file in files]
        return _folder(out, names, write, digest([sha256_of(file) for file in files]))
    states = [each.state_dict() if isinstance(each, nn.Module) else each for each in value]
    for number, state in enumerate(states):
        if not isinstance(state, Mapping) or not all(isinstance(entry, Tensor) for entry in state.values()):
            raise UserError(f"checkpoints[{number}]: is no state dict (a mapping of names to tensors)")
    names = [f"{number:05d}.safetensors" for number in range(len(states))]
    write = [lambda to, state=state: save_tensors(to, dict(state)) for state in states]
    return _folder(out, names, write, digest([dict(state) for state in states]))


def _folder(out: Path, names: Sequence[str], write: Sequence[Callable[[Path], Any]], content: str) -> dict[str, Any]:
    """Return the collector of checkpoints that lie in no folder of their own: copies go into one beside the runs."""
    folder = (out / "checkpoints" / content[:16]).resolve()
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        make_folder(part)
        for name, put in zip(names, write, strict=True):
            put(part / name)
        part.replace(folder)
    return {"name": "folder", "path": str(folder)}
