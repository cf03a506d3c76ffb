"""Prompted networks: distances with hidden units matched, and a run that is asked, judged and drawn."""

from __future__ import annotations

import functools
import itertools
from types import SimpleNamespace

import pytest
import torch

from pdiff.components import Generator
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.testing import tiny_run
from pdiff_plugins.drawing.style import looks, styled
from pdiff_plugins.gpt.prompts import distances as prompt_distances
from pdiff_plugins.gpt.prompts import figures as figures_prompts
from pdiff_plugins.gpt.prompts.findings import headline, notes
from pdiff_plugins.gpt.prompts.starts import HELD_OUT, NEW
from tests.gpt.helpers import PROMPTED

CTX = Context(seed=0)


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
    assert list(own["groups"]) == [HELD_OUT, NEW] and own["prompt_split"] == "validation"
    told = list(evaluator().findings({"prompts": scores}))
    assert told[0].headline and told[0].text == headline("gpt", own) and "loss" in told[0].text
    assert [finding.text for finding in told if finding.note] == notes("gpt", own) and len(told) == 11
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
        made.canvas.draw()
        assert {"1", "2", "3"} <= {label.get_text() for label in made.axes[0].get_xticklabels(which="both")}
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
    told = headline("gpt", own)
    assert "to not finite (best checkpoint" in told and "SGD" not in told


def test_a_run_without_prompts_is_refused(tmp_path) -> None:
    view = SimpleNamespace(generators={"noise": Generator()})
    with pytest.raises(UserError, match="no method of this run takes prompts; use method gpt"):
        evaluator().evaluate(view, CTX)


def evaluator(**options):
    from pdiff.components import KINDS

    return KINDS["evaluator"].model_validate({"name": "prompts"} | options)
