"""BERT and its word pieces: torch's own transformer, padding, many networks at once, and the published model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pdiff.context import Context
from pdiff.data import Batch
from pdiff.zoo import Layout
from pdiff_plugins.adapters.selector import Lora
from pdiff_plugins.collectors.seeds.network import Network
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.populations.parting import Parted
from pdiff_plugins.texts.nets.bert import Bert, Classifier, Size, in_groups
from pdiff_plugins.texts.nets.wordpiece import tokens, words

VOCABULARY = {
    word: number for number, word in enumerate(["[CLS]", "[SEP]", "[UNK]", "un", "##aff", "##able", "a", ","])
}
F, L = 8, 5
SIZE = Size(vocabulary=20, width=F, layers=2, heads=2, inner=16, positions=10)


def test_words_are_as_uncased_bert_splits_them():
    assert words("Ärger, naïve\tCAFÉ!\x00 x\u200by") == ["arger", ",", "naive", "cafe", "!", "xy"]
    assert words("東京タワー $5+3") == ["東", "京", "タワー", "$", "5", "+", "3"]
    assert words("ΟΔΟΣ İ") == ["οδοσ", "i"]


def test_pieces_are_the_longest_from_the_left():
    def of(text, most=9):
        return tokens(text, VOCABULARY, most)

    assert of("Unaffable, a") == [0, 3, 4, 5, 7, 6, 1]
    assert of("unb a") == [0, 2, 6, 1]
    assert of("a" * 101) == [0, 2, 1]
    assert of("a a a a", most=4) == [0, 6, 6, 1] and of("") == [0, 1]


def small_bert():
    """Return a BERT with the weights of torch's own transformer of two layers, and that transformer."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(F, 2, 16, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True)
    module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    state = {"embeddings.LayerNorm.weight": torch.ones(F), "embeddings.LayerNorm.bias": torch.zeros(F)}
    for table, count in (("word", 20), ("position", 10), ("token_type", 2)):
        state[f"embeddings.{table}_embeddings.weight"] = torch.randn(count, F)
    renamed = {
        "self_attn.out_proj": "attention.output.dense", "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense", "linear2": "output.dense", "norm2": "output.LayerNorm",
    }  # fmt: skip
    for key, value in module.state_dict().items():
        _, number, rest = key.split(".", 2)
        name, _, what = rest.rpartition(".")
        if name in renamed:
            state[f"encoder.layer.{number}.{renamed[name]}.{what}"] = value
        else:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                state[f"encoder.layer.{number}.attention.self.{part}.{what.removeprefix('in_proj_')}"] = third
    bert = Bert(SIZE)
    bert.load_state_dict(state)
    return bert.eval(), module


def test_the_network_is_torchs_transformer():
    bert, module = small_bert()
    state, tokens_BL = bert.state_dict(), torch.randint(20, (3, L))
    word, position, kind = (state[f"embeddings.{t}_embeddings.weight"] for t in ("word", "position", "token_type"))
    x = nn.functional.layer_norm(word[tokens_BL] + position[:L] + kind[0], (F,), eps=1e-12)
    with torch.no_grad():
        assert torch.allclose(bert.hidden(tokens_BL), module(x), atol=1e-5)


def test_sentences_keep_their_places_whatever_their_lengths():
    bert, _ = small_bert()
    lists = [[1, 2, 3], [4], [5, 6, 7], [8, 9], [4]]
    together, alone = in_groups(bert, lists, at_once=2), [in_groups(bert, [one])[0] for one in lists]
    assert torch.allclose(together, torch.stack(alone), atol=1e-6)
    assert torch.allclose(together.norm(dim=1), torch.ones(5))


def test_padding_changes_nothing() -> None:
    bert, _ = small_bert()
    row = torch.randint(1, 20, (1, L))
    with torch.no_grad():
        padded = bert(torch.cat([row, torch.zeros(1, 3, dtype=torch.int64)], dim=1))
        assert torch.allclose(padded, bert.hidden(row).mean(dim=1), atol=1e-6)
        assert bert(torch.zeros(2, L, dtype=torch.int64)).isfinite().all()


def adapted() -> tuple[nn.Module, Layout, torch.Tensor]:
    """Return a classifier whose last layer has adapters, its layout, and three networks that differ in them."""
    torch.manual_seed(0)
    model = Classifier(SIZE, 3)
    selector = Lora(rank=2, targets=("encoder.layer.1.*.query", "encoder.layer.1.*.value", "head"))
    selector.extend(model)
    layout = Layout.of(model, selector.select(model))
    return model.eval(), layout, layout.vector(model.state_dict()) + 0.3 * torch.randn(3, layout.dim)


def alone(model: nn.Module, layout: Layout, theta_D: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    network = copy.deepcopy(model)
    network.load_state_dict(layout.tensors(theta_D), strict=False)
    logits: torch.Tensor = network(x)
    return logits


def products(graph: torch.fx.Graph, rows: int) -> int:
    """Return how many products of matrices a graph has, of so many rows."""
    names = {"aten.mm.default", "aten.addmm.default", "aten.linear.default"}
    sizes = [value.numel() // value.shape[-1] for node in graph.nodes if str(node.target) in names
             for value in [node.meta.get("val", node.meta.get("tensor_meta"))] if value is not None]  # fmt: skip
    return sum(size == rows for size in sizes)


def test_layers_before_the_first_adapter_are_computed_once_for_all_networks_that_are_asked() -> None:
    model, layout, theta_MD = adapted()
    x = torch.randint(1, 20, (4, L))
    parted = Parted(model, layout.keys, (x,))
    assert parted.shares_work
    linears = [str(node.target) for node in parted._prefix.graph.nodes].count("aten.linear.default")
    assert linears == 6 + 3  # of the first layer, and the second's before anything is added to them
    frozen = parted.prefix(x)
    for theta_D in theta_MD:
        expected = alone(model, layout, theta_D, x)
        torch.testing.assert_close(parted.suffix(layout.tensors(theta_D), frozen), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("same", [True, False])
def test_networks_trained_together_have_their_own_gradients_and_share_what_is_frozen(same: bool) -> None:
    model, layout, theta_GD = adapted()
    network = Network(copy.deepcopy(model), layout, Classification(), Context(seed=0))
    x, y = torch.randint(1, 20, (3, 4, L)), torch.randint(3, (3, 4))
    x = x[0].expand(3, 4, L) if same else x
    step = network.trace(Batch(x, y), theta_GD, [])
    gradient_GD, losses_G = step(theta_GD, x, y)
    for theta_D, gradient_D, loss, x_BL, y_B in zip(theta_GD, gradient_GD, losses_G, x, y, strict=True):
        theta_D = theta_D.clone().requires_grad_()
        logits = torch.func.functional_call(model, layout.tensors(theta_D), (x_BL,))
        expected = nn.functional.cross_entropy(logits, y_B)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradient_D, torch.autograd.grad(expected, theta_D)[0], atol=1e-5, rtol=1e-4)
    assert products(step.graph, 4 * L) == (9 if same else 0)  # type: ignore[attr-defined]
