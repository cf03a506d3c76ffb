"""Fitting and sampling of p-diff: normalise, encode, standardise, diffuse, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pdiff.capture import captured
from pdiff.components import Generator
from pdiff.context import Context
from pdiff.memory import in_chunks
from pdiff.training import threads_for, train
from pdiff.zoo import Zoo
from pdiff_plugins import diffusion, normalise
from pdiff_plugins.method_pdiff import PDiff
from pdiff_plugins.normalise import Normaliser

GATE_NETWORKS = 16
HARDLY = 0.1
"""Share of the variance between checkpoints below which a codec has learnt little but their mean."""
AT_ONCE = 2**18
"""Numbers of latents denoised at a time; fixed, because rounding may depend on it."""
SMALLEST_LATENT = 0.05
"""Latents narrower than this share of the widest keep their relation to it: whitening them would amplify noise."""


class LatentDiffusion(Generator):
    """A fitted p-diff."""

    def __init__(
        self,
        method: PDiff,
        normaliser: Normaliser,
        codec: nn.Module,
        denoiser: nn.Module,
        mean_Z: Tensor,
        scale_Z: Tensor,
    ):
        super().__init__()
        self.method, self.normaliser, self.codec, self.denoiser = method, normaliser, codec.eval(), denoiser.eval()
        self.mean_Z, self.scale_Z = mean_Z, scale_Z
        self.schedule = schedule_of(method)

    def sample(self, count: int, ctx: Context) -> Tensor:
        return self._decode(self._diffuse(count, ctx, ())[0], ctx)

    def path(self, count: int, points: int, ctx: Context) -> tuple[list[float], Tensor]:
        fractions = [point / (points - 1) for point in range(points)]
        kept = self._diffuse(count, ctx, fractions)[1]
        return fractions, torch.stack([self._decode(z_MZ, ctx) for z_MZ in kept])

    def _diffuse(self, count: int, ctx: Context, keep: Any) -> tuple[Tensor, list[Tensor]]:
        method, denoiser = self.method, self.denoiser.to(ctx.device)
        generator = ctx.generator("sample")
        z_MZ = torch.randn(count, len(self.mean_Z), generator=generator).to(ctx.device)
        steps = method.sampling_steps or method.timesteps
        at_once = max(1, AT_ONCE // z_MZ.shape[1])

        def denoise(z_MZ: Tensor, t_M: Tensor) -> Tensor:
            return in_chunks(lambda z_BZ: denoiser(z_BZ, t_M[: len(z_BZ)], None), z_MZ, at_once)

        with threads_for(denoiser, ctx.threads), ctx.progress.step("sample", steps) as bar:
            return diffusion.sample(
                denoise, z_MZ, self.schedule, prediction=method.prediction, sampler=method.sampler, steps=steps,
                generator=generator, keep=keep, tell=bar.advance,
                capture=lambda step: captured(step, ctx.device, ctx.graphs, ctx.warn),
            )  # fmt: skip

    @torch.no_grad()
    def _decode(self, z_MZ: Tensor, ctx: Context) -> Tensor:
        codec = self.codec.to(ctx.device)
        z_MZ = (z_MZ.cpu() * self.scale_Z + self.mean_Z).to(ctx.device)
        with threads_for(codec, ctx.threads):
            x_MD = in_chunks(lambda z_BZ: codec.decode(z_BZ).cpu(), z_MZ, 64)
        return self.normaliser.decode(x_MD)

    def tensors(self) -> dict[str, Tensor]:
        parts = {
            "codec": self.codec.state_dict(), "denoiser": self.denoiser.state_dict(),
            "normaliser": self.normaliser.tensors(), "latent": {"mean": self.mean_Z, "scale": self.scale_Z},
        }  # fmt: skip
        return {f"{part}.{key}": value for part, own in parts.items() for key, value in own.items()}


def schedule_of(method: PDiff) -> diffusion.Schedule:
    return diffusion.Schedule(method.schedule, method.timesteps, method.beta_start, method.beta_end)


def fit(method: PDiff, zoo: Zoo, ctx: Context) -> LatentDiffusion:
    """Train the codec, check it, then train the denoiser on its latents."""
    normaliser = normalise.per_tensor(zoo) if method.faithful else normalise.per_column(zoo)
    x_ND = normaliser.encode(zoo.theta_ND)
    own = ctx.scope("codec")
    torch.manual_seed(own.seed)
    codec = method.codec.build(dim=zoo.layout.dim, layout=zoo.layout)
    log = [row | {"part": "codec"} for row in method.codec.fit(codec, x_ND, own)]
    codec = codec.to(ctx.device).eval()
    z_NZ = encode(codec, x_ND.to(ctx.device))
    facts = gate(codec, normaliser, zoo, x_ND, z_NZ, ctx)
    mean_Z, scale_Z = _standard(z_NZ) if not method.faithful else (torch.zeros_like(z_NZ[0]), torch.ones_like(z_NZ[0]))
    denoiser, rows = _fit_denoiser(method, (z_NZ - mean_Z) / scale_Z, zoo, ctx.scope("denoiser"))
    generator = LatentDiffusion(method, normaliser, codec, denoiser, mean_Z.cpu(), scale_Z.cpu())
    generator.log = log + [row | {"part": "denoiser"} for row in rows]
    generator.facts = {"codec": facts}
    return generator


def load(method: PDiff, tensors: dict[str, Tensor], zoo: Zoo, ctx: Context) -> LatentDiffusion:
    """Rebuild a fitted p-diff."""

    def part(name: str) -> dict[str, Tensor]:
        return {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}

    codec = method.codec.build(dim=zoo.layout.dim, layout=zoo.layout)
    codec.load_state_dict(part("codec"))
    latent = part("latent")
    denoiser = method.denoiser.build(dim=len(latent["mean"]), layout=zoo.layout)
    denoiser.load_state_dict(part("denoiser"))
    own = normalise.load(zoo.layout, part("normaliser"))
    return LatentDiffusion(method, own, codec, denoiser, latent["mean"], latent["scale"])


@torch.no_grad()
def encode(codec: nn.Module, x_ND: Tensor) -> Tensor:
    return in_chunks(codec.encode, x_ND, 64)


def _standard(z_NZ: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and scale `[Z]` that standardise latents, narrow ones only as far as is safe."""
    std_Z = z_NZ.std(dim=0)
    widest = float(std_Z.max())
    return z_NZ.mean(dim=0), std_Z.clamp_min(SMALLEST_LATENT * widest if widest > 0 else 1.0)


def _fit_denoiser(method: PDiff, z_NZ: Tensor, zoo: Zoo, ctx: Context) -> tuple[nn.Module, list[dict[str, float]]]:
    torch.manual_seed(ctx.seed)
    denoiser = method.denoiser.build(dim=z_NZ.shape[1], layout=zoo.layout).to(ctx.device).train()
    schedule = schedule_of(method)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        rows = torch.randperm(len(z_NZ), generator=generator)[: method.batch_size]
        return rows, *diffusion.draw(len(rows), z_NZ.shape[1], schedule, generator)

    def loss(rows: Tensor, *drawn: Tensor) -> Tensor:
        return diffusion.loss(lambda z_BZ, t_B: denoiser(z_BZ, t_B, None), z_NZ[rows], drawn, method.prediction)

    log = train(
        denoiser, loss, steps=method.steps, ctx=ctx, what="diffusion", lr=method.lr,
        weight_decay=method.weight_decay, ema=method.ema, draw=draw,
    )  # fmt: skip
    return denoiser, log


def gate(
    codec: nn.Module, normaliser: Normaliser, zoo: Zoo, x_ND: Tensor, z_NZ: Tensor, ctx: Context
) -> dict[str, Any]:
    """Measure decode(encode(w)) before diffusion is trained, and warn where the codec has learnt only the mean.

    Returns `error` (mean squared, normalised units), `variance` (the error of predicting the mean), `explained`
    (1 - error / variance), and the mean scores of up to 16 checkpoints as they are, decoded, and of their average.
    """
    with torch.no_grad():
        decoded_ND = in_chunks(lambda z_BZ: codec.decode(z_BZ).cpu(), z_NZ, 64)
    error, variance = _mean_square(decoded_ND, x_ND), _mean_square(x_ND, x_ND.mean(dim=0).expand_as(x_ND))
    facts: dict[str, Any] = {"latent": z_NZ.shape[1], "error": error, "variance": variance}
    facts["explained"] = 1 - error / variance if variance > 0 else 1.0
    rows = torch.linspace(0, len(zoo) - 1, min(GATE_NETWORKS, len(zoo))).long()
    facts["networks"] = len(rows)
    if ctx.score is not None:
        kinds = {
            "score_original": zoo.theta_ND[rows],
            "score_decoded": normaliser.decode(decoded_ND[rows]),
            "score_average": zoo.theta_ND.mean(dim=0, keepdim=True),
        }
        facts |= {name: float(ctx.score(theta_MD).mean()) for name, theta_MD in kinds.items()}
    _tell(facts, ctx)
    return facts


def _mean_square(a_ND: Tensor, b_ND: Tensor) -> float:
    """Return the mean squared difference, in float64, a few rows at a time: whole, it would hold several copies."""
    total = sum(float((a_D - b_D).double().square().sum()) for a_D, b_D in zip(a_ND, b_ND, strict=True))
    return total / a_ND.numel()


def _tell(facts: dict[str, Any], ctx: Context) -> None:
    scores = ""
    if "score_decoded" in facts:
        scores = (
            f"; of {facts['networks']} of them the mean score (selection split) is {facts['score_original']:.2%}, "
            f"decoded {facts['score_decoded']:.2%}; that of the average checkpoint {facts['score_average']:.2%}"
        )
    if facts["explained"] >= HARDLY:
        ctx.progress.say(f"codec: {100 * facts['explained']:.1f} % of the variance between checkpoints is kept{scores}")
        return
    times = facts["error"] / facts["variance"]
    ctx.warn(
        f"codec: its error is {times:.3g} times the variance between checkpoints, where predicting the mean has 1"
        f"{scores} - the codec is hardly better than predicting the mean: train it longer, or use codec 'pca'"
    )
