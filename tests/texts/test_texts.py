"""Texts of one's own become rows of tokens, and small networks read them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pdiff.context import Context
from pdiff.engine.scores import scores_of
from pdiff.errors import UserError
from pdiff.testing import check_component, tiny_run
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.texts import TokenNet
from pdiff_plugins.texts.folder import TextFolder
from tests.texts.helpers import write

CPU = torch.device("cpu")


def loaded(folder, **options):
    return TextFolder(**{"root": "texts", "length": 8} | options).load(Context(seed=0, data_root=folder))


def test_words_are_numbered_by_how_often_they_come_and_rows_are_filled_up(tmp_path) -> None:
    write(tmp_path / "texts")
    data = loaded(tmp_path)
    x, y = data.train.batch(torch.arange(len(data.train)), CPU)
    assert x.dtype == torch.int64 and x.shape[1:] == data.input_shape == (8,) and data.outputs == 2
    short = x[(x > 0).sum(dim=1) == 4]
    assert len(short) and set(short[:, 0].tolist()) == {2} and set(short[:, 2].tolist()) == {3}  # `a` and `film`
    assert (short[:, 4:] == 0).all()
    words = {label: set(x[y == label][:, 1].tolist()) for label in (0, 1)}
    assert all(len(of) == 1 for of in words.values()) and words[0] != words[1]


def test_words_that_training_does_not_know_are_one_number(tmp_path) -> None:
    for part in ("train", "test"):
        write(tmp_path / "texts" / part, 6)
    (tmp_path / "texts" / "test" / "good" / "0.txt").write_text("a strange film", encoding="utf-8")
    data = loaded(tmp_path, validation=0.0)
    assert len(data.test) == 12 and data.test.batch(torch.tensor([6]), CPU).inputs[0].tolist() == [2, 1, 3, *[0] * 5]
    few = loaded(tmp_path, validation=0.0, vocabulary=3).train
    assert few.batch(torch.arange(12), CPU).inputs.max() == 2


def test_bytes_are_those_of_utf_8(tmp_path) -> None:
    write(tmp_path / "texts")
    (tmp_path / "texts" / "bad" / "new.txt").write_text("é!", encoding="utf-8")
    data = loaded(tmp_path, tokens="bytes")
    rows = [row for split in (data.train, data.validation, data.test)
            for row in split.batch(torch.arange(len(split)), CPU).inputs.tolist()]  # fmt: skip
    assert [0xC3 + 2, 0xA9 + 2, ord("!") + 2, *[0] * 5] in rows


def test_the_contract_and_what_cannot_be_read(tmp_path) -> None:
    write(tmp_path / "texts")
    check_component(TextFolder(root="texts"), data_root=tmp_path)
    before = TextFolder(root="texts").content(tmp_path)
    (tmp_path / "texts" / "bad" / "0.txt").write_bytes(b"\xff\xfe\x00")
    assert TextFolder(root="texts").content(tmp_path) != before
    with pytest.raises(UserError, match=r"0\.txt is no text in UTF-8"):
        loaded(tmp_path)
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        loaded(tmp_path, root="nowhere")
    with pytest.raises(UserError, match=r"there is no folder .*nowhere; paths are relative to run\.data"):
        TextFolder(root="nowhere").content(tmp_path)


@pytest.mark.parametrize("body", ["mean", "lstm", "transformer"])
def test_networks_read_tokens_in_their_order_or_without(body: str) -> None:
    net = TokenNet(body=body, vocabulary=30, width=8)
    torch.manual_seed(0)
    model = net.build(input_shape=(6,), outputs=3).eval()
    if body == "transformer":
        nn.init.normal_(model.position)
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]])
    one, other = model(tokens)
    assert one.shape == (3,) and torch.allclose(one, other, atol=1e-6) == (body == "mean")
    assert torch.allclose(model(tokens[:1])[0], one, atol=1e-6)


def test_other_inputs_and_widths_are_refused() -> None:
    with pytest.raises(UserError, match=r"takes rows of tokens, not inputs of shape \(3, 8, 8\)"):
        TokenNet().build(input_shape=(3, 8, 8), outputs=2)
    with pytest.raises(ValueError, match="heads = 3 do not divide width = 32"):
        TokenNet(body="transformer", heads=3)


def test_a_whole_run_of_texts(tmp_path) -> None:
    write(tmp_path / "texts")
    run = tiny_run(
        tmp_path, dataset=TextFolder(root="texts", length=8), task=Classification(),
        architecture=TokenNet(vocabulary=1000, width=8), train={"epochs": 8, "lr": 0.1, "batch_size": 8},
        evaluate=[{"name": "accuracy"}], run={"out": str(tmp_path / "runs"), "device": "cpu", "data": str(tmp_path)},
    )  # fmt: skip
    assert scores_of(run)["base"]["accuracy"] == 1.0
