"""Products of factors against matrices written out, gauges against one another, sketches against distances."""

from __future__ import annotations

import pytest
import torch

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.testing import Points, tiny_zoo
from pdiff_plugins.adapters.products import algebra, coordinates
from pdiff_plugins.adapters.products.canonical import Canonical, canonised
from pdiff_plugins.adapters.products.populations import grams, mixed, windows
from tests.adapters.products.helpers import all_products, layout_of, products_of, regauged, tiny_adapters, zoo_of

CTX = Context(seed=0)
SHAPES = [(5, 4, 12, 10), (40, 4, 150, 140), (3, 2, 50, 40), (40, 3, 9, 30), (6, 4, 3, 20), (6, 4, 20, 3)]


def factors(count: int, rank: int, outputs: int, inputs: int) -> algebra.Factors:
    generator = torch.Generator().manual_seed(count)
    shapes = (count, rank, inputs), (count, outputs, rank)
    return algebra.Factors(*[torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes])


@pytest.mark.parametrize("numbers", [2**24, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_gram_matrices_are_those_of_products(shape, numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algebra, "NUMBERS", numbers)
    left, right = factors(*shape), factors(7, *shape[1:])
    p, q = ((each.b_NOR @ each.a_NRI).flatten(1) for each in (left, right))
    torch.testing.assert_close(algebra.gram(left, right), p @ q.T)


@pytest.mark.parametrize("numbers", [2**24, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_the_nearest_of_their_rank(shape, numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(algebra, "NUMBERS", numbers)
    of, rank = factors(*shape), shape[1]
    weight_MN = torch.randn(4, shape[0], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sum_MOI = torch.einsum("mn,nor,nri->moi", weight_MN, of.b_NOR, of.a_NRI)
    u, s, v = torch.linalg.svd(sum_MOI, full_matrices=False)
    (a_MRI, b_MOR), whole_M, lost_M = algebra.combined(weight_MN, of, rank)
    torch.testing.assert_close(b_MOR @ a_MRI, (u[..., :rank] * s[:, None, :rank]) @ v[:, :rank])
    torch.testing.assert_close(whole_M, s.square().sum(dim=1))
    torch.testing.assert_close(lost_M, s[:, rank:].square().sum(dim=1), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(a_MRI @ a_MRI.mT, b_MOR.mT @ b_MOR, atol=1e-9, rtol=1e-9)  # balanced


def test_of_a_population_layer_by_layer() -> None:
    zoo, weight_MN = zoo_of(6, bias=True), torch.randn(3, 6, dtype=torch.float64)
    written = torch.cat([all_products(zoo.theta_ND, zoo.layout), *_biases(zoo.theta_ND, zoo.layout)], dim=1)
    torch.testing.assert_close(sum(p for _, p in grams(zoo.theta_ND, zoo.theta_ND, zoo.layout)), written @ written.T)
    torch.testing.assert_close(torch.cat(list(windows(zoo)), dim=1), written)
    theta_MD, lost_M = mixed(zoo, weight_MN, CTX)
    share_MN = weight_MN + (1 - weight_MN.sum(dim=1, keepdim=True)) / 6
    kept, whole = torch.zeros(2, 3, dtype=torch.float64)
    for product_MOI, every_NOI in zip(
        products_of(theta_MD, zoo.layout), products_of(zoo.theta_ND, zoo.layout), strict=True
    ):
        u, s, v = torch.linalg.svd(torch.einsum("mn,noi->moi", share_MN, every_NOI), full_matrices=False)
        torch.testing.assert_close(product_MOI, (u[..., :4] * s[:, None, :4]) @ v[:, :4], atol=1e-4, rtol=1e-4)
        kept, whole = kept + s[:, :4].square().sum(dim=1), whole + s.square().sum(dim=1)
    torch.testing.assert_close(lost_M, 1 - kept / whole)
    bias = torch.cat(_biases(theta_MD, zoo.layout), dim=1)
    torch.testing.assert_close(
        bias, share_MN @ torch.cat(_biases(zoo.theta_ND, zoo.layout), dim=1), atol=1e-5, rtol=1e-4
    )


def _biases(theta_MD, layout):
    return [theta_MD[:, entry.columns].double() for entry in layout.entries if entry.key.endswith("bias")]


def test_a_thousand_gauges_have_one_canonical_form() -> None:
    layout = layout_of(bias=True)
    theta_1D = torch.randn(1, layout.dim, generator=torch.Generator().manual_seed(5))
    many_MD = regauged(theta_1D.expand(1000, -1), layout, torch.Generator().manual_seed(1))
    assert (many_MD - theta_1D).norm(dim=1).min() > 0.1 * theta_1D.norm()
    form_MD = canonised(many_MD, layout, CTX)
    first_D = canonised(theta_1D, layout, CTX)[0]
    assert (form_MD - first_D).abs().max() < 1e-5 * first_D.norm()
    torch.testing.assert_close(
        all_products(form_MD[:5], layout), all_products(many_MD[:5], layout), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(canonised(form_MD[:1], layout, CTX), form_MD[:1], atol=1e-5, rtol=1e-5)


def test_adapters_of_less_than_their_rank_and_of_nothing_have_a_form_too() -> None:
    layout = layout_of(sizes=((12, (10,)),))
    (pair,), generator = coordinates.pairs(layout), torch.Generator().manual_seed(2)
    theta_MD = torch.zeros(2, layout.dim)
    a_MRI, b_MOR = torch.randn(2, 4, 10, generator=generator), torch.randn(2, 12, 4, generator=generator)
    b_MOR[0, :, 2:], b_MOR[1] = 0, 0
    pair.write(theta_MD, a_MRI, b_MOR)
    form_MD = canonised(regauged(theta_MD, layout, generator), layout, CTX)
    torch.testing.assert_close(form_MD, canonised(theta_MD, layout, CTX), atol=1e-5, rtol=1e-5)
    assert form_MD.isfinite().all() and not form_MD[1].any() and not pair.split(form_MD)[1][0, :, 2:].any()


def test_the_step_leaves_the_base_and_writes_what_is_held_out_alike() -> None:
    zoo = zoo_of(8)
    zoo, zoo.holdout = zoo.subset(range(6)), zoo.subset(range(6, 8))
    zoo.holdout = zoo_of(8).subset(range(6, 8))
    after = Canonical().zoo(zoo, Points(zoo), CTX)
    assert after.base.equal(zoo.base) and after.rows == zoo.rows and after.holdout is not None
    assert after.holdout.theta_ND.equal(canonised(zoo.holdout.theta_ND, zoo.layout, CTX))
    adapters, bench = tiny_adapters()
    logp, _ = bench.log_probabilities(adapters.theta_ND, "test", 30)
    again, _ = bench.log_probabilities(Canonical().zoo(adapters, bench, CTX).theta_ND, "test", 30)
    torch.testing.assert_close(again, logp, atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError, match="zoo: canonical: the selection holds no adapters"):
        Canonical().zoo(tiny_zoo(), Points(tiny_zoo()), CTX)


@pytest.mark.parametrize(("most", "sketch"), [(2**20, 2**18), (100, 60)])
def test_coordinates_tell_products_and_nothing_of_gauges(most, sketch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinates, "MOST", most)
    monkeypatch.setattr(coordinates, "SKETCH", sketch)
    zoo, scales = zoo_of(bias=True), {"l0": 2.0, "l1": 0.5, "l2": 1.0}
    z_NZ = coordinates.coordinates(zoo.theta_ND, zoo.layout, scales)
    again_NZ = coordinates.coordinates(regauged(zoo.theta_ND, zoo.layout, torch.Generator()), zoo.layout, scales)
    assert ((again_NZ - z_NZ).norm(dim=1) < 1e-5 * z_NZ.norm(dim=1)).all()
    assert coordinates.coordinates(zoo.theta_ND, zoo.layout, scales) is z_NZ  # known
    if most == 2**20:
        each = zip(products_of(zoo.theta_ND, zoo.layout), (2, 0.5, 1), strict=True)
        written = torch.cat([(scale * product).flatten(1) for product, scale in each], dim=1)
        torch.testing.assert_close(z_NZ[:, :-20], written.float())
        assert z_NZ[:, -20:].equal(torch.cat(_biases(zoo.theta_ND, zoo.layout), dim=1).float())
    else:
        assert z_NZ.shape[1] - 20 <= sketch


@pytest.mark.parametrize("sizes", [((1100, (1000,)),), ((600, (500,)),) * 4 + ((10, (10,)),)])
def test_distances_of_sketches_are_right_within_a_few_per_cent(sizes) -> None:
    layout = layout_of(1, sizes)
    theta_MD = torch.randn(12, layout.dim, generator=torch.Generator().manual_seed(3))
    z_MZ = coordinates.coordinates(theta_MD, layout)
    assert z_MZ.shape[1] <= coordinates.SKETCH
    gram_MM = sum(product_MM for _, product_MM in grams(theta_MD, theta_MD, layout))
    apart_MM = (gram_MM.diagonal()[:, None] + gram_MM.diagonal() - 2 * gram_MM).clamp_min(0).sqrt()
    others = ~torch.eye(12, dtype=torch.bool)
    ratio = torch.cdist(z_MZ.double(), z_MZ.double())[others] / apart_MM[others]
    assert (ratio - 1).abs().max() < 0.15 and (ratio - 1).square().mean().sqrt() < 0.045


def test_groups_of_a_convolution_keep_to_themselves() -> None:
    generator, groups = torch.Generator().manual_seed(0), 3
    shapes = (4 * groups, 2, 5), (4 * groups, 6, 2)
    a, b = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    of = algebra.Factors(algebra.unfolded(a, groups), algebra.unfolded(b, groups))
    assert of.a_NRI.shape == (4, 6, 15) and algebra.folded(of.b_NOR, groups).equal(b)
    weight_MN = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    blocks_MGOI = torch.einsum("mn,ngoi->mgoi", weight_MN, (b @ a).unflatten(0, (4, groups)))
    u, s, v = torch.linalg.svd(blocks_MGOI, full_matrices=False)
    best = algebra.unfolded(((u[..., :2] * s[..., None, :2]) @ v[..., :2, :]).flatten(0, 1), groups)
    summed = torch.einsum("mn,noi->moi", weight_MN, of.b_NOR @ of.a_NRI)
    for factors_, whole_M, lost_M in (
        algebra.combined(weight_MN, of, 6, groups), algebra.cut(summed, 6, groups),
    ):  # fmt: skip
        torch.testing.assert_close(factors_.b_NOR @ factors_.a_NRI, best)
        torch.testing.assert_close(lost_M / whole_M, s[..., 2:].square().sum((1, 2)) / s.square().sum((1, 2)))
    form = algebra.canonical(of, groups)
    torch.testing.assert_close(form.b_NOR @ form.a_NRI, of.b_NOR @ of.a_NRI)
    alone = algebra.canonical(algebra.Factors(a, b))
    assert algebra.folded(form.a_NRI, groups).equal(alone.a_NRI)
