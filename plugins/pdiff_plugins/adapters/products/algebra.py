"""Products of the factors of one layer, and what can be said of them from the factors alone.

M, N networks, r rank, I inputs, O outputs, K = min(O, N r) and Q = min(I, N r) sides of a core. A `[N, r, I]` and B
`[N, O, r]` stand for the products B A `[N, O, I]`. All is float64. Of a convolution in g groups both have blocks
along their diagonal, and zeros beside them; whatever is cut to a rank is cut block by block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pdiff_plugins.adapters.blocks import folded, unfolded

NUMBERS = 2**24
"""Numbers of products, or of cores, that are held at a time."""
LARGE = 128
"""Side of a matrix from which on few eigenvectors are quicker to have than all."""
ROUNDING = 1e-6
"""Of the largest singular value: what is below is rounding of factors in float32."""


class Factors(NamedTuple):
    """The factors of one layer, of several networks."""

    a_NRI: Tensor
    b_NOR: Tensor

    @property
    def size(self) -> int:
        """Numbers of one product."""
        return self.b_NOR.shape[1] * self.a_NRI.shape[2]


def double(a_NRI: Tensor, b_NOR: Tensor) -> Factors:
    """Return factors in float64."""
    return Factors(a_NRI.double(), b_NOR.double())


def explicit(*of: Factors) -> Iterator[tuple[Tensor, ...]]:
    """Yield the products of populations, rows of the layer by rows, each `[N, rows, I]`."""
    outputs, inputs = of[0].b_NOR.shape[1], of[0].a_NRI.shape[2]
    at_once = max(1, NUMBERS // max(1, inputs * sum(len(some.a_NRI) for some in of)))
    for start in range(0, outputs, at_once):
        yield tuple(some.b_NOR[:, start : start + at_once] @ some.a_NRI for some in of)


def gram(left: Factors, right: Factors) -> Tensor:
    """Return the inner products <B A, B' A'> of all pairs, `[M, N]`.

    They are sums over (B^T B') o (A A'^T), which are r x r; where products have fewer numbers they are formed.
    """
    (m, r, inputs), (n, s, _), outputs = left.a_NRI.shape, right.a_NRI.shape, left.b_NOR.shape[1]
    if outputs * inputs <= r * s * (outputs + inputs):
        total_MN = left.a_NRI.new_zeros(m, n)
        for p_MOI, q_NOI in explicit(left, right):
            total_MN.addmm_(p_MOI.flatten(1), q_NOI.flatten(1).T)
        return total_MN
    a_JI, b_OJ = right.a_NRI.flatten(0, 1), right.b_NOR.permute(1, 0, 2).flatten(1)
    rows = []
    at_once = max(1, NUMBERS // max(1, r * n * s))
    for a_mRI, b_mOR in zip(left.a_NRI.split(at_once), left.b_NOR.split(at_once), strict=True):
        reads_KJ = a_mRI.flatten(0, 1) @ a_JI.T
        writes_KJ = b_mOR.transpose(1, 2).flatten(0, 1) @ b_OJ
        rows.append((reads_KJ * writes_KJ).view(len(a_mRI), r, n, s).sum(dim=(1, 3)))
    return torch.cat(rows)


class Cut(NamedTuple):
    """Matrices cut to a rank, and their squared lengths: whole, and what was cut off, `[M]` each."""

    factors: Factors
    whole_M: Tensor
    lost_M: Tensor


def combined(weight_MN: Tensor, of: Factors, rank: int, groups: int = 1) -> Cut:
    """Return sum_n w_mn B_n A_n cut to a rank, as balanced factors of M networks.

    A sum is B (w A) of factors that stand side by side; where these have fewer columns than the layer has outputs, or
    inputs, their Q R leaves a core that is as small, and whose singular vectors are those of the sum.
    """
    if groups > 1:
        return _by_groups(weight_MN, of, rank, groups)
    count, r, inputs = of.a_NRI.shape
    outputs, stacked = of.b_NOR.shape[1], count * r
    b_OJ, a_JI = of.b_NOR.permute(1, 0, 2).reshape(outputs, stacked), of.a_NRI.reshape(stacked, inputs)
    left_OK, b_KJ = torch.linalg.qr(b_OJ) if stacked < outputs else (None, b_OJ)
    right_IQ, a_QJ = torch.linalg.qr(a_JI.T) if stacked < inputs else (None, a_JI.T)
    parts = []
    at_once = max(1, NUMBERS // max(1, max(len(b_KJ), len(a_QJ)) * max(len(b_KJ), len(a_QJ), stacked)))
    for weight_mN in weight_MN.double().split(at_once):
        weight_mJ = weight_mN.repeat_interleave(r, dim=1)
        core_mKQ = (b_KJ * weight_mJ[:, None]) @ a_QJ.T
        factors, whole_m, lost_m = cut(core_mKQ, rank)
        b_mOR = factors.b_NOR if left_OK is None else left_OK @ factors.b_NOR
        a_mRI = factors.a_NRI if right_IQ is None else factors.a_NRI @ right_IQ.T
        parts.append((*signed(Factors(a_mRI, b_mOR)), whole_m, lost_m))
    a_MRI, b_MOR, whole_M, lost_M = (torch.cat(each) for each in zip(*parts, strict=True))
    return Cut(Factors(a_MRI, b_MOR), whole_M, lost_M)


def _by_groups(weight_MN: Tensor, of: Factors, rank: int, groups: int) -> Cut:
    each = [folded(part, groups).unflatten(0, (-1, groups)) for part in of]
    cuts = [combined(weight_MN, Factors(*[part[:, g] for part in each]), rank // groups) for g in range(groups)]
    a_MRI, b_MOR = (
        unfolded(torch.stack(parts, dim=1).flatten(0, 1), groups)
        for parts in zip(*[each_cut.factors for each_cut in cuts], strict=True)
    )
    whole_M, lost_M = (torch.stack(parts).sum(dim=0) for parts in list(zip(*cuts, strict=True))[1:])
    return Cut(Factors(a_MRI, b_MOR), whole_M, lost_M)


def cut(product_MOI: Tensor, rank: int, groups: int = 1) -> Cut:
    """Return matrices cut to a rank, as balanced factors.

    The longer side is projected away by the largest eigenvectors of the shorter side's Gram matrix (Eckart & Young
    1936), which is several times as quick as a whole singular value decomposition.
    """
    if groups > 1:
        factors, whole, lost = cut(folded(product_MOI, groups), rank // groups)
        whole_M, lost_M = (energy.unflatten(0, (-1, groups)).sum(dim=1) for energy in (whole, lost))
        return Cut(Factors(*[unfolded(part, groups) for part in factors]), whole_M, lost_M)
    if product_MOI.shape[1] > product_MOI.shape[2]:
        turned, whole_M, lost_M = cut(product_MOI.transpose(1, 2), rank)
        return Cut(signed(Factors(turned.b_NOR.transpose(1, 2), turned.a_NRI.transpose(1, 2))), whole_M, lost_M)
    whole_M = product_MOI.square().sum(dim=(1, 2))
    keep = min(rank, product_MOI.shape[1])
    basis_MOK = _leading(product_MOI @ product_MOI.transpose(1, 2), keep)
    u_MKK, s_MK, v_MKI = torch.linalg.svd(basis_MOK.transpose(1, 2) @ product_MOI, full_matrices=False)
    lost_M = (whole_M - s_MK.square().sum(dim=1)).clamp_min(0)
    return Cut(signed(_balanced(basis_MOK @ u_MKK, s_MK, v_MKI, rank)), whole_M, lost_M)


def _leading(gram_MOO: Tensor, keep: int) -> Tensor:
    """Return the eigenvectors of the largest eigenvalues, `[M, O, keep]`; of large matrices no others are computed."""
    side = gram_MOO.shape[1]
    if side < LARGE or 2 * keep > side:
        return torch.linalg.eigh(gram_MOO).eigenvectors[..., side - keep :]
    from scipy.linalg import eigh

    few = side - keep, side - 1
    each = [eigh(gram_OO.numpy(), subset_by_index=few, check_finite=False)[1] for gram_OO in gram_MOO.cpu()]
    return torch.stack([torch.from_numpy(vectors) for vectors in each]).to(gram_MOO)


def canonical(of: Factors, groups: int = 1) -> Factors:
    """Return the factors that all of one product share: B = U sqrt(S), A = sqrt(S) V^T of the product's U S V^T.

    In each column of U the largest entry is positive. Singular values that rounding alone can be are zero.
    """
    blocks = Factors(*[folded(part, groups) for part in of])
    form = signed(_balanced(*singular(blocks), blocks.a_NRI.shape[1]))
    return Factors(*[unfolded(part, groups) for part in form])


def singular(of: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """Return U `[N, O, K]`, S `[N, K]`, V^T `[N, K, I]` of products, by the QR of factors and a core of r x r."""
    q_NOK, b_NKR = torch.linalg.qr(of.b_NOR)
    q_NIK, a_NKR = torch.linalg.qr(of.a_NRI.transpose(1, 2))
    u_NKK, s_NK, v_NKK = torch.linalg.svd(b_NKR @ a_NKR.transpose(1, 2), full_matrices=False)
    return q_NOK @ u_NKK, s_NK, v_NKK @ q_NIK.transpose(1, 2)


def _balanced(u_NOK: Tensor, s_NK: Tensor, v_NKI: Tensor, rank: int) -> Factors:
    """Return U sqrt(S) and sqrt(S) V^T, filled up with zeros to the rank."""
    s_NK = s_NK.where(s_NK > ROUNDING * s_NK[:, :1], 0.0)
    missing, root_NK = rank - s_NK.shape[1], s_NK.sqrt()
    a_NRI = torch.nn.functional.pad(root_NK[:, :, None] * v_NKI, (0, 0, 0, missing))
    return Factors(a_NRI, torch.nn.functional.pad(u_NOK * root_NK[:, None], (0, missing)))


def signed(of: Factors) -> Factors:
    """Return factors of the same products, the largest entry of each column of B positive."""
    largest_N1R = of.b_NOR.abs().argmax(dim=1, keepdim=True)
    sign_N1R = torch.where(of.b_NOR.gather(1, largest_N1R) < 0, -1.0, 1.0).to(of.b_NOR.dtype)
    return Factors(of.a_NRI * sign_N1R.transpose(1, 2), of.b_NOR * sign_N1R)
