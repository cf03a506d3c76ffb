"""Prompts: generators whose answers are known, distances with hidden units matched, what gradients make of a start."""

from __future__ import annotations

import functools
import itertools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdiff.components import Generator
from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.errors import UserError
from pdiff.testing import tiny_run
from pdiff_plugins.drawing.style import looks, styled
from pdiff_plugins.gpt.prompts import distances as prompt_distances
from pdiff_plugins.gpt.prompts import figures as figures_prompts
from pdiff_plugins.gpt.prompts import gradients as prompt_baselines
from pdiff_plugins.gpt.prompts import probes as prompt_probes
from pdiff_plugins.gpt.prompts.asking import Asker
from pdiff_plugins.gpt.prompts.findings import headline, notes, warnings
from pdiff_plugins.gpt.prompts.starts import HELD_OUT, NEW, Starts, unseen
from pdiff_plugins.gpt.prompts.sweep import agreement, at_best, evenly, r_squared, sweep
from pdiff_plugins.reports.findings import findings
from tests.components.test_components import PROMPTED

CTX = Context(seed=0)
RANGE = {"lower": (0.1, 3.0), "higher": (20.0, 500.0)}


class Known(Generator):
    """Networks of one parameter, which is their metric; `answer` gives it from (start's, wanted, place), `[M]` each."""

    metric = "known"

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def prompted(self, start_MD, measure_M, wanted_M, ctx):
        place_M = torch.arange(len(wanted_M), dtype=torch.float64)
        return self.answer(measure_M, wanted_M, place_M)[:, None].double()


OBEDIENT = Known(lambda start, wanted, place: wanted)


def asker_of(generator, better="lower", losses=None):
    """Return an asker of networks whose metric is their first parameter, with a zoo of 30 of them."""
    own = torch.linspace(*RANGE[better], 30, dtype=torch.float64)
    rows = [{"run": run, "step": step, "metrics": {}} for run in range(10) for step in range(3)]
    view = SimpleNamespace(
        selection="validation", zoo=SimpleNamespace(theta_ND=own[:, None], rows=rows),
        measures=lambda: {"known": own}, measure=lambda theta_MD, split: {"known": theta_MD[:, 0]},
        generators={"fake": generator}, targets=lambda split: None,
        predict_networks=lambda theta_MD, split: theta_MD[:, 0],
        recipe=SimpleNamespace(task=SimpleNamespace(measures={"known": better}, score=lambda own, targets: own)),
        objective=SimpleNamespace(
            losses=losses, split=SimpleNamespace(__len__=lambda: 1, batch=lambda index, device: None),
            batch=lambda *arguments: None,
        ),
    )  # fmt: skip
    return Asker.of(view, "fake")


def starts_of(better="lower"):
    worst = RANGE[better][better == "lower"]
    theta = worst + torch.linspace(-0.02, 0.02, 12, dtype=torch.float64)[:, None] * worst
    return Starts({NEW: theta}, None)


def test_r_squared_of_exact_answers_is_one_and_of_constants_at_most_zero() -> None:
    asked = torch.linspace(0, 2, 5, dtype=torch.float64).repeat(3, 1)
    assert r_squared(asked, asked).tolist() == [1, 1, 1]
    assert (r_squared(asked, torch.full_like(asked, 1.0)) == 0).all()
    assert (r_squared(asked, torch.full_like(asked, 0.4)) < 0).all()
    assert r_squared(torch.ones(1, 4), torch.ones(1, 4)).isnan().all()


@settings(max_examples=20, deadline=None)
@given(st.floats(-500, 500), st.lists(st.floats(-500, 500), min_size=1, max_size=4), st.integers(2, 20))
def test_prompts_go_evenly_from_the_best_to_the_starts_own(best, own, count) -> None:
    wanted_MP = evenly(best, torch.tensor(own, dtype=torch.float64), count)
    assert wanted_MP.shape == (len(own), count) and (wanted_MP[:, 0] == best).all()
    assert wanted_MP[:, -1].tolist() == pytest.approx(own, abs=1e-9)
    gaps = wanted_MP.diff(dim=1)
    assert torch.allclose(gaps, gaps[:, :1].expand_as(gaps), atol=1e-9)


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_one_that_gives_what_is_asked_for(better) -> None:
    asker, starts = asker_of(OBEDIENT, better), starts_of(better)
    own, best_MD = sweep(asker, starts, 20, CTX)
    assert own["best"] == RANGE[better][better == "higher"] and (best_MD == own["best"]).all()
    right = dict.fromkeys(("r2", "r2_median", "pearson", "spearman"), 1) | {"diverged": 0, "left_out": 0}
    assert own["test"] == pytest.approx(right)
    assert own["within"] == 1 and abs(own["shuffled"]) < 0.2
    assert own["real"]["r2"] > 0.99, "the zoo holds networks of every metric"
    best = at_best(asker, starts.theta_MD, best_MD)
    assert [best["metric"], best["zoo"]["metric"]] == pytest.approx([own["best"]] * 2) and best["std"] < 1e-9


def test_one_that_ignores_prompts_is_found() -> None:
    constant = Known(lambda start, wanted, place: torch.full_like(wanted, 1.5))
    own, _ = sweep(asker_of(constant), starts_of(), 20, CTX)
    assert own["test"]["r2"] < 0.01 and own["test"]["pearson"] is None and own["shuffled"] is None
    by_place = Known(lambda start, wanted, place: 0.1 + 2.9 * (place % 20) / 19)
    own, _ = sweep(asker_of(by_place), starts_of(), 20, CTX)
    assert own["test"]["pearson"] > 0.99 and own["shuffled"] > 0.99
    scores = own | {"best_prompt": {"metric": 0.2}, "gradient": {"gradient": {"metric": 0.1}, "sign": {"metric": 1.0}}}
    assert [said.split(" ")[1:3] for said in warnings(scores)] == [["a", "single"], ["given", "the"]]


def test_updates_one_after_the_other_stop_where_they_do_harm() -> None:
    overshooting = Known(lambda start, wanted, place: torch.where(start > 1, 0.5, 4 * start))
    own = prompt_probes.probes(asker_of(overshooting), starts_of().theta_MD, 3, 4, CTX)
    assert [round(row["metric"], 6) for row in own["recursion"]["after"]] == [3, 0.5, 2, 0.5]
    assert own["recursion"]["stop"] == 1
    assert own["foreign"]["after"][0]["metric"] == pytest.approx(6)
    assert own["repeats"]["apart"] == 0 and own["repeats"]["moved"] > 2


def test_no_prompt_beyond_the_zoo_is_nonsense() -> None:
    assert prompt_probes.beyond(asker_of(OBEDIENT, "lower")) == [0.0]
    assert prompt_probes.beyond(asker_of(OBEDIENT, "higher")) == [620.0, 740.0]


def test_a_network_that_diverged_is_worst() -> None:
    asker = asker_of(Known(lambda start, wanted, place: torch.where(place == 3, torch.nan, wanted)))
    own, _ = sweep(asker, starts_of(), 5, CTX)
    assert own["groups"][NEW]["got"][0][3] is None and own["test"]["r2"] == pytest.approx(1)
    assert own["test"]["pearson"] == pytest.approx(1) and own["test"]["spearman"] == pytest.approx(1)
    assert own["test"]["diverged"] == 1 and own["test"]["left_out"] == 1
    scores = own | {"best_prompt": {"metric": 0.1}, "gradient": {"gradient": {"metric": 1.0}, "sign": {"metric": 1.0}}}
    assert "warning: 1 of 60 networks diverged; 1 of 12 starts, which have them, are left out of R2" in warnings(scores)
    assert asker.cost(torch.tensor([1.0, torch.nan])).tolist() == [1.0, torch.inf]
    assert not asker.as_good(None, 2.0) and asker.as_good(2.0, None)


def test_where_all_diverge_nothing_agrees() -> None:
    own = agreement(torch.linspace(0, 2, 5).repeat(3, 1), torch.full((3, 5), torch.inf))
    assert own == dict.fromkeys(("r2", "r2_median", "pearson", "spearman")) | {"diverged": 15, "left_out": 3}


@pytest.mark.parametrize(
    ("prompted", "said"),
    [(8.9, "are near-copies: they lie nearer to a training network than unseen runs do"),
     (9.9, "lie a little nearer to a training network than unseen runs do"),
     (10.1, "lie as far from training networks as unseen runs do")],
)  # fmt: skip
def test_how_near_networks_lie_is_always_said(prompted, said) -> None:
    own, _ = sweep(asker_of(OBEDIENT), starts_of(), 3, CTX)
    row = {"metric": 0.1, "score": None}
    own |= {
        "best_prompt": row | {"zoo": row, "starts": row},
        "gradient": {"gradient": {"metric": 1}, "sign": {"metric": 1}},
        "nearest": {"matched": True, "prompted": {"matched": prompted}, "unseen": {"matched": 10, "matched std": 0.3}},
    }  # fmt: skip
    whole = f"prompted networks {said} ({prompted} against 10, standard deviation 0.3)"
    assert whole in headline("fake", own) and (f"warning: {whole}" in headline("fake", own)) == (prompted < 9)


def test_whole_trainings_are_no_yardstick_for_their_spread() -> None:
    networks = {
        name: {"accuracy": {"mean": mean, "std": 0.1, "best": mean, "values": [mean]}}
        for name, mean in (("original", 0.5), ("gpt", 0.9))
    }
    scores = {"main": "accuracy", "method": "gpt", "selection": "validation", "networks": networks}
    assert "standard deviation" in " ".join(findings(scores))
    assert "standard deviation" not in " ".join(findings(scores | {"facts": {"gpt": {"metric": "loss"}}}))


def test_starts_are_of_runs_that_no_method_has_seen() -> None:
    rows = [{"run": run, "step": step} for run, step in [(5, 0), (5, 8), (7, 0), (7, 8), (2, 8)]]
    view = SimpleNamespace(
        zoo=SimpleNamespace(rows=[{"run": 2, "step": 0}, {"run": 1, "step": 0}]), holdout_rows=rows,
        holdout=torch.arange(5.0)[:, None], start=lambda seed: torch.tensor([seed % 1000.0]),
    )  # fmt: skip
    starts = unseen(view, 3, CTX)
    assert starts.groups[HELD_OUT].tolist() == [[0], [2]] and starts.last_MD.tolist() == [[1], [3]]
    assert len(starts.groups[NEW].unique()) == 3 and starts.parts() == {HELD_OUT: slice(0, 2), NEW: slice(2, 5)}


def square(theta_MD, batch):
    return theta_MD.square().sum(dim=1)


def unmapped(theta_MD, batch):
    return square(theta_MD, batch) * (1 if float(theta_MD.detach().sum()) < 1e9 else 0)


@pytest.mark.parametrize("losses", [square, unmapped])
def test_gradients_of_networks_together_are_each_ones_own(losses) -> None:
    theta_MD = torch.tensor([[1.0, -2.0], [0.0, 3.0], [5.0, 0.5]])
    assert torch.allclose(prompt_baselines.gradients(SimpleNamespace(losses=losses), theta_MD, None), 2 * theta_MD)


def regression(theta_MD, batch):
    return torch.stack([(batch.inputs @ theta_D - batch.targets).square().mean() for theta_D in theta_MD])


def test_gradients_of_a_split_are_summed_over_its_batches(monkeypatch) -> None:
    x_ED, y_E, theta_MD = torch.randn(300, 2), torch.randn(300), torch.randn(3, 2)
    split, sizes = TensorSplit(x_ED, y_E), []

    def losses(theta_MD, batch):
        sizes.append(len(batch.targets))
        return regression(theta_MD, batch)

    exact_MD = 2 / 300 * (theta_MD @ x_ED.T - y_E) @ x_ED
    for at_once in (prompt_baselines.AT_ONCE, 1):
        monkeypatch.setattr(prompt_baselines, "AT_ONCE", at_once)
        own_MD = prompt_baselines.whole_gradients(SimpleNamespace(losses=losses), theta_MD, split, torch.device("cpu"))
        assert torch.allclose(own_MD, exact_MD, atol=1e-5) and max(sizes) == 128
    few, many = (
        prompt_baselines.kept(SimpleNamespace(losses=regression), theta_MD, split.batch(torch.arange(count), None))
        for count in (10, 100)
    )
    assert many - few >= 3 * 90, "the errors of 3 networks on 90 more examples"


def test_memory_that_runs_out_is_no_loss_without_vmap() -> None:
    def losses(theta_MD, batch):
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        prompt_baselines.gradients(SimpleNamespace(losses=losses), torch.ones(2, 2), None)


def test_what_gradients_reach_and_when() -> None:
    def losses(theta_MD, batch):
        return 0.5 * (theta_MD - 0.1).square().sum(dim=1)

    asker, start_MD = asker_of(OBEDIENT, losses=losses), torch.full((4, 1), 3.0)
    prompted_MD = torch.full((4, 1), 1.0)
    own = prompt_baselines.curves(asker, start_MD, prompted_MD, 2, 30, 8, CTX)
    assert own["start"] == 3 and own["prompted"] == 1 and own["networks"] == 2
    assert own["steps"][0] == 1 and own["steps"][-1] == 30 and own["steps"] == sorted(set(own["steps"]))
    for curve in (own["sgd"], own["adam"]):
        before = [m for step, m in zip(own["steps"], curve["metric"], strict=True) if step < curve["reached"]]
        assert all(metric > 1 for metric in before)
    assert own["adam"]["rate"] == 0.1, "whose first steps, of its rate each, go furthest"
    assert own["adam"]["metric"][0] == pytest.approx(2.9, abs=1e-3)
    never = prompt_baselines.curves(asker, start_MD, torch.full((4, 1), -50.0), 2, 5, 8, CTX)
    assert never["sgd"]["reached"] is None


def test_one_step_takes_the_best_rate() -> None:
    asker = asker_of(OBEDIENT, losses=lambda theta_MD, batch: theta_MD.square().sum(dim=1) / 2)
    asker.view.bench.objective.split = TensorSplit(torch.zeros(7, 1), torch.zeros(7))
    own = prompt_baselines.one_step(asker, torch.full((2, 1), 3.0), 0, CTX)
    assert own["gradient"]["rate"] == 100 and own["sign"]["metric"] == pytest.approx(3 - 100)
    assert own["gradient"]["examples"] == 7


@functools.cache
def perceptron(*hidden):
    return Perceptron(*hidden)


class Perceptron(SimpleNamespace):
    """A perceptron of `hidden` units per layer, with its layout and symmetry, and some of its networks."""

    def __init__(self, *hidden):
        from pdiff.zoo import Layout
        from pdiff_plugins.networks.nets.minis import mlp
        from pdiff_plugins.symmetry.permutations import Symmetry

        torch.manual_seed(0)
        model = mlp((2,), hidden, 2, "relu")
        layout = Layout.of(model, list(model.state_dict()))
        symmetry = Symmetry.of(model, torch.zeros(2, 2)).within(layout.keys)
        super().__init__(layout=layout, symmetry=symmetry, theta_ND=torch.randn(6, layout.dim))

    def permuted(self, theta_D, order):
        return self.layout.vector(self.symmetry.permuted(self.layout.tensors(theta_D), order))

    def matched(self, theta_MD):
        return prompt_distances.matched(theta_MD, self.theta_ND, self.symmetry, self.layout, CTX)


@pytest.mark.parametrize("hidden", [(4,), (4, 3)])
def test_a_reordered_copy_is_no_new_network(hidden) -> None:
    net = perceptron(*hidden)
    order = [torch.arange(size).flip(0) for size in net.symmetry.sizes]
    copies_MD = torch.stack([net.permuted(theta_D, order) for theta_D in net.theta_ND])
    assert net.matched(copies_MD).abs().max() < 1e-5
    assert torch.cdist(copies_MD, net.theta_ND).min() > 0.5


def test_the_nearest_of_one_hidden_layer_is_exact() -> None:
    net = perceptron(4)
    theta_MD = torch.randn(4, net.layout.dim, generator=torch.Generator().manual_seed(1))
    orders = list(itertools.permutations(range(4)))
    every_MKD = torch.stack([torch.stack([net.permuted(x, [torch.tensor(o)]) for o in orders]) for x in theta_MD])
    brute_M = torch.cdist(every_MKD.flatten(0, 1), net.theta_ND).unflatten(0, (4, 24)).amin(dim=(1, 2))
    assert net.matched(theta_MD).tolist() == pytest.approx(brute_M.tolist(), rel=1e-5)
    searched_M = prompt_distances._searched(theta_MD, net.theta_ND, net.symmetry, net.layout, CTX)
    assert (searched_M >= brute_M - 1e-5).all() and searched_M.min() < 1.3 * brute_M.min()


def test_a_run_is_asked_judged_and_drawn(tmp_path) -> None:
    view = tiny_run(tmp_path, **PROMPTED).view()
    small = {"starts": 2, "prompts": 3, "optimizer_steps": 3, "repeats": 2, "grid": 3, "gradient_examples": 9}
    scores = evaluator(**small).evaluate(view, CTX)
    own = scores["of"]["gpt"]
    assert list(own["groups"]) == [HELD_OUT, NEW] and own["prompt split"] == "validation"
    assert scores["headline"] == headline("gpt", own) and "loss" in scores["headline"]
    assert len(notes("gpt", own)) == 10
    near = own["nearest"]["prompted"]
    assert near["matched"] <= near["raw"] + 1e-5
    assert len(own["plane"]["values"]) == 3 and len(own["plane"]["pairs"]) == 4
    view.scores = {"prompts": scores}
    with styled():
        for draw in ("asked_and_got", "beside_gradients", "plane", "recursion"):
            _, caption = getattr(figures_prompts, draw)(view, looks(["original", "gpt"], "gpt"))
            assert caption.endswith(".")
        made, _ = figures_prompts.beside_gradients(view, looks(["original", "gpt"], "gpt"))
        assert "one step, 9 examples" in made.axes[0].get_legend_handles_labels()[1]
        own["plane"]["values"] = [[None] * 3] * 3
        assert figures_prompts.plane(view, looks(["original", "gpt"], "gpt")) is None


def test_a_network_that_is_not_finite_is_left_out_of_distances(tmp_path) -> None:
    view = tiny_run(tmp_path, **PROMPTED).view()
    trained = view.generators["gpt"]

    def answer(start_MD, *others):
        got_MD = trained.prompted(start_MD, *others)
        got_MD[0] = torch.nan
        return got_MD

    view.generators["gpt"] = SimpleNamespace(metric="loss", prompted=answer)
    small = {"starts": 2, "prompts": 2, "optimizer_steps": 1, "repeats": 2, "grid": 2}
    scores = evaluator(**small).evaluate(view, CTX)
    own = scores["of"]["gpt"]
    assert own["nearest"]["prompted"]["matched"] > 0 and len(own["plane"]["pairs"]) == 3
    assert "to not finite (best checkpoint" in scores["headline"] and "SGD" not in scores["headline"]


def test_a_run_without_prompts_is_refused(tmp_path) -> None:
    view = SimpleNamespace(generators={"noise": Generator()})
    with pytest.raises(UserError, match="no method of this run takes prompts; use method gpt"):
        evaluator().evaluate(view, CTX)


def evaluator(**options):
    from pdiff.components import KINDS

    return KINDS["evaluator"].model_validate({"name": "prompts"} | options)
