"""Bits: which classes are yes."""

from __future__ import annotations

import pytest

from pdiff_plugins.conditions.encoders.bits import Bits
from tests.conditions.encoders.helpers import PETS, bench, conditions, refused


def test_a_bit_for_each_class_is_one_where_about_names_it():
    about = [{"classes": [0, 2]}, {"classes": []}, {"classes": [1], "label": 3}]
    assert conditions(Bits(), about) == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert conditions(Bits(count=5), about[:1]) == [[1, 0, 1, 0, 0]]
    assert conditions(Bits(), about[:1], of=bench(classes=4)) == [[1, 0, 1, 0]]


@pytest.mark.parametrize(
    ("asked", "classes"),
    [({"condition": "101"}, [0, 2]), ({"condition": "1, 0 1"}, [0, 2]),
     ({"condition": "1.0,0.0,1.0"}, [0, 2]), ({"condition": "000"}, []), ({"task": "2, 0"}, [0, 2]),
     ({"task": "1"}, [1]),
     ({"task": "frog,cat"}, [0, 2]), ({"task": "dog,2"}, [1, 2])],
)  # fmt: skip
def test_what_is_read_has_the_condition_that_was_asked(asked, classes):
    named = bench(names=PETS)
    about = Bits().read(asked, [], named)
    assert about == {"classes": classes}
    assert conditions(Bits(), [about], of=named) == [[float(number in classes) for number in range(3)]]


@pytest.mark.parametrize(
    ("asked", "words"),
    [({"condition": "0110"}, ("condition = '0110'", "4 bits", "give 3")),
     ({"condition": "012"}, ("condition = '012'", "0 and 1")),
     ({"condition": ""}, ("0 bits", "give 3")),
     ({"task": "cat,frok"}, ("task = 'cat,frok'", "'frok'", "did you mean 'frog'", "cat, dog, frog", "0 to 2")),
     ({"task": "3"}, ("'3'", "0 to 2")),
     ({"task": ""}, ("no class ''", "cat, dog, frog")),
     ({"task": "cat,0"}, ("twice",)),
     ({"taks": "cat"}, ("taks", "did you mean 'task'", "condition=... or task=...")),
     ({}, ("asked by nothing", "condition=... or task=...")),
     ({"condition": "101", "task": "cat"}, ("condition and task", "or"))],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_line(asked, words):
    refused(lambda: Bits().read(asked, [], bench(names=PETS)), *words)


def test_classes_without_names_are_told_by_number():
    refused(lambda: Bits().read({"task": "cat"}, [], bench()), "no class 'cat'", "the classes are: 0 to 2")


def test_rows_about_something_else_are_one_line():
    refused(lambda: conditions(Bits(), [{"classes": [0]}, {"label": 3}]), "network 1", "label", "classes")
    refused(lambda: conditions(Bits(), [{"classes": [3]}]), "class 3", "of 0 to 2", "encoder.count")
