"""A codec with a latent for each hidden unit, fitted to a zoo. M networks, N learnt, D parameters, C channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff.bench import Bench
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.files import below
from pdiff.training.loop import train
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.backbones.codec_module import Learnt
from pdiff_plugins.batches import at_most
from pdiff_plugins.latent.space import Coded, curve, encode, normalised, reconstruction
from pdiff_plugins.maths import normalise
from pdiff_plugins.maths.normalise import Normaliser, spread
from pdiff_plugins.maths.schedules import one_cycle
from pdiff_plugins.reading.nets.unit_codec import Table, UnitCodec
from pdiff_plugins.reading.units import Units

if TYPE_CHECKING:
    from pdiff_plugins.reading.codec import UnitAutoencoder

KEY = "method.codec: equivariant"
OTHERWISE = "take codec 'transformer'"
CLIP = 1.0
RISE = 0.3
"""Part of the steps in which the learning rate rises."""


@dataclass
class OfUnits:
    """A fitted codec of hidden units, and whether it sees networks in canonical scales."""

    inner: Coded
    table: Table
    balance: bool

    def decode(self, z_MZ: Tensor, ctx: Context) -> Tensor:
        return self.inner.decode(z_MZ, ctx)

    def encode(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor | None:
        if self.balance:
            theta_MD = Units(bench, KEY, True, OTHERWISE).canonical(theta_MD)
        return self.inner.encode(theta_MD, bench, ctx)

    def tensors(self) -> dict[str, Tensor]:
        own = {"units.count": torch.tensor(self.table.groups)}
        for index, (of, columns) in enumerate(zip(self.table.of, self.table.columns, strict=True)):
            own |= {f"units.{index}.groups": torch.tensor(of), f"units.{index}.columns": columns.int()}
        return {f"span.{key}": value for key, value in (own | self.inner.tensors()).items()}


def fit(codec: UnitAutoencoder, zoo: Zoo, faithful: bool, bench: Bench, ctx: Context) -> Learnt:
    """Return the codec fitted to a zoo. Raises UserError where its networks have no graph, or no units to reorder."""
    if zoo.layout != bench.objective.layout:
        raise UserError(
            f"{KEY}: what it is to learn is no network as it is, so that its hidden units are unknown; use it without "
            "a codec or a step around it, or take codec 'pca'"
        )
    units = Units(bench, KEY, codec.balance, OTHERWISE)
    table = Table.of_units(units)
    if codec.balance:
        zoo = replace(zoo, theta_ND=units.canonical(zoo.theta_ND))
    normaliser = normalise.per_tensor(zoo) if faithful else per_channel(zoo, table)
    x_ND, scope = normalised(normaliser, zoo.theta_ND, ctx), ctx.scope("codec")
    torch.manual_seed(scope.seed)
    module = codec.of(table)
    log = curve(codec.fit(module, x_ND, bench, scope), "codec")
    fitted = Coded(normaliser, module)
    z_NZ = encode(module, x_ND, ctx.device)
    return Learnt(OfUnits(fitted, table, codec.balance), z_NZ, reconstruction(fitted, x_ND, z_NZ, ctx), log)


def load(codec: UnitAutoencoder, tensors: dict[str, Tensor], layout: Layout) -> OfUnits:
    """Rebuild it from what `OfUnits.tensors` gave, without `span.`."""
    count = sum(key.endswith(".groups") for key in tensors)
    of = [tuple(tensors[f"units.{index}.groups"].tolist()) for index in range(count)]
    columns = [tensors[f"units.{index}.columns"].long() for index in range(count)]
    table = Table(int(tensors["units.count"]), of, columns)
    module = codec.of(table)
    module.load_state_dict(below(tensors, "codec."))
    normaliser = normalise.load(layout, below(tensors, "normaliser."))
    return OfUnits(Coded(normaliser, module.eval()), table, codec.balance)


def per_channel(zoo: Zoo, table: Table) -> Normaliser:
    """Return one mean for all units of an entry's channel, and one scale per entry: the same for reordered networks."""
    mean_D, scale_D = torch.zeros(zoo.layout.dim), torch.ones(zoo.layout.dim)
    free_ND = zoo.layout.to_free(zoo.theta_ND)
    for entry, columns in zip(zoo.layout.entries, table.columns, strict=True):
        value_NKC = free_ND[:, columns].double().flatten(1, -2)
        mean_C = value_NKC.mean(dim=(0, 1))
        mean_D[columns] = mean_C.float().expand(columns.shape)
        squares = float((value_NKC - mean_C).square().sum())
        scale_D[columns] = spread(squares, len(zoo), entry)
    return Normaliser(zoo.layout, mean_D, scale_D)


def learn(codec: UnitAutoencoder, module: UnitCodec, x_ND: Tensor, ctx: Context) -> list[dict[str, float]]:
    """Minimise the squared error of decode(encode(x * (1 + noise))) against x; leaves `module` in eval mode."""
    size = at_most("method.codec.batch_size", codec.batch_size, len(x_ND), ctx.warn)
    module.start(x_ND.cpu())
    module, x_ND = module.to(ctx.device).train(), x_ND.to(ctx.device)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randperm(len(x_ND), generator=generator)[:size]
        return rows, torch.randn(size, x_ND.shape[1], generator=generator)

    def loss(rows: Tensor, noise_BD: Tensor) -> Tensor:
        x_BD = x_ND[rows]
        restored_BD = module.decode(module.encode(x_BD * (1 + codec.noise * noise_BD)))
        return torch.nn.functional.mse_loss(restored_BD.float(), x_BD)

    log = train(
        module, loss, steps=codec.steps, ctx=ctx, what="codec", lr=codec.lr, weight_decay=codec.weight_decay,
        schedule=one_cycle(codec.steps, RISE), clip=CLIP, draw=draw, by_rows=True,
    )  # fmt: skip
    module.eval()
    return log
