"""The frozen network of `embedded`, and the features that it gives. E examples, F features."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pdiff.components import plain
from pdiff.context import Context
from pdiff.data import Batch, DatasetSplits, Split, TensorSplit, evaluation_batches
from pdiff.errors import UserError
from pdiff.files import load_tensors, make_folder, save_tensors
from pdiff.networks import build_network, handed
from pdiff.running.device import placed
from pdiff.running.locks import locked
from pdiff.running.snapshot import Snapshot
from pdiff.training.loop import train
from pdiff_plugins.conditions.classes import numbers
from pdiff_plugins.conditions.shots.embedded import Embedded

PARTS = ("train", "validation", "test")
FOLDER = "embedded"
"""Below the root of the data."""
LEAST = 1e-6
"""Deviation of a feature below which it is the same for all examples."""


def embedded(dataset: Embedded, ctx: Context) -> DatasetSplits:
    """Return the dataset's splits; their features are computed where no process has done so before."""
    data = dataset.of.load(ctx)
    if data.train.targets.ndim != 1 or data.train.targets.is_floating_point():
        raise UserError(f"dataset.of: the targets of {dataset.of.name} are no classes; take a dataset of classes")
    known = numbers("dataset.classes", dataset.classes, data.outputs, data.names) or list(range(data.outputs))
    features = _kept(dataset, data, known, ctx)
    splits = {part: TensorSplit(features[part], data.split(part).targets) for part in PARTS}
    return replace(data, **splits, input_shape=tuple(features["train"].shape[1:]))  # type: ignore[arg-type]


def _kept(dataset: Embedded, data: DatasetSplits, known: list[int], ctx: Context) -> dict[str, Tensor]:
    """Return the features by split, from their file once there is one."""
    path = ctx.data_root / FOLDER / f"{_key(dataset, ctx)}.safetensors"
    if not path.is_file():
        make_folder(path.parent)
        with locked(path.with_suffix(".lease")):
            if not path.is_file():  # the second of two finds what the first computed
                save_tensors(path, _computed(dataset, data, known, ctx))
    features = load_tensors(path)
    if any(part not in features or len(features[part]) != len(data.split(part)) for part in PARTS):
        raise UserError(f"{path}: is not of the examples of {dataset.of.name}; delete it, and run again")
    return features


def _key(dataset: Embedded, ctx: Context) -> str:
    """Return what decides the features, as a digest."""
    of = [dataset.identity(), dataset.content(ctx.data_root), ctx.seed]
    return hashlib.sha256(json.dumps(plain(of), sort_keys=True).encode()).hexdigest()[:24]


def _computed(dataset: Embedded, data: DatasetSplits, known: list[int], ctx: Context) -> dict[str, Tensor]:
    """Train the network, and return the standardised features `[E, F]` by split."""
    network = build_network(dataset.architecture, replace(data, outputs=len(known)), ctx.seed, ctx.warn)
    network = placed(network, ctx.device)
    if dataset.steps:
        _train(network, dataset, data.train, known, ctx.replace(snapshot=Snapshot()))
    features = {part: _features(network, data.split(part), ctx) for part in PARTS}
    deviation_F, mean_F = torch.std_mean(features["train"], dim=0)
    deviation_F = torch.where(deviation_F > LEAST, deviation_F, 1.0)
    return {part: (features_EF - mean_F) / deviation_F for part, features_EF in features.items()}


def _train(network: nn.Module, dataset: Embedded, split: Split, known: list[int], ctx: Context) -> None:
    """Train a network in place to tell the known classes apart."""
    place_K = torch.full((max(int(split.targets.max()), *known) + 1,), -1)
    place_K[known] = torch.arange(len(known))
    usable_E = (place_K[split.targets] >= 0).nonzero().flatten()
    if not len(usable_E):
        raise UserError("dataset.classes: the training split has no example of them; name others")

    def draw(step: int, generator: torch.Generator) -> tuple[Batch]:
        index_B = usable_E[torch.randint(len(usable_E), (dataset.batch_size,), generator=generator)]
        batch = split.batch(index_B, torch.device("cpu"), generator)
        return (batch._replace(targets=place_K[batch.targets]),)

    def loss(batch: Batch) -> Tensor:
        positional, named = handed(network, batch.inputs)
        return cross_entropy(network(*positional, **named), batch.targets)

    train(network.train(), loss, steps=dataset.steps, ctx=ctx, what=f"dataset {dataset.name}", lr=dataset.lr, draw=draw)


@torch.no_grad()
def _features(network: nn.Module, split: Split, ctx: Context) -> Tensor:
    """Return what the last linear layer is given for each example, `[E, F]`, on the CPU."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise UserError("dataset.architecture: its network has no linear layer, before which features stand")
    given = [torch.empty(0, layers[-1].in_features)]
    hook = layers[-1].register_forward_pre_hook(lambda _, values: given.append(values[0].flatten(1).float().cpu()))
    network.eval()
    for batch in evaluation_batches(split, ctx.batch_size, ctx.device) if len(split) else ():
        positional, named = handed(network, batch.inputs)
        network(*positional, **named)
    hook.remove()
    return torch.cat(given)
