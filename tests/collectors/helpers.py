"""Networks and data for the collector of seeds, and the same training written plainly."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from pdiff.context import Context, derive
from pdiff.data import Batch, DatasetSplits, TensorSplit
from pdiff.testing import Points
from pdiff.training.loop import epoch_order
from pdiff.zoo import Layout
from pdiff_plugins.collectors.seeds.collector import Seeds
from pdiff_plugins.images.classification import Classification

COUNT, BATCH, CPU = 40, 16, torch.device("cpu")


class Shifted(TensorSplit):
    """Its training transform adds one random number to the batch."""

    def batch(self, index, device, augment=None):
        inputs, targets = super().batch(index, device)
        return Batch(inputs + torch.randn(1, generator=augment) if augment else inputs, targets)


def splits(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> DatasetSplits:
    x = torch.randn(COUNT, *shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    split = Shifted(x, x.flatten(1)[:, :3].argmax(dim=1))
    return DatasetSplits(split, split, split, shape, 3)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3))


def cnn() -> nn.Module:
    first = [nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.LayerNorm([4, 5, 5]), nn.LeakyReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *first, nn.Conv2d(4, 5, 3, padding=1), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(5, 3)
    )


def batch_norm() -> nn.Module:
    # No biases before the norms: their gradients are zero but for rounding, of which Adam makes whole steps.
    first = [nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(36, 6, bias=False), nn.BatchNorm1d(6), nn.Linear(6, 3))


NETS = {"mlp": (mlp, (4,)), "cnn": (cnn, (2, 9, 9)), "batch_norm": (batch_norm, (2, 9, 9))}


def built(make, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return make()


CTX = Context(seed=7)


def builder(make) -> Points:
    """Return a bench that builds networks and answers nothing else."""
    return Points(None, build=lambda seed: built(make, seed))


def collect(options: Seeds, net: str = "mlp", keys: list[str] | None = None, ctx: Context = CTX, bench=None):
    make, shape = NETS[net]
    model = built(make, 0)
    layout = Layout.of(model, keys or list(model.state_dict()))
    return options.collect(
        model, data=splits(shape), task=Classification(), layout=layout, bench=bench or builder(make), ctx=ctx
    )  # fmt: skip


def options(**changes) -> Seeds:
    own = {"count": 3, "steps": 21, "lr": 0.01, "batch_size": BATCH, "every": 8, "include_start": True}
    return Seeds(**own | changes)


def plainly(options: Seeds, model: nn.Module, run: int, data: DatasetSplits, keys: list[str]) -> dict[int, tuple]:
    """Train one network in the ordinary way; return the selected parameters and the mean loss by saved step."""
    seed, parameters = derive(7, "run", run), [p for k, p in model.named_parameters() if k in keys]
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[options.optimizer]
    more = {"momentum": 0.9} if options.optimizer == "sgd" else {}
    optimizer = kind(parameters, lr=options.lr, weight_decay=options.weight_decay, **more)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    layout, found, losses = Layout.of(model, keys), {}, []
    model.train()
    for step in range(options.steps + 1):
        if step in options.saved_steps():
            found[step] = (layout.vector(model.state_dict()).clone(), sum(losses) / len(losses) if losses else None)
            losses = []
        if step == options.steps:
            return found
        drawn = torch.Generator().manual_seed(derive(seed, "step", step)) if options.augment else None
        batch = data.train.batch(epoch_order(COUNT, options.batch_size, step, seed), CPU, drawn)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch.inputs), batch.targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if options.schedule == "cosine":
            cosine.step()
