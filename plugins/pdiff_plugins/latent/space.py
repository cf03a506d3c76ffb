"""Latent space: normalise, encode, standardise, and back; what all methods with a codec share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.components import Codec
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.files import below
from pdiff.results.scores import Unit
from pdiff.running.memory import in_chunks
from pdiff.training.loop import threads_for
from pdiff.zoo import Zoo
from pdiff_plugins.backbones.codec_module import OneScale, Saying, codec_module
from pdiff_plugins.maths import normalise
from pdiff_plugins.maths.normalise import Normaliser

GATE_NETWORKS = 16
HARDLY = 0.1
"""Share of the variance between checkpoints below which a codec has learnt little but their mean."""
SMALLEST_LATENT = 0.05
"""Latents narrower than this share of the widest keep their relation to it: whitening them would amplify noise."""


class WithCodec(Protocol):
    """What a method must have."""

    @property
    def codec(self) -> Codec: ...
    @property
    def faithful(self) -> bool: ...


@dataclass
class LatentSpace:
    """A fitted codec between parameters and standardised latents."""

    normaliser: Normaliser
    codec: nn.Module
    mean_Z: Tensor
    scale_Z: Tensor
    """On the CPU, as `mean_Z`."""
    log: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        return len(self.mean_Z)

    @torch.no_grad()
    def decode(self, z_MZ: Tensor, ctx: Context) -> Tensor:
        """Return theta_MD in the original scale, on the CPU."""
        codec = self.codec.to(ctx.device).eval()
        z_MZ = (z_MZ.cpu() * self.scale_Z + self.mean_Z).to(ctx.device)
        with threads_for(codec, ctx.threads):
            x_MD = decode(codec, z_MZ)
        return self.normaliser.decode(x_MD)

    def tensors(self) -> dict[str, Tensor]:
        tables = {
            "codec": self.codec.state_dict(), "normaliser": self.normaliser.tensors(),
            "latent": {"mean": self.mean_Z, "scale": self.scale_Z},
        }  # fmt: skip
        return {f"{prefix}.{key}": value for prefix, table in tables.items() for key, value in table.items()}


def curve(rows: list[dict[str, float]], name: str) -> list[dict[str, Any]]:
    """Return the rows of a training's log, told apart by `part` from those of other trainings."""
    return [row | {"part": name} for row in rows]


def fit(method: WithCodec, zoo: Zoo, bench: Bench, ctx: Context) -> tuple[LatentSpace, Tensor]:
    """Train the codec and check it; return it and the checkpoints' standardised latents z_NZ, on the device.

    With `faithful` it is the original's: one mean and deviation per tensor, and latents as the codec gives them.
    """
    normaliser = normalise.per_tensor(zoo) if method.faithful else normalise.per_column(zoo)
    x_ND = normaliser.encode(zoo.theta_ND)
    codec_ctx, normalised = ctx.scope("codec"), bench.through(normaliser.to(ctx.device).decode)
    torch.manual_seed(codec_ctx.seed)
    codec = method.codec.build(dim=zoo.layout.dim, layout=zoo.layout)
    log = curve(method.codec.fit(codec, x_ND, normalised, codec_ctx), "codec")
    codec = codec.to(ctx.device).eval()
    z_NZ = encode(codec, x_ND.to(ctx.device))
    facts = {"codec": gate(codec, normaliser, zoo, x_ND, z_NZ, bench, ctx)}
    one_Z = torch.ones_like(z_NZ[0])
    mean_Z, scale_Z = (0 * one_Z, one_Z) if method.faithful else _standard(z_NZ, codec)
    space = LatentSpace(normaliser, codec, mean_Z.cpu(), scale_Z.cpu(), log, facts)
    return space, (z_NZ - mean_Z) / scale_Z


def load(method: WithCodec, tensors: dict[str, Tensor], zoo: Zoo) -> LatentSpace:
    """Rebuild a fitted latent space."""
    codec = method.codec.build(dim=zoo.layout.dim, layout=zoo.layout)
    codec.load_state_dict(below(tensors, "codec."))
    latent = below(tensors, "latent.")
    return LatentSpace(
        normalise.load(zoo.layout, below(tensors, "normaliser.")), codec.eval(), latent["mean"], latent["scale"]
    )


@torch.no_grad()
def encode(codec: nn.Module, x_ND: Tensor) -> Tensor:
    return in_chunks(codec_module(codec).encode, x_ND, 64)


@torch.no_grad()
def decode(codec: nn.Module, z_MZ: Tensor) -> Tensor:
    """Return the normalised vectors x_MD of latents, on the CPU."""
    return in_chunks(lambda z_BZ: codec_module(codec).decode(z_BZ).cpu(), z_MZ, 64)


def _standard(z_NZ: Tensor, codec: nn.Module) -> tuple[Tensor, Tensor]:
    """Return mean and scale `[Z]` that standardise latents, narrow ones only as far as is safe.

    A codec with `one_scale` has latents of one unit, whose widths say what matters: they keep their relation.
    """
    std_Z = z_NZ.std(dim=0)
    if isinstance(codec, OneScale) and codec.one_scale:
        return z_NZ.mean(dim=0), std_Z.square().mean().sqrt().expand_as(std_Z).clone()
    widest = float(std_Z.max())
    return z_NZ.mean(dim=0), std_Z.clamp_min(SMALLEST_LATENT * widest if widest > 0 else 1.0)


def gate(
    codec: nn.Module, normaliser: Normaliser, zoo: Zoo, x_ND: Tensor, z_NZ: Tensor, bench: Bench, ctx: Context
) -> dict[str, Any]:
    """Measure decode(encode(w)) before diffusion is trained, and warn where the codec has learnt only the mean.

    Returns `error` (mean squared, normalised units; of what networks say, where the codec's `said` gives that),
    `variance` (the error of predicting the mean), `explained` (1 - error / variance), and the mean scores of up to 16
    checkpoints as they are, decoded, and of their average.
    """
    with torch.no_grad():
        decoded_ND = decode(codec, z_NZ)
        restored, known = (_compared(codec, rows_ND, ctx) for rows_ND in (decoded_ND, x_ND))
    error, variance = _mean_square(restored, known), _mean_square(known, known.mean(dim=0).expand_as(known))
    facts: dict[str, Any] = {"latent": z_NZ.shape[1], "error": error, "variance": variance}
    facts["explained"] = 1 - error / variance if variance > 0 else 1.0
    rows = torch.linspace(0, len(zoo) - 1, min(GATE_NETWORKS, len(zoo))).long()
    facts["networks"] = len(rows)
    kinds = {
        "score_original": zoo.theta_ND[rows],
        "score_decoded": normaliser.decode(decoded_ND[rows]),
        "score_average": zoo.theta_ND.mean(dim=0, keepdim=True),
    }
    facts |= {name: float(bench.score(theta_MD).mean()) for name, theta_MD in kinds.items()}
    _tell(facts, _unit(bench), ctx)
    return facts


def _compared(codec: nn.Module, x_ND: Tensor, ctx: Context) -> Tensor:
    """Return what the codec tries to keep, a row for each network: the vectors themselves, unless it has `said`."""
    said = codec.said if isinstance(codec, Saying) else None
    return x_ND if said is None else in_chunks(lambda x_BD: said(x_BD).cpu(), x_ND.to(ctx.device), 64)


def _mean_square(a_ND: Tensor, b_ND: Tensor) -> float:
    """Return the mean squared difference, in float64, a few rows at a time: whole, it would hold several copies."""
    total = sum(float((a_D - b_D).double().square().sum()) for a_D, b_D in zip(a_ND, b_ND, strict=True))
    return total / a_ND.numel()


def _unit(bench: Bench) -> str | None:
    try:
        return bench.objective.task.unit
    except UserError:  # a bench of points has no task
        return None


def _tell(facts: dict[str, Any], named: str | None, ctx: Context) -> None:
    kept = [facts[key] for key in ("score_original", "score_decoded", "score_average")]
    original, decoded, average = map(Unit.of(kept, named).text, kept)
    scores = (
        f"; of {facts['networks']} of them the mean score (selection split) is {original}, decoded {decoded}; that of "
        f"the average checkpoint {average}"
    )
    if facts["explained"] >= HARDLY:
        ctx.progress.say(f"codec: {100 * facts['explained']:.1f} % of the variance between checkpoints is kept{scores}")
        return
    times = facts["error"] / facts["variance"]
    ctx.warn(
        f"codec: its error is {times:.3g} times the variance between checkpoints, where predicting the mean has 1"
        f"{scores} - the codec is hardly better than predicting the mean: train it longer, or use codec 'pca'"
    )
