"""Generators that are told each learnt task several times, by other examples."""

from __future__ import annotations

from dataclasses import replace

import torch

from pdiff.components import KINDS
from pdiff.context import Context
from pdiff.networks import build_network
from pdiff.testing import bench_of, tiny_splits
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.conditions.encoders.features import Features
from pdiff_plugins.conditions.generated.methods import Hypernetwork
from pdiff_plugins.conditions.shots.orders import Orders

FAMILY = Orders(ways=3)
DATA = replace(tiny_splits(input_shape=(6,), outputs=5, count=150), outputs=3, classes=5)
NET = KINDS["architecture"].model_validate({"name": "mlp", "hidden": (8,)})
TASKS = FAMILY.tasks({"learnt": 12, "held out": 8}, replace(DATA, outputs=5), torch.Generator().manual_seed(0))


def told(tellings, steps=3):
    """Return the bench, with a record of what the encoder was asked, and the generator."""
    net = build_network(NET, DATA, seed=0)
    state = {key: value.detach().clone() for key, value in net.state_dict().items()}
    layout, asked = Layout.of(net, list(state)), []
    noise_ND = 0.1 * torch.randn(12, layout.dim, generator=torch.Generator().manual_seed(1))
    rows = [{"run": run, "step": 1, "metrics": {}, "about": about} for run, about in enumerate(TASKS["learnt"])]
    zoo = Zoo(layout.vector(state) + noise_ND, layout, state, rows)

    class Recording(Features):
        """Features, and what they were asked of."""

        def encode(self, about, known, bench, ctx):
            asked.append(list(about))
            return super().encode(about, known, bench, ctx)

    bench = bench_of(zoo, NET, FAMILY, DATA, encoder=Recording(by="inputs", shots=4))
    zoo.condition_NC = bench.encode(TASKS["learnt"])
    method = Hypernetwork(per_class=True, steps=steps, tasks=6, width=32, tellings=tellings)
    return bench, asked, method.fit(zoo, bench, Context(seed=0))


def test_each_telling_is_of_the_same_tasks_by_other_examples():
    _, asked, _ = told(3)
    assert len(asked) == 3  # one for the zoo itself
    draws = {one["draw"] for abouts in asked for one in abouts}
    assert len(draws) == 36 and all(
        [a["classes"] for a in abouts] == [a["classes"] for a in asked[0]] for abouts in asked
    )
    assert len(told(1)[1]) == 1


def test_networks_for_unseen_orders_are_right_and_follow_the_order():
    bench, _, generator = told(4, steps=400)
    for about in TASKS["held out"]:
        turned = about | {"classes": about["classes"][1:] + about["classes"][:1]}
        theta_2D = generator.sample(2, bench, Context(seed=0), bench.encode([about, turned]))
        first, second = (bench.score(theta_2D[n : n + 1], [task]) for n, task in enumerate((about, turned)))
        assert first > 0.8 and torch.allclose(first, second, atol=1e-6)
