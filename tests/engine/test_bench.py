"""The bench: its services are those of the networks themselves, also through a function, and one of nothing refuses."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch.nn import functional as F

import pdiff
from pdiff.errors import UserError
from pdiff.networks import build_network
from pdiff.services import Absent
from pdiff.testing import Points, TinyNet, TinyTask, bench_of, tiny_splits, tiny_zoo

SERVICES = ("score", "measure", "measures", "predict", "log_probabilities", "build", "start", "align", "through")


@pytest.fixture(scope="module")
def bench():
    return bench_of(tiny_zoo(6), TinyNet(), TinyTask(), tiny_splits())


def logits(bench, split):
    """Return what each checkpoint puts out, one network after the other, through load_state_dict."""
    model, rows = build_network(TinyNet(), tiny_splits(), 0), []
    for theta_D in bench.zoo.theta_ND:
        model.load_state_dict(bench.zoo.state_dict(theta_D), strict=True)
        with torch.no_grad():
            rows.append(model.eval()(split.inputs))
    return torch.stack(rows)


def test_scores_measures_and_predictions_are_those_of_each_network_alone(bench):
    theta_ND, validation, test = bench.zoo.theta_ND, bench.data.validation, bench.data.test
    logits_NEK = logits(bench, validation)
    right_N = (logits_NEK.argmax(dim=2) == validation.targets).double().mean(dim=1)
    torch.testing.assert_close(bench.score(theta_ND), right_N)
    loss_N = torch.stack([F.cross_entropy(logits_EK, validation.targets) for logits_EK in logits_NEK])
    torch.testing.assert_close(bench.measure(theta_ND)["loss"], loss_N.double())
    assert bench.measures()["loss"].equal(bench.measure(theta_ND)["loss"])
    assert bench.predict(theta_ND, "test").equal(logits(bench, test).argmax(dim=2))
    assert bench.predict(theta_ND, test).equal(bench.predict(theta_ND, "test"))


def test_as_many_examples_are_read_at_once_as_asked(bench):
    test, sizes = bench.data.test, []

    class Told(type(test)):
        def batch(self, index, *more):
            sizes.append(len(index))
            return super().batch(index, *more)

    told = Told(test.inputs, test.targets)
    predictions_NE = bench.predict(bench.zoo.theta_ND, told, 7)
    assert predictions_NE.equal(bench.predict(bench.zoo.theta_ND, "test"))
    whole, rest = divmod(len(test), 7)
    assert sizes == [7] * whole + [rest] * bool(rest) and whole > 1


def test_probabilities_are_of_the_same_examples_every_time(bench):
    logp_MEK, target_E = bench.log_probabilities(bench.zoo.theta_ND, "test", 20)
    again_MEK, again_E = bench.log_probabilities(bench.zoo.theta_ND[:2], "test", 20)
    assert logp_MEK.shape == (6, 20, 3) and logp_MEK.dtype == torch.float32
    assert again_MEK.equal(logp_MEK[:2]) and again_E.equal(target_E)
    torch.testing.assert_close(logp_MEK.exp().sum(dim=2), torch.ones(6, 20), atol=1e-6, rtol=0)


def test_a_start_is_a_new_network_of_its_seed(bench):
    layout = bench.zoo.layout
    assert bench.start(3).equal(layout.vector(bench.build(3).state_dict()))
    assert not bench.start(3).equal(bench.start(4))


def test_services_through_a_function_are_of_what_it_gives(bench):
    theta_ND, split = bench.zoo.theta_ND, bench.data.validation
    through = bench.through(lambda x_MD: x_MD / 2).through(lambda x_MD: x_MD + 1)
    x_ND = 2 * theta_ND - 1
    torch.testing.assert_close(through.score(x_ND), bench.score(theta_ND))
    torch.testing.assert_close(through.measure(x_ND, "test")["loss"], bench.measure(theta_ND, "test")["loss"])
    assert through.predict(x_ND, "test").equal(bench.predict(theta_ND, "test"))
    assert through.log_probabilities(x_ND, "test", 9)[1].equal(bench.log_probabilities(theta_ND, "test", 9)[1])
    batch = split.batch(torch.arange(7), torch.device("cpu"))
    torch.testing.assert_close(through.objective.losses(x_ND, batch), bench.objective.losses(theta_ND, batch))
    assert through.measures()["loss"].equal(bench.measures()["loss"]) and through.start(3).equal(bench.start(3))
    torch.testing.assert_close(through.align(x_ND), bench.align(theta_ND))


@pytest.mark.parametrize("service", SERVICES)
def test_a_bench_of_nothing_refuses_with_its_reason(service):
    with pytest.raises(UserError, match=f"^a codec alone: there is no {service} to ask for$"):
        getattr(Absent("a codec alone"), service)
    assert hasattr(Points(tiny_zoo(2)), service), "and points have it"


def test_points_have_no_network_unless_they_are_given_one():
    for ask in (lambda bench: bench.objective, lambda bench: bench.build(0)):
        with pytest.raises(UserError, match=r"^these networks are points: there is no "):
            ask(Points(tiny_zoo(2)))


def test_a_run_is_forgotten_with_its_networks(tiny) -> None:
    """One process runs the cells of a table one after the other; a cache of a class would keep them all."""
    few = {
        "run.out": str(tiny.parent / "runs"),
        "collect.count": 4,
        "train.epochs": 1,
        "method.steps": 2,
        "baseline": [],
    }
    run = pdiff.run(tiny, set=few | {"method.batch_size": 4, "sample.count": 2}, quiet=True)
    run.networks(1)
    kept = [weakref.ref(part) for part in (run, run.pipeline, run.bench, run.pipeline.generator("pdiff"))]
    del run
    gc.collect()
    assert [part() for part in kept] == [None] * 4
