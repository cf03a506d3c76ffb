"""Latent space: normalise, encode, standardise, and back; what all methods with a codec share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.components import Codec
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.files import below
from pdiff.mapped import LARGE, Touched, mean_of, rows, take
from pdiff.results.scores import Unit
from pdiff.running.memory import in_chunks
from pdiff.running.ranks import exchange, own_rows
from pdiff.training.loop import threads_for
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.backbones.codec_module import (
    Around,
    Fitted,
    Learnt,
    OfZoo,
    OneScale,
    Reading,
    Saying,
    codec_module,
)
from pdiff_plugins.maths import normalise
from pdiff_plugins.maths.normalise import Normaliser

GATE_NETWORKS = 16
SCORED = 8
"""Networks that are scored between two looks at the progress bar."""
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
class Coded:
    """A codec's module, of normalised networks."""

    normaliser: Normaliser
    codec: nn.Module

    @torch.no_grad()
    def decode(self, z_MZ: Tensor, ctx: Context) -> Tensor:
        codec = self.codec.to(ctx.device).eval()
        theta_MD = ctx.empty(len(z_MZ), self.normaliser.layout.dim)
        with threads_for(codec, ctx.threads):
            decode(codec, z_MZ.to(ctx.device), theta_MD, self.normaliser.decode)
        return theta_MD

    def encode(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor | None:
        codec = self.codec.to(ctx.device).eval()
        if isinstance(codec, Reading) and codec.read is None:
            codec.listen(bench.through(self.normaliser.to(ctx.device).decode).objective.answers, ctx.device)
            if codec.read is None:
                return None
        with threads_for(codec, ctx.threads):
            return encode(codec, normalised(self.normaliser, theta_MD, ctx), ctx.device).cpu()

    def tensors(self) -> dict[str, Tensor]:
        read = self.codec.remembered() if isinstance(self.codec, Reading) else {}
        tables = {"codec": self.codec.state_dict(), "normaliser": self.normaliser.tensors(), "reading": read}
        return {f"{prefix}.{key}": value for prefix, table in tables.items() for key, value in table.items()}


@dataclass
class LatentSpace:
    """A fitted codec between parameters and standardised latents."""

    layout: Layout
    fitted: Fitted
    mean_Z: Tensor
    scale_Z: Tensor
    """On the CPU, as `mean_Z`."""
    log: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        return len(self.mean_Z)

    @property
    def codec(self) -> nn.Module | None:
        """The codec's module, where it has one."""
        return module_of(self.fitted)

    def decode(self, z_MZ: Tensor, ctx: Context) -> Tensor:
        """Return theta_MD in the original scale, on the CPU."""
        return self.fitted.decode(z_MZ.cpu() * self.scale_Z + self.mean_Z, ctx)

    def through(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor | None:
        """Return what the codec leaves of networks that it need not have seen; None where it only decodes."""
        z_MZ = self.fitted.encode(theta_MD, bench, ctx)
        return None if z_MZ is None else self.fitted.decode(z_MZ, ctx)

    def decoded(self, states: Sequence[Tensor], ctx: Context) -> Tensor:
        """Return the networks `[S, M, D]` of several states z_MZ, each as `decode` gives them."""
        theta_SMD = ctx.empty(len(states) * len(states[0]), self.layout.dim).unflatten(0, (len(states), -1))
        touched = Touched(theta_SMD)
        for state, z_MZ in enumerate(states):
            theta_SMD[state] = self.decode(z_MZ, ctx)
            touched(theta_SMD[state])
        return theta_SMD

    def tensors(self) -> dict[str, Tensor]:
        return self.fitted.tensors() | {"latent.mean": self.mean_Z, "latent.scale": self.scale_Z}


def curve(rows: list[dict[str, float]], name: str) -> list[dict[str, Any]]:
    """Return the rows of a training's log, told apart by `part` from those of other trainings."""
    return [row | {"part": name} for row in rows]


def fit(
    method: WithCodec, zoo: Zoo, bench: Bench, ctx: Context, whole: bool = True, whiten: bool = True
) -> tuple[LatentSpace, Tensor]:
    """Train the codec and check it; return it and the checkpoints' standardised latents z_NZ, on the device.

    With `faithful` it is the original's: one mean and deviation per tensor, and latents as the codec gives them.
    `whole`: the zoo is the run's own, which `load` has again; a codec may then stand on it. `whiten`: see `_standard`.
    """
    learnt = learn(method.codec, zoo, bench, ctx, method.faithful, whole)
    fitted, z_NZ = learnt.fitted, learnt.z_NZ.float()
    facts: dict[str, Any] = {"codec": gate(fitted, learnt.kept, zoo, z_NZ, bench, ctx)}
    if examples := getattr(method.codec, "examples", 0):  # of a codec that learns from the task
        facts["examples"] = examples
    mean_Z, scale_Z = _standard(z_NZ, module_of(fitted), method.faithful, whiten)
    space = LatentSpace(zoo.layout, fitted, mean_Z.cpu(), scale_Z.cpu(), list(learnt.log), facts)
    return space, ((z_NZ - mean_Z) / scale_Z).to(ctx.device)


def learn(codec: Codec, zoo: Zoo, bench: Bench, ctx: Context, faithful: bool, whole: bool) -> Learnt:
    """Return a codec that is fitted to a zoo, whose networks `bench` serves; for the rest see `fit`."""
    if isinstance(codec, OfZoo) and (learnt := codec.on(zoo, faithful, whole, bench, ctx)):
        return learnt
    normaliser = normalise.per_tensor(zoo) if faithful else normalise.per_column(zoo)
    x_ND = normalised(normaliser, zoo.theta_ND, ctx)
    codec_ctx, through = ctx.scope("codec"), bench.through(normaliser.to(ctx.device).decode)
    torch.manual_seed(codec_ctx.seed)
    module = codec.build(dim=zoo.layout.dim, layout=zoo.layout)
    log = curve(codec.fit(module, x_ND, through, codec_ctx), "codec")
    module = module.to(ctx.device).eval()
    z_NZ = encode(module, x_ND, ctx.device)
    fitted = Coded(normaliser, module)
    return Learnt(fitted, z_NZ, reconstruction(fitted, x_ND, z_NZ, ctx), log)


def module_of(fitted: Fitted) -> nn.Module | None:
    """Return the module of a fitted codec, or of the one inside it; None where it has none."""
    if isinstance(fitted, Around):
        return module_of(fitted.inner)
    return fitted.codec if isinstance(fitted, Coded) else None


def normalised(normaliser: Normaliser, theta_ND: Tensor, ctx: Context) -> Tensor:
    """Return x_ND of networks, on the CPU."""
    x_ND = ctx.empty(*theta_ND.shape)
    for columns, block, theta_NW in normalise.read(theta_ND, normaliser.layout, x_ND):
        x_ND[:, columns] = normaliser.window(columns, block).encode(theta_NW)
    return x_ND


def load(method: WithCodec, tensors: dict[str, Tensor], zoo: Zoo) -> LatentSpace:
    """Rebuild a fitted latent space."""
    latent, fitted = below(tensors, "latent."), rebuilt(method.codec, tensors, zoo, method.faithful)
    return LatentSpace(zoo.layout, fitted, latent["mean"], latent["scale"])


def rebuilt(codec: Codec, tensors: dict[str, Tensor], zoo: Zoo, faithful: bool) -> Fitted:
    """Rebuild a fitted codec from its tensors and the zoo that it was fitted to."""
    if spanned := below(tensors, "span."):
        assert isinstance(codec, OfZoo)
        return codec.loaded(spanned, zoo, faithful)
    module = codec.build(dim=zoo.layout.dim, layout=zoo.layout)
    module.load_state_dict(below(tensors, "codec."))
    if isinstance(module, Reading):
        module.recall(below(tensors, "reading."))
    return Coded(normalise.load(zoo.layout, below(tensors, "normaliser.")), module.eval())


@torch.no_grad()
def encode(codec: nn.Module, x_ND: Tensor, device: torch.device) -> Tensor:
    """Return the latents z_NZ of normalised networks, on the device."""
    touched = Touched(x_ND)

    def some(x_BD: Tensor) -> Tensor:
        z_BZ = codec_module(codec).encode(x_BD.to(device))
        touched(x_BD)
        return z_BZ

    return in_chunks(some, x_ND, _at_once(x_ND))


@torch.no_grad()
def decode(codec: nn.Module, z_MZ: Tensor, out_MD: Tensor, finish: Callable[[Tensor], Tensor]) -> None:
    """Write the networks of latents, after `finish`, into `out_MD` on the CPU."""
    mine = own_rows(len(z_MZ))
    done, touched = mine.start, Touched(out_MD)

    def some(z_BZ: Tensor) -> Tensor:
        nonlocal done
        out_MD[done : done + len(z_BZ)] = finish(codec_module(codec).decode(z_BZ).cpu())
        touched(out_MD[done : done + len(z_BZ)])
        done += len(z_BZ)
        return z_BZ[:, :0]

    in_chunks(some, z_MZ[mine], _at_once(out_MD))
    exchange(out_MD)


def _at_once(x_ND: Tensor) -> int:
    """Return how many networks a codec sees at a time: fewer where they are large."""
    return max(1, min(64, LARGE // (4 * x_ND.shape[1])))


def _standard(z_NZ: Tensor, codec: nn.Module | None, faithful: bool, whiten: bool) -> tuple[Tensor, Tensor]:
    """Return mean and scale `[Z]` that standardise latents, narrow ones only as far as is safe; `faithful`: 0 and 1.

    Without `whiten`, or of a codec with `one_scale`, whose latents have one unit, widths say what matters: they keep
    their relation.
    """
    if faithful:
        return torch.zeros_like(z_NZ[0]), torch.ones_like(z_NZ[0])
    std_Z = z_NZ.std(dim=0)
    widest = float(std_Z.max())
    if not whiten or (isinstance(codec, OneScale) and codec.one_scale):
        one = std_Z.square().mean().sqrt()
        return z_NZ.mean(dim=0), (one if widest > 0 else torch.ones_like(one)).expand_as(std_Z).clone()
    return z_NZ.mean(dim=0), std_Z.clamp_min(SMALLEST_LATENT * widest if widest > 0 else 1.0)


def reconstruction(fitted: Coded, x_ND: Tensor, z_NZ: Tensor, ctx: Context) -> dict[str, Any]:
    """Return what a codec keeps of all checkpoints.

    `error` (mean squared, normalised units; of what networks say, where the codec's `said` gives that), `variance` (the
    error of predicting the mean) and `explained` (1 - error / variance).
    """
    codec, total = fitted.codec, torch.zeros(2, dtype=torch.float64)
    decoded_ND = ctx.empty(len(x_ND), x_ND.shape[1])
    decode(codec, z_NZ, decoded_ND, lambda x_BD: x_BD)
    restored, known = (_compared(codec, rows_ND, ctx) for rows_ND in (decoded_ND, x_ND))
    mean_D = mean_of(known)
    for restored_D, known_D in zip(rows(restored), rows(known), strict=True):
        parts = [(restored_D - known_D), (known_D - mean_D)]
        total += torch.stack([part.double().square().sum() for part in parts])
    error, variance = (total / known.numel()).tolist()
    explained = 1 - error / variance if variance > 0 else 1.0
    return {"latent": z_NZ.shape[1], "error": error, "variance": variance, "explained": explained}


@torch.no_grad()
def _compared(codec: nn.Module, x_ND: Tensor, ctx: Context) -> Tensor:
    """Return what the codec tries to keep, a row for each network: the vectors themselves, unless it has `said`."""
    said = codec.said if isinstance(codec, Saying) else None
    return x_ND if said is None else in_chunks(lambda x_BD: said(x_BD.to(ctx.device)).cpu(), x_ND, 64)


def gate(fitted: Fitted, facts: dict[str, Any], zoo: Zoo, z_NZ: Tensor, bench: Bench, ctx: Context) -> dict[str, Any]:
    """Measure decode(encode(w)) before diffusion is trained, and warn where the codec has learnt only the mean.

    Adds to what `reconstruction` gives the mean scores of up to 16 checkpoints as they are, decoded, and of their
    average.
    """
    chosen = torch.linspace(0, len(zoo) - 1, min(GATE_NETWORKS, len(zoo))).long()
    own = [zoo.rows[number].get("about") for number in chosen.tolist()]
    kinds = {
        "score_original": take(zoo.theta_ND, chosen.tolist(), ctx.snapshot.folder),
        "score_decoded": fitted.decode(z_NZ[chosen].cpu(), ctx),
        "score_average": mean_of(zoo.theta_ND)[None],
    }
    scores = {}
    with ctx.progress.step("codec: scores", sum(map(len, kinds.values()))) as bar:
        for name, theta_MD in kinds.items():
            parts = []
            for at, part_MD in zip(range(0, len(theta_MD), SCORED), theta_MD.split(SCORED), strict=True):
                about = own[at : at + SCORED] if all(own) and name != "score_average" else None
                parts.append(bench.score(part_MD, about))
                bar.advance(len(part_MD))
            scores[name] = float(torch.cat(parts).mean())
    facts = facts | {"networks": len(chosen)} | scores
    _tell(facts, _unit(bench), ctx)
    return facts


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
