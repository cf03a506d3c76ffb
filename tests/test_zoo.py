"""Layout and zoo: vectors and state dicts map to each other without loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.engine.keys import zoo_stage
from pdiff.errors import UserError
from pdiff.recipe.loading import load_recipe
from pdiff.running.store import Stage
from pdiff.testing.tiny import tiny_run
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.networks.nets.vit import SimpleViT
from pdiff_plugins.symmetry.align import align, symmetry_within, with_copies
from pdiff_plugins.transforms.batch_norms import recalibrated
from pdiff_plugins.transforms.choice import held_out


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))


@settings(max_examples=40)
@given(data=st.data())
def test_any_selection_survives_the_round_trip(data: st.DataObject) -> None:
    model = network()
    floating = [key for key, value in model.state_dict().items() if value.is_floating_point()]
    keys = data.draw(st.lists(st.sampled_from(floating), min_size=1, unique=True))
    layout = Layout.of(model, keys)
    theta = torch.randn(layout.dim, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    zoo = Zoo(theta[None], layout, dict(model.state_dict()), [{}])
    state = zoo.state_dict(theta)
    assert layout.vector(state).equal(theta)
    untouched = [key for key in state if key not in keys]
    assert all(state[key].equal(model.state_dict()[key]) for key in untouched)
    assert Layout.from_json(layout.to_json()) == layout
    network().load_state_dict(state, strict=True)


def test_batched_vectors_become_stacked_tensors() -> None:
    layout = Layout.of(network(), ["0.weight", "3.bias"])
    theta = torch.arange(5 * layout.dim).float().reshape(5, -1)
    stacked = layout.tensors(theta)
    assert stacked["0.weight"].shape == (5, 3, 1, 3, 3)
    assert stacked["3.bias"][4].equal(theta[4, -2:])


def test_a_gradient_through_many_entries_is_written_once() -> None:
    class Whole(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            self.count += isinstance(out, torch.Tensor) and out.numel() == layout.dim
            return out

    layout = Layout.of(network(), [key for key in network().state_dict() if "num_batches" not in key])
    theta_D = torch.randn(layout.dim, requires_grad=True)
    value = sum(each.square().sum() for each in layout.tensors(theta_D).values())
    with Whole() as whole:
        value.backward()
    assert theta_D.grad.equal(2 * theta_D) and len(layout.entries) == 8 and whole.count <= 2


def test_step_counters_are_never_generated() -> None:
    layout = Layout.of(network(), ["1.num_batches_tracked", "1.running_mean"])
    assert layout.keys == ["1.running_mean"]
    with pytest.raises(UserError, match="no floating-point numbers"):
        Layout.of(network(), ["1.num_batches_tracked"])


def test_a_key_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"names '9\.weight', which is not in the network"):
        Layout.of(network(), ["9.weight"])


def test_variances_are_positive_in_free_coordinates_whatever_is_added() -> None:
    layout = Layout.of(network(), ["1.weight", "1.running_var"])
    theta = torch.rand(4, layout.dim) + 0.1
    assert layout.from_free(layout.to_free(theta)).allclose(theta)
    far = layout.from_free(layout.to_free(theta) - 5)
    assert (far[:, 3:] > 0).all() and (far[:, :3] < 0).all()


def test_a_zoo_survives_the_disk(tmp_path) -> None:
    model = network()
    layout = Layout.of(model, ["3.weight"])
    rows = [{"run": 0, "step": step, "metrics": {"loss": 0.5}} for step in range(4)]
    zoo = Zoo(torch.randn(4, layout.dim), layout, dict(model.state_dict()), rows)
    zoo.save(tmp_path)
    again = Zoo.open(tmp_path)
    assert again.theta_ND.equal(zoo.theta_ND) and again.rows == rows and again.layout == layout
    assert again.base.equal(zoo.base)
    assert again.anchor["1.num_batches_tracked"].dtype == torch.int64


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=6), seed=st.integers(0, 99), data=st.data())
def test_whole_runs_are_held_out_as_far_as_they_fit(sizes: list[int], seed: int, data: st.DataObject) -> None:
    rows = [{"run": run} for run, size in enumerate(sizes) for _ in range(size)]
    count = data.draw(st.integers(0, len(rows) - 2))
    held = held_out(rows, count, torch.Generator().manual_seed(seed))
    assert len(set(held)) == len(held) == count and held == sorted(held)
    parted = [run for run, size in enumerate(sizes) if 0 < sum(rows[i]["run"] == run for i in held) < size]
    assert len(parted) <= 1
    assert held == held_out(rows, count, torch.Generator().manual_seed(seed))
    with pytest.raises(UserError, match=r"^zoo: holdout\.count = \d+: of \d+ checkpoints 2 must remain; set it to"):
        held_out(rows, len(rows) - 1, torch.Generator())


def test_held_out_checkpoints_are_seen_by_evaluators_alone(tmp_path: Path) -> None:
    whole, part = tiny_run(tmp_path), tiny_run(tmp_path, zoo=[{"name": "holdout", "count": 3}])
    kept, held = part.sample("original"), part.view().zoo.holdout.theta_ND
    assert whole.zoo.holdout is None and len(held) == 3 and len(kept) == len(whole.zoo) - 3
    found = {tuple(theta.tolist()) for theta in [*kept, *held]}
    assert found == {tuple(theta.tolist()) for theta in whole.sample("original")}
    assert len(part.predictions("original", "test")) == len(part.predictions("original", "validation")) == len(kept)


def test_permuted_copies_are_other_points_and_the_same_functions(tmp_path: Path) -> None:
    whole, more = (
        tiny_run(tmp_path),
        tiny_run(tmp_path, zoo=[{"name": "first", "count": 4}, {"name": "permuted", "copies": 2}]),
    )
    zoo = more.zoo
    assert zoo.theta_ND[:4].equal(whole.zoo.theta_ND[:4])
    assert [row.get("copy", 0) for row in zoo.rows] == [0] * 4 + [1] * 4 + [2] * 4
    assert zoo.rows[5] == zoo.rows[1] | {"copy": 1}
    assert torch.cdist(zoo.theta_ND[4:], zoo.theta_ND[:4]).min() > 0.1
    again = more.bench.predict(zoo.theta_ND, "validation")
    assert again.equal(more.predictions("original", "validation"))
    align = more.view().bench.align
    torch.testing.assert_close(align(zoo.theta_ND[[0, 4, 8]]), align(zoo.theta_ND[[0, 0, 0]]))


def test_rescaled_copies_are_further_away_and_the_same_functions(tmp_path: Path) -> None:
    steps = [{"name": "first", "count": 4}, {"name": "permuted", "copies": 1, "scale": 0.5}]
    run = tiny_run(tmp_path, zoo=steps)
    theta_ND, align = run.zoo.theta_ND, run.view().bench.align
    predicted = run.bench.predict(theta_ND, "validation")
    assert predicted[4:].equal(predicted[:4])
    assert (theta_ND[4:].norm(dim=1) / theta_ND[:4].norm(dim=1) - 1).abs().max() > 0.01
    torch.testing.assert_close(align(theta_ND[4:]), align(theta_ND[:4]), rtol=1e-4, atol=1e-4)
    assert (run.zoo.layout.tensors(theta_ND)["2.running_var"] > 0).all()


def test_a_balanced_zoo_has_other_scales_and_the_same_functions(tmp_path: Path) -> None:
    raw, scaled = (
        tiny_run(tmp_path / name, zoo=[{"name": "align", "scale": name == "scaled"}]) for name in ("raw", "scaled")
    )
    held = tiny_run(tmp_path / "held", zoo=[{"name": "holdout", "count": 3}, {"name": "align", "scale": True}]).zoo
    zoo = scaled.zoo
    assert (zoo.theta_ND - raw.zoo.theta_ND).norm(dim=1).min() > 0.1
    assert raw.bench.predict(zoo.theta_ND, "validation").equal(raw.bench.predict(raw.zoo.theta_ND, "validation"))
    state = zoo.layout.tensors(zoo.theta_ND)
    behind, read = (torch.stack([state[key] for key in ("2.weight", "2.bias")]), state["4.weight"])
    torch.testing.assert_close(behind.norm(dim=0), read.norm(dim=1), rtol=1e-3, atol=1e-5)
    before = torch.cat([state["1.weight"], state["1.bias"][..., None], state["2.running_mean"][..., None]], dim=2)
    assert before.norm(dim=2).square().mean(dim=1).std() < 1e-4 * before.square().sum(dim=2).mean()
    assert (zoo.layout.tensors(zoo.base)["2.running_var"] > 0).all() and len(held.holdout) == 3
    assert held.holdout.theta_ND.norm(dim=1).max() < 1.2 * held.theta_ND.norm(dim=1).max()


def test_nothing_can_be_aligned_or_copied_where_biases_alone_are_selected(tmp_path: Path) -> None:
    biases = {"name": "names", "include": ["*.bias"]}
    pipeline = tiny_run(tmp_path, selector=biases)
    assert pipeline.bench.align(pipeline.zoo.theta_ND) is None
    for key, step in {"permuted.copies = 2": {"name": "permuted", "copies": 2}, "align": {"name": "align"}}.items():
        with pytest.raises(UserError, match=rf"^zoo: {key}: no hidden units can be reordered within the selected"):
            tiny_run(tmp_path, selector=biases, zoo=[step]).zoo  # noqa: B018
    with pytest.raises(UserError, match=r"^zoo: align.scale = true: no hidden units can be rescaled within the sel"):
        tiny_run(tmp_path, selector=biases, zoo=[{"name": "align", "scale": True}]).zoo  # noqa: B018


def test_a_zoo_of_permuted_copies_and_what_is_held_out_of_it_become_one_point() -> None:
    torch.manual_seed(0)
    model = SimpleViT((3, 8, 8), 5, patch=4, dim=16, depth=1, heads=4, head_dim=6, mlp_dim=12)
    layout, ctx = Layout.of(model, list(model.state_dict())), Context(seed=0)
    symmetry = symmetry_within(model, torch.zeros(2, 3, 8, 8), layout, "test")
    assert symmetry.sizes == [4, 6, 12]
    one = Zoo(layout.vector(model.state_dict())[None], layout, dict(model.state_dict()), [{"run": 0}])
    zoo = with_copies(one, 9, symmetry, ctx)
    assert torch.pdist(zoo.theta_ND).min() > 1
    rest = replace(zoo.subset(range(7)), holdout=zoo.subset(range(7, 10)))
    own = align(rest, symmetry, ctx)
    everything = torch.cat([own.theta_ND, own.holdout.theta_ND, own.base[None], own.holdout.base[None]])
    assert everything.shape[0] == 12 and everything.equal(own.theta_ND[:1].expand(12, -1))


def test_a_zoo_without_steps_is_what_was_collected_and_every_step_and_their_order_count(tiny: Path) -> None:
    collected = Stage("collect", {})
    first, aligned, more = {"name": "first", "count": 5}, {"name": "align"}, {"name": "permuted", "copies": 1}

    def key(*steps: dict[str, object]) -> str:
        return zoo_stage(load_recipe(tiny, {"zoo": list(steps)}), collected).key

    assert key() == collected.key
    ways = [(), (first,), (first | {"count": 6},), (aligned,), (first, aligned), (first, more), (more, first)]
    assert len({key(*steps) for steps in ways}) == len(ways)


def test_recalibrated_statistics_are_those_of_the_examples() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)).eval()
    layout = Layout.of(model, [key for key in model.state_dict() if "num_batches" not in key])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    split = TensorSplit(torch.randn(300, 5), torch.zeros(300, dtype=torch.long))
    theta = layout.vector(model.state_dict()) + 0.3 * torch.rand(2, layout.dim)
    found = recalibrated(theta, model, layout, split, 128, Context(seed=0, threads=1))
    chosen = torch.randperm(300, generator=Context(seed=0).generator("recalibrate"))[:128]
    for drawn, own in zip(theta, found, strict=True):
        state, new = layout.tensors(drawn), layout.tensors(own)
        hidden = split.inputs[chosen] @ state["0.weight"].T + state["0.bias"]
        assert torch.allclose(new["1.running_mean"], hidden.mean(dim=0), atol=1e-5)
        assert torch.allclose(new["1.running_var"], hidden.var(dim=0), atol=1e-5)
        assert new["3.weight"].equal(state["3.weight"])
    assert all(value.equal(before[key]) for key, value in model.state_dict().items()) and not model.training
    plain = Layout.of(model, ["3.weight"])
    with pytest.raises(UserError, match=r"^sample\.step: recalibration needs BatchNorm statistics among"):
        recalibrated(theta[:, :6], model, plain, split, 128, Context(seed=0))
