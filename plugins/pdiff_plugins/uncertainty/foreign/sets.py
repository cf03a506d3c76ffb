"""Examples that a run's networks were not trained for, in the form in which they read their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pdiff.components import Dataset
from pdiff.context import Context
from pdiff.data import Chosen, Split, TensorSplit, evaluation_batches, some
from pdiff.errors import UserError
from pdiff.view import View
from pdiff_plugins.images.dataset import ImageDataset
from pdiff_plugins.images.splits import Transform
from pdiff_plugins.part import Part
from pdiff_plugins.uncertainty.foreign.entries import image_set, named, unfit
from pdiff_plugins.uncertainty.foreign.pictures import Pictures, PixelChange, as_they_are, drawn


def foreign(view: View, entries: Sequence[Dataset | str], ctx: Context, most: int = 0) -> dict[str, Split]:
    """Return foreign examples by name, at most so many of each (0: all), the same ones in every run.

    Changes are of the run's test split. Of a dataset it is its test split, loaded as any dataset is; images come
    resized, in as many channels and normalised as the run's are. Targets are the dataset's own: no network knows them.
    Raises UserError where a dataset is not there, holds no example, or its examples cannot be the run's.
    """
    splits = {name: _split(view, entry, ctx.replace(seed=0)) for name, entry in named(entries)}
    if empty := next((name for name, split in splits.items() if not len(split)), None):
        raise UserError(f"foreign, {empty}: the test split holds none of it; take it away, or read more test examples")
    return {name: _some(name, split, most) for name, split in splits.items()}


def _some(name: str, split: Split, most: int) -> Split:
    return some(split, most, Context(seed=0).generator("foreign", name))


def _split(view: View, entry: Dataset | str, ctx: Context) -> Split:
    dataset, test = view.recipe.dataset, view.bench.examples("test")
    if why := unfit(dataset, entry):
        raise UserError(f"foreign, {entry if isinstance(entry, str) else entry.name}: {why}")
    own = image_set(dataset)
    if own is None:
        return _noise_like(test, dataset) if isinstance(entry, str) else _alike(entry, view, ctx)
    if entry == "left_out":
        return _left_out(own, ctx)
    if isinstance(entry, str):
        return Pictures(test, own.transform(), CHANGE[entry], own.transform())
    return _brought(entry, own.transform(), ctx)


def _left_out(own: ImageDataset, ctx: Context) -> Split:
    """Return the test images of the classes that an image set leaves out."""
    test = own.model_copy(update={"leave_out": ()}).load(ctx).test
    return Chosen(test, torch.isin(test.targets, torch.tensor(own.leave_out)).nonzero()[:, 0])


def _brought(entry: Dataset, wanted: Transform, ctx: Context) -> Split:
    """Return the test images of an image set as a network reads them: its own side and normalisation do not count."""
    options = {"image_size": wanted.size, "resize": wanted.resize, "mean": (0.0,), "std": (1.0,)}
    dataset = _with(entry, options)
    images = image_set(dataset)
    assert images is not None
    return Pictures(dataset.load(ctx).test, images.transform(), as_they_are, wanted)


def _with(entry: Dataset, options: Mapping[str, Any]) -> Dataset:
    if isinstance(entry, Part):
        return entry.model_copy(update={"of": _with(entry.of, options)})
    return entry.model_copy(update=options)


def _alike(entry: Dataset, view: View, ctx: Context) -> Split:
    """Return the test split of a dataset whose examples have the run's shape and type, as it gives them."""
    test = entry.load(ctx).test
    kinds = [[str(x.dtype)[6:], list(x.shape[1:])] for x in map(_first, (test, view.bench.examples("test")))]
    if kinds[0] != kinds[1]:
        raise UserError(
            f"foreign, {entry.name}: its examples are {kinds[0][0]} {kinds[0][1]}, the run's {kinds[1][0]} "
            f"{kinds[1][1]}; name a dataset of such examples"
        )
    return test


def _first(split: Split) -> Tensor:
    inputs = split.batch(torch.zeros(1, dtype=torch.int64), torch.device("cpu")).inputs
    if not isinstance(inputs, Tensor):
        raise UserError("foreign: networks of several inputs have no foreign examples here; leave them out")
    return inputs


def _noise_like(test: Split, dataset: Dataset) -> Split:
    """Return normal noise in the place of inputs, with the mean and deviation that these have at each place."""
    if not _first(test).is_floating_point():
        raise UserError(f"foreign, noise: examples of dataset {dataset.name} are whole numbers; take this away")
    inputs = torch.cat([batch.inputs.double() for batch in evaluation_batches(test, 0, torch.device("cpu"))])
    mean, deviation, number_E = inputs.mean(0).float(), inputs.std(0, correction=0).float(), torch.arange(len(test))
    noise = drawn("noise", number_E, number_E, lambda _, g: torch.randn(mean.shape, generator=g))
    return TensorSplit(mean + deviation * noise, test.targets)


def _shuffled(x_BCSS: Tensor, numbers_B: Tensor) -> Tensor:
    """Return each image's pixels in an order of its own, the same one for all channels."""
    flat_BCP = x_BCSS.flatten(2)
    order_BP = drawn("shuffled", flat_BCP, numbers_B, lambda x, g: torch.randperm(x.shape[1], generator=g))
    return flat_BCP.gather(2, order_BP[:, None].expand_as(flat_BCP)).view_as(x_BCSS)


def _noise(x_BCSS: Tensor, numbers_B: Tensor) -> Tensor:
    return drawn("pure noise", x_BCSS, numbers_B, lambda x, g: torch.rand(x.shape, generator=g))


CHANGE: Mapping[str, PixelChange] = {
    "rotated": lambda x_BCSS, _: x_BCSS.rot90(1, (2, 3)),
    "upside_down": lambda x_BCSS, _: x_BCSS.rot90(2, (2, 3)),
    "inverted": lambda x_BCSS, _: 1 - x_BCSS,
    "shuffled": _shuffled,
    "noise": _noise,
}
