"""Sentences of the standard library: by subject, masked, and apart."""

from __future__ import annotations

import ast

import pytest
import torch

from pdiff.context import Context
from pdiff.data import DatasetSplits
from pdiff.errors import UserError
from pdiff.testing import check_component
from pdiff_plugins.texts import docstrings
from pdiff_plugins.texts.docstrings import ALIKE, MASK, MODULES, SUBJECTS, WORDS, Docstrings, Sentence

SMALL = {"tokens": "words", "per_class": 60}


@pytest.fixture(scope="module")
def known() -> tuple[Sentence, ...]:
    return docstrings.sentences()


def load(**options: object) -> DatasetSplits:
    return Docstrings(**SMALL | options).load(Context(seed=0))


def test_there_are_enough_of_each_subject_and_none_twice(known: tuple[Sentence, ...]) -> None:
    for number in range(len(SUBJECTS)):
        assert sum(one.subject == number for one in known) > 300
    assert len({one.text for one in known}) == len(known)


def test_what_gives_a_subject_away_is_masked(known: tuple[Sentence, ...]) -> None:
    words = [word for one in known for word in WORDS.findall(one.text)]
    assert MASK in words
    assert not {"asyncio", "zipfile", "urllib", "unittest", "argparse", "statistics"} & {*words}
    assert {"asyncio", "zipfile"} <= MODULES
    code = 'class Tap:\n    """A tap."""\n    def turn(self):\n        """Turn the Tap so far that it runs over."""\n'
    documents = [(names, text) for names, text in docstrings._docstrings(ast.parse(code), ())]
    assert documents == [(("Tap",), "A tap."), (("Tap", "turn"), "Turn the Tap so far that it runs over.")]
    masked = docstrings._masked("Turn the TapHandle or water_tap, not the tapestry.", {"tap", "turn"})
    assert masked == f"{MASK} the {MASK} or {MASK}, not the tapestry."


def test_no_document_and_no_five_words_in_a_row_are_in_two_splits(
    known: tuple[Sentence, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Docstrings(**SMALL)
    chosen = dataset._some(known)
    splits = docstrings._apart(chosen, dataset.test, dataset.validation, Context(seed=3))
    documents = [{chosen[at].document for at in part.tolist()} for part in splits]
    runs = [{run for at in part.tolist() for run in chosen[at].runs()} for part in splits]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not documents[one] & documents[other] and not runs[one] & runs[other]
    assert all(len(run) == ALIKE for run in runs[0])
    assert [len(part) > 30 for part in splits] == [True] * 3


def test_the_test_split_is_the_same_for_every_seed() -> None:
    one, other = (Docstrings(**SMALL).load(Context(seed=seed)).test for seed in (0, 1))
    assert torch.equal(one.targets, other.targets)


def test_the_contract() -> None:
    check_component(Docstrings(**SMALL))
    data = load()
    assert data.names == tuple(SUBJECTS) and data.outputs == 7 and data.input_shape == (24,)
    assert torch.bincount(data.train.targets, minlength=7).min() > 10


def test_a_python_without_its_files_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(docstrings, "_library", lambda: tmp_path)
    monkeypatch.setattr(docstrings, "sentences", docstrings.sentences.__wrapped__)
    with pytest.raises(UserError, match=r"no files of the standard library about internet in .*'text_folder'"):
        load()
