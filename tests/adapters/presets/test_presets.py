"""Text-to-LoRA and Drag-and-Drop: published sizes and shapes, and the first as a method on a small zoo."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pdiff.components import Architecture
from pdiff.context import Context
from pdiff.engine.bench import RunBench
from pdiff.errors import UserError
from pdiff.files import load_tensors, save_tensors
from pdiff.testing import bench_of, tiny_splits
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.adapters.factors import pairs
from pdiff_plugins.adapters.presets.drag_and_drop import QWEN_HALF_BILLION, DragAndDrop, tokens_of
from pdiff_plugins.adapters.presets.method import TextToLora
from pdiff_plugins.adapters.presets.published import mistral_7b, qwen_half_billion
from pdiff_plugins.adapters.presets.text_to_lora import LayerByLayer
from pdiff_plugins.adapters.selector import Lora
from pdiff_plugins.conditions.families.subsets import Subsets

CLASSES = 3
DATA = replace(tiny_splits(outputs=CLASSES, count=120), outputs=2, classes=CLASSES)
SETS = [list(s) for size in (1, 2) for s in itertools.combinations(range(CLASSES), size)]
SHORT = {"steps": 5, "tasks": 4, "batch_size": 8, "latent": 8, "head_width": 8, "ema": 0.5}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("preset", "millions"), [("l", 55), ("m", 34), ("s", 5)])
def test_text_to_lora_has_the_published_sizes(preset: str, millions: int) -> None:
    """55, 34 and 5 million, for queries and values of Mistral-7B at rank 8, told by gte-large's 1,024 numbers.

    Heads have biases here, as its code has them by the tasks' loss; without them, as there by weights, the millions
    are the same. Its commands for the last models are wider (512 and 2,048 for 128 and 512), of which it has no count.
    """
    name, layout = f"text_to_lora_{preset}", mistral_7b()
    method = TextToLora(**TextToLora.presets[name])
    with torch.device("meta"):
        module = method.module(1024, layout)
        assert module(torch.zeros(2, 1024)).shape == (2, layout.dim) == (2, 32 * 8 * (4096 * 3 + 1024))
    assert round(count(module) / 1e6) == millions
    assert round((count(module) - sum(head.bias.numel() for head in module.heads)) / 1e6) == millions


def test_drag_and_drop_writes_the_tokens_of_its_half_billion() -> None:
    """The paper tells no size of the network; what is asserted is what its shapes add up to."""
    layout = qwen_half_billion()
    tokens, height, width = QWEN_HALF_BILLION[-1]
    assert layout.dim == 4_399_104 and tokens_of(layout, width) == tokens == 4296
    assert height >= pairs(layout)[0].rank
    with torch.device("meta"):
        module = DragAndDrop()
        assert module(torch.zeros(1, *QWEN_HALF_BILLION[0])).shape == (1, 4296, 10, 130)
    along_tokens = sum(81 * n * m + m for (n, *_), (m, *_) in itertools.pairwise(QWEN_HALF_BILLION))
    assert count(module) == 1_113_203_220 and along_tokens == 1_025_860_808


def test_drag_and_drop_adds_to_what_keeps_its_shape() -> None:
    torch.manual_seed(0)
    module = DragAndDrop(((2, 6, 4), (3, 5, 4), (3, 5, 4)), kernel=3)
    x = torch.randn(2, 2, 6, 4)
    y = module.blocks[0](x)
    torch.testing.assert_close(module(x), y + module.blocks[1](y))
    plain = nn.functional.layer_norm(x, (6, 4))
    w = nn.functional.conv2d(plain.transpose(1, 3), module.blocks[0].first_w.weight, padding="same").transpose(1, 3)
    h = nn.functional.conv2d(w.transpose(1, 2), module.blocks[0].then_h.weight, padding="same").transpose(1, 2)
    g = nn.functional.conv2d(plain.transpose(1, 2), module.blocks[0].first_h.weight, padding="same").transpose(1, 2)
    g = nn.functional.conv2d(g.transpose(1, 3), module.blocks[0].then_w.weight, padding="same").transpose(1, 3).tanh()
    torch.testing.assert_close(y, module.blocks[0].tokens((h + g + module.blocks[0].bias) / 3))


class Deep(Architecture):
    """Perceptron whose middle layers are alike."""

    name = "deep_perceptron"

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        sizes = [2, 6, 6, 6]
        layers = [module for a, b in itertools.pairwise(sizes) for module in (nn.Linear(a, b), nn.Tanh())]
        return nn.Sequential(*layers, nn.Linear(6, outputs))


def small_zoo() -> tuple[Zoo, RunBench]:
    """Return adapters of one network, one for each task, and the services that a run would give."""
    torch.manual_seed(0)
    model, selector = Deep().build(input_shape=(2,), outputs=2), Lora(rank=2, biases=True)
    selector.extend(model)
    layout = Layout.of(model, selector.select(model))
    theta_ND = layout.vector(model.state_dict()) + 0.3 * torch.randn(len(SETS), layout.dim)
    rows = [{"run": n, "step": 1, "metrics": {}, "about": {"classes": classes}} for n, classes in enumerate(SETS)]
    told_NC = torch.tensor([[float(c in classes) for c in range(CLASSES)] for classes in SETS])
    zoo = Zoo(theta_ND, layout, {k: v.clone() for k, v in model.state_dict().items()}, rows, condition_NC=told_NC)
    return zoo, replace(bench_of(zoo, Deep(), Subsets(), DATA), selector=selector)


@pytest.mark.parametrize("heads", ["layer", "factor", "row"])
def test_layers_that_are_alike_share_a_head_and_every_number_is_written(heads: str) -> None:
    zoo, _ = small_zoo()
    module = LayerByLayer(CLASSES, zoo.layout, heads, 8, 8)
    assert len(module.heads) == 3  # the first, the two alike, the last
    module.begin(torch.zeros(zoo.layout.dim), torch.ones(zoo.layout.dim), zoo.condition_NC)
    assert (module(zoo.condition_NC) == 0).all()
    for layer in (*module.heads, module.others):
        nn.init.normal_(layer.weight)
    said_ND = module(zoo.condition_NC)
    assert said_ND.shape == zoo.theta_ND.shape and (said_ND.std(dim=0) > 0).all()
    assert sum(entry.key.endswith("bias") for entry in zoo.layout.entries) == 4


@pytest.mark.parametrize("options", [{"heads": "layer"}, {"heads": "factor"}, {"heads": "row", "loss": "weights"}])
def test_what_is_stored_writes_the_same_networks(options: dict[str, Any], tmp_path: Path) -> None:
    zoo, bench = small_zoo()
    method = TextToLora(**SHORT | options)
    fitted = method.fit(zoo, bench, Context(seed=3))
    save_tensors(tmp_path / "fitted.safetensors", fitted.tensors())
    again = method.load(load_tensors(tmp_path / "fitted.safetensors"), zoo, bench, Context(seed=3))
    told_MC = zoo.condition_NC[[1, 4]]
    ours, theirs = (one.sample(2, bench, Context(seed=9), told_MC) for one in (fitted, again))
    assert torch.equal(ours, theirs) and ours.shape == (2, zoo.layout.dim)
    assert not torch.equal(ours[0], ours[1]) and not torch.equal(ours[0], zoo.base)


def test_by_the_tasks_loss_it_learns_them_and_by_weights_the_zoos_own() -> None:
    zoo, bench = small_zoo()
    long = SHORT | {"steps": 300, "latent": 32, "head_width": 32, "lr": 1e-2, "ema": 0.9, "batch_size": 32}
    about = [row["about"] for row in zoo.rows]
    before = float(bench.score(zoo.base.expand(len(zoo), -1), about).mean())
    learnt = TextToLora(**long).fit(zoo, bench, Context(seed=0)).sample(6, bench, Context(seed=1), zoo.condition_NC)
    assert float(bench.score(learnt, about).mean()) > before + 0.2
    close = TextToLora(**long, loss="weights").fit(zoo, bench, Context(seed=0))
    said_ND = close.sample(6, bench, Context(seed=1), zoo.condition_NC)
    assert (said_ND - zoo.theta_ND).square().mean() < 0.1 * (zoo.base - zoo.theta_ND).square().mean()


def test_a_selection_without_adapters_is_refused_before_anything_is_done() -> None:
    lacks: list[str] = []
    recipe = SimpleNamespace(selector=SimpleNamespace(extends=False), encoder=None)
    TextToLora().foresee(SimpleNamespace(recipe=recipe, lacks=lacks.append))  # type: ignore[arg-type]
    assert "writes adapters of layers; use selector.name = 'lora'" in lacks[0]
    layout = Layout.of(nn.Linear(2, 3), ["weight"])
    with pytest.raises(UserError, match=r"method text_to_lora: the selection holds no adapters"):
        TextToLora().module(3, layout)
