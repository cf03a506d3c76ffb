"""The curvature of a loss by laplace-torch, and draws from Gaussians as wide as it is flat. P random numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pdiff.data import Batch, Split, evaluation_batches
from pdiff.errors import UserError
from pdiff_plugins.bayes.laplace.varied import WHERE, Logits, plain_attention

BATCH = {"kron": 128, "diag": 8, "full": 128}
"""Examples at a time: what a diagonal costs grows with their square."""
MOST = 8192
"""Random numbers of which a whole matrix is taken."""


def library() -> Any:
    """Return laplace-torch, without what libraries that it imports say of themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import laplace
    return laplace


class Loader:
    """A split as the library reads it: batches of (inputs, targets), in order."""

    def __init__(self, split: Split, size: int, device: torch.device):
        self.dataset, self.size, self.device = split, size, device

    def __iter__(self) -> Iterator[Batch]:
        return evaluation_batches(self.dataset, self.size, self.device)


class Curvature:
    """H as a diagonal, or as eigenvectors and eigenvalues of the Kronecker factors of its blocks."""

    def __init__(self, tensors: dict[str, Tensor]):
        self.tensors, self.diagonal_P = tensors, tensors.get("diagonal")
        if self.diagonal_P is None:
            vectors, values = (_nested(tensors, kind) for kind in ("vectors", "values"))
            self.blocks = library().utils.matrix.KronDecomposed(vectors, values)
            self.size = sum(math.prod(len(factor) for factor in block) for block in values)

    def draws(self, count: int, prior: float, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield `count` vectors delta_P from N(0, (H + prior I)^-1), each as the library's `sample(1)` would."""
        for _ in range(count):
            if self.diagonal_P is not None:
                yield torch.randn(len(self.diagonal_P), generator=generator) * (1 / (self.diagonal_P + prior).sqrt())
            else:
                z_1P = torch.randn(1, self.size, generator=generator)
                yield (self.blocks + torch.tensor([prior])).bmm(z_1P, exponent=-0.5).reshape(self.size)

    def log_ratio(self, prior: float) -> float:
        """Return log det (H + prior I) - log det prior I."""
        if self.diagonal_P is not None:
            return float((self.diagonal_P / prior).log1p().sum())
        return float((self.blocks + torch.tensor([prior])).logdet()) - self.size * math.log(prior)


def _nested(tensors: dict[str, Tensor], kind: str) -> list[list[Tensor]]:
    blocks: dict[int, list[Tensor]] = {}
    places = sorted(tuple(map(int, key.split(".")[1:])) for key in tensors if key.startswith(kind))
    for block, factor in places:
        blocks.setdefault(block, []).append(tensors[f"{kind}.{block}.{factor}"])
    return list(blocks.values())


def curvature_of(
    model: Logits, keys: Sequence[str], structure: str, split: Split, grid: Sequence[float], device: torch.device
) -> tuple[Curvature, list[float]]:
    """Return the curvature of the loss over a split, and the log marginal likelihood for each precision of the prior.

    The parameters are those of `keys`. Raises UserError where a whole matrix is too large.
    """
    chosen = {f"{WHERE}.{key}" for key in keys}
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(key in chosen)
    size = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if structure == "full" and size > MOST:
        raise UserError(
            f"method.structure = 'full': {size:,} parameters are random, and of at most {MOST:,} the whole matrix is "
            "taken; set it to 'kron' or 'diag'"
        )
    fitted = library().Laplace(model, "classification", subset_of_weights="all", hessian_structure=structure)
    try:
        with plain_attention():
            fitted.fit(Loader(split, BATCH[structure], device))
    except UserError:
        raise
    except Exception as error:  # the library runs the author's code, which can fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"laplace: the library cannot take the curvature of this network ({reason}); try another "
            f"method.structure than {structure!r}, or leave the method out"
        ) from error
    model.requires_grad_(False)
    curvature = Curvature({key: value.detach().cpu().contiguous() for key, value in _tensors(fitted.H, structure)})
    likelihood, square = float(fitted.log_likelihood), float(fitted.mean.double().square().sum())
    return curvature, [likelihood - (curvature.log_ratio(prior) + prior * square) / 2 for prior in grid]


def _tensors(curvature: Any, structure: str) -> Iterator[tuple[str, Tensor]]:
    if structure == "diag":
        yield "diagonal", curvature
        return
    if structure == "kron":
        vectors, values = curvature.eigenvectors, curvature.eigenvalues
    else:  # one block, of one factor
        values_P, vectors_PP = torch.linalg.eigh((curvature + curvature.T) / 2)
        vectors, values = [[vectors_PP]], [[values_P.clamp_min(0)]]
    for block, both in enumerate(zip(vectors, values, strict=True)):
        for kind, factors in zip(("vectors", "values"), both, strict=True):
            for place, factor in enumerate(factors):
                yield f"{kind}.{block}.{place}", factor
