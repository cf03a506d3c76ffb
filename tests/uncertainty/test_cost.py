"""What sources cost: counted by a split that notes what is read of it, and put together by hand."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from pdiff.components import Train
from pdiff.context import Context
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.testing import TinyNet, TinyTask, bench_of, tiny_splits
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.baselines.plain import Base, Soup
from pdiff_plugins.batches import examples_read
from pdiff_plugins.bayes.trainings.methods import DeepEnsemble, Lone
from pdiff_plugins.collectors.folder.collector import Folder
from pdiff_plugins.collectors.seeds.collector import Seeds
from pdiff_plugins.collectors.tasks.collector import Tasks
from pdiff_plugins.collectors.trajectory import Trajectory
from pdiff_plugins.conditions.families.subsets import Subsets
from pdiff_plugins.fields.collector import Fields
from pdiff_plugins.uncertainty.cost import Cost, costs, seconds

CTX = Context(seed=3, threads=1)


class Spy(TensorSplit):
    """Counts the examples of batches that are to train something."""

    read = 0

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None):
        Spy.read += len(index) * (augment is not None)
        batch = super().batch(index, device, augment)
        return batch if augment is None else type(batch)(batch.inputs + 0.01, batch.targets)


@pytest.fixture
def data(request: pytest.FixtureRequest) -> DatasetSplits:
    """So many training examples, 50 by default."""
    Spy.read, count = 0, getattr(request, "param", 50)
    splits = tiny_splits(count=count)
    return replace(splits, train=Spy(splits.train.inputs, splits.train.targets))


def bench_for(data: DatasetSplits, train: Train):
    torch.manual_seed(0)
    model = TinyNet().build(input_shape=(2,), outputs=3)
    layout = Layout.of(model, list(model.state_dict()))
    bench = bench_of(Zoo.of_one(model.state_dict(), layout), TinyNet(), TinyTask(), data)
    return model, replace(bench, training=train)


@pytest.mark.parametrize("data", [48, 50, 60], indirect=True)
@pytest.mark.parametrize(
    "collector",
    [
        Trajectory(lr=0.01, count=7, batch_size=16), Trajectory(lr=0.01, count=3, every=3, skip_steps=2, batch_size=16),
        Trajectory(lr=0.01, count=4, batch_size=16, skip_first_batch=True, batch_norm="train"),
        Trajectory(lr=0.01, count=4, batch_size=100), Seeds(count=3, steps=11, lr=0.01, batch_size=16, augment=True),
    ],
    ids=["each", "some", "not the first", "whole", "seeds"],
)  # fmt: skip
def test_a_collector_knows_what_it_reads(collector, data: DatasetSplits) -> None:
    model, bench = bench_for(data, Train())
    said = collector.examples(len(data.train))
    collector.collect(
        copy.deepcopy(model), data=data, task=TinyTask(), layout=bench.zoo.layout, bench=bench, ctx=CTX
    )  # fmt: skip
    assert said == Spy.read > 0


@pytest.mark.parametrize("method", [DeepEnsemble(count=3), Lone(trainings=(2.0,))], ids=lambda method: method.name)
def test_a_training_tells_what_it_reads(method, data: DatasetSplits) -> None:
    _, bench = bench_for(data, TRAIN)
    facts = method.fit(bench.zoo, bench, CTX).facts
    looked_at = len(data.train) if isinstance(method, DeepEnsemble) else 0
    assert Spy.read == facts["examples"] + looked_at, "once to see whether the training transform changes anything"


def test_an_example_that_is_left_over_ends_an_epoch() -> None:
    assert [examples_read(33, 16, steps) for steps in (1, 2, 3, 4)] == [16, 32, 33, 49]
    assert [examples_read(10, 16, steps) for steps in (1, 2)] == [10, 20]


def test_tasks_that_are_counted_are_those_of_all_parts() -> None:
    own = {"steps": 5, "lr": 0.01, "batch_size": 20, "learnt": 3}
    assert Tasks(**own).examples(60) == 3 * 100
    assert Tasks(**own, held_out=2, hard=1, check=2).examples(60) == 6 * 100 + 2 * 200
    started = Tasks(**own, start="multitask", start_steps=4, start_batch=10)
    assert started.examples(60) == 3 * 100 + 40
    assert Tasks(**own | {"learnt": 0}).examples(60) is None


def test_what_cannot_be_known_is_not_guessed() -> None:
    assert Fields(shapes=3, steps=5, points=16, near=0).examples(100) == 4 * 5 * 16
    assert Fields(shapes=3, steps=5, points=16, near=0, start="shared").examples(10) == 3 * 5 * 10
    assert Fields(steps=5, near=0).examples(100) is None and Fields(shapes=3).examples(100) is None
    assert Folder(path="checkpoints").examples(100) is None


def viewed(data: DatasetSplits, train: Train, collector, methods: dict, weights: str = "", told: dict | None = None):
    """Return what `costs` reads of a run."""
    _, bench = bench_for(data, train)
    generators = {source: method.fit(bench.zoo, bench, CTX) for source, method in methods.items()}
    for source, facts in (told or {}).items():
        generators[source], methods[source] = SimpleNamespace(facts=facts), Soup()
    setup = SimpleNamespace(train=train, collect=collector, architecture=SimpleNamespace(weights=weights))
    theta = dict.fromkeys(["original", *generators], torch.empty(0))
    return SimpleNamespace(recipe=setup, bench=bench, theta=theta, generators=generators, methods=methods)


TRAIN, COLLECTED = Train(epochs=4, batch_size=16, lr=0.01), Trajectory(lr=0.01, count=8, batch_size=25)
OWN = {"from one": {"begins": "one", "examples": 300}, "trained": {"examples": 100}, "silent": {"examples": None}}


def test_a_row_costs_what_it_begins_from_and_what_it_reads(data: DatasetSplits) -> None:
    methods = {"soup": Soup(), "base": Base(), "deep_ensemble": DeepEnsemble(count=3)} | Lone(
        trainings=(1.0, 2.5)
    ).variants()
    known = costs(viewed(data, TRAIN, COLLECTED, methods, told=OWN))
    collected = 8 * 25 / 200
    assert {source: cost.trainings for source, cost in known.items()} == {
        "original": 1 + collected, "soup": 1 + collected, "base": 1, "deep_ensemble": 3, "lone 1x": 1, "lone 2.5x": 2.5,
        "from one": 2.5, "trained": 1 + collected + 0.5, "silent": None,
    }  # fmt: skip
    assert known["trained"].why == "base network 1 + checkpoints 1 + its own 0.5"


def test_a_training_is_as_long_as_is_usual_whatever_else_was_trained(data: DatasetSplits) -> None:
    methods = (DeepEnsemble(count=4, trainings=0.25), DeepEnsemble(count=2), Lone(trainings=(2.0,)))
    ensembles = {label: method for several in methods for label, method in several.variants().items()}
    known = costs(viewed(data, TRAIN, COLLECTED, ensembles))
    assert {source: cost.trainings for source, cost in known.items() if source in ensembles} == {
        "deep_ensemble 0.25x": 1, "deep_ensemble": 2, "lone 2x": 2,
    }  # fmt: skip


@pytest.mark.parametrize(("kept", "own"), [(None, 2.0), (4, 2.0), (2, 4.0)])
def test_of_networks_trained_one_by_one_those_of_a_row_cost(data: DatasetSplits, kept: int | None, own: float) -> None:
    """Four were trained, of which some may have diverged, and two are in the row."""
    facts = {"each": 200, "examples": 800} | ({"networks": kept} if kept else {})
    told = {
        "new": facts | {"begins": "nothing"},
        "at the base": facts | {"begins": "one"},
        "together": {"examples": 800},
    }
    known = costs(viewed(data, TRAIN, COLLECTED, {}, told=told), dict.fromkeys(told, 2))
    assert known["new"] == Cost(own, f"its own {own:g}")
    assert known["at the base"] == Cost(1 + own, f"base network 1 + its own {own:g}")
    assert known["together"].trainings == 2 + 4


def test_a_training_is_a_whole_one_whatever_comes_first(data: DatasetSplits) -> None:
    """A shorter deep ensemble that came first made all costs a multiple of what they are."""
    short, whole = (DeepEnsemble(count=2, trainings=factor) for factor in (0.5, 1))
    known = costs(viewed(data, TRAIN, COLLECTED, {"deep_ensemble 0.5x": short, "deep_ensemble": whole}))
    assert known["deep_ensemble 0.5x"].trainings == 1 and known["deep_ensemble"].trainings == 2
    alone = costs(viewed(data, TRAIN, COLLECTED, {"deep_ensemble 0.5x": short, "base": Base()}))
    assert alone["deep_ensemble 0.5x"].trainings == 1 and alone["base"].trainings == 1
    new = costs(viewed(data, Train(), COLLECTED, {"d": DeepEnsemble(count=2, trainings=0.5, epochs=4, lr=0.01)}))
    assert new["d"].trainings == 1


def test_published_weights_cost_nothing_and_it_is_said(data: DatasetSplits) -> None:
    ensemble = {"deep_ensemble": DeepEnsemble(count=2, epochs=2, lr=0.01, start="base")}
    known = costs(viewed(data, Train(), COLLECTED, ensemble, "pretrained"))
    assert known["deep_ensemble"].trainings == 2 and known["original"].trainings == 8 * 25 / 100
    assert all(cost.why.endswith("; published weights cost nothing here") for cost in known.values())


def test_where_no_training_or_no_checkpoint_is_known_it_is_said(data: DatasetSplits) -> None:
    nothing = costs(viewed(data, Train(), COLLECTED, {"soup": Soup()}))
    assert nothing["soup"].trainings is None and "no training is known" in nothing["soup"].why
    elsewhere = costs(viewed(data, TRAIN, Folder(path="checkpoints"), {"base": Base(), "soup": Soup()}))
    assert elsewhere["soup"] == Cost(None, "the checkpoints were made elsewhere")
    assert elsewhere["base"] == Cost(1.0, "base network 1")


def test_seconds_are_of_what_a_row_begins_from_and_of_its_own_fit() -> None:
    took = {
        "train": 1.0,
        "collect": 2.0,
        "fit a": 4.0,
        "fit b": 8.0,
        "fit c": 16.0,
        "sample a": 32.0,
        "evaluate x": 64.0,
    }
    facts = {"a": {}, "b": {"begins": "one"}, "c": {"begins": "nothing"}}
    facts |= {"d": {"begins": "nothing", "each": 100}, "e": {"begins": "nothing", "each": 100, "networks": 8}}
    rows = {source: {"count": 4, "uncertainty": {"members": 3}} for source in ("original", *facts)}
    scores = {"seconds": took | {"fit d": 8.0, "fit e": 8.0}, "facts": facts, "networks": rows}
    assert seconds(scores) == {"original": 3.0, "a": 7.0, "b": 9.0, "c": 16.0, "d": 6.0, "e": 3.0}


def test_a_family_is_refused_before_anything_is_trained() -> None:
    recipe = SimpleNamespace(task=Subsets(), train=TRAIN, architecture=SimpleNamespace(weights=""))
    said: list[str] = []
    Lone().foresee(SimpleNamespace(recipe=recipe, key="baseline[0]", lacks=said.append))
    assert len(said) == 1 and said[0].startswith("baseline[0]: lone trains all networks for one thing")
