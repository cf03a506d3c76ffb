"""Labels, and factors with their levels."""

from __future__ import annotations

import pytest
import torch

from pdiff_plugins.conditions.encoders.attributes import Attributes
from pdiff_plugins.conditions.encoders.label import Label
from tests.conditions.encoders.helpers import bench, conditions, refused

LABELS = [{"label": 10}, {"label": 2}, {"label": "torus"}, {"label": 2}]
SHIFTS = [
    {"rotation": turn, "noise": noise, "text": f"{turn} and {noise}"} for turn in (0, 45, 90) for noise in ("no", "yes")
]


def test_a_label_is_one_of_those_that_the_zoo_has_numbers_first():
    assert conditions(Label(), LABELS) == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert conditions(Label(), [{"label": "torus"}], LABELS) == [[0, 0, 1]]
    refused(lambda: conditions(Label(), [{"label": 3}], LABELS), "label = 3", "2, 10, torus")


@pytest.mark.parametrize(
    ("asked", "label"),
    [({"label": "10"}, 10), ({"condition": "2"}, 2), ({"label": "Torus"}, "torus"), ({"label": "2.0"}, 2)],
)
def test_a_label_is_read_as_the_zoo_has_it(asked, label):
    about = Label().read(asked, LABELS, bench())
    assert about == {"label": label} and type(about["label"]) is type(label)


def test_a_label_that_is_not_there_is_one_line():
    read = Label().read
    refused(lambda: read({"label": "torso"}, LABELS, bench()), "label = 'torso'", "did you mean 'torus'", "2, 10")
    refused(lambda: read({"rotation": "2"}, LABELS, bench()), "rotation", "label=... or condition=...")
    refused(lambda: read({"label": "2"}, [{"classes": [1]}], bench()), "network 0", "classes")
    refused(lambda: conditions(Label(), [{"label": [1, 2]}]), "[1, 2]", "neither a number nor a word")
    many = [{"label": number} for number in range(30)]
    refused(lambda: read({"label": "x"}, many, bench()), "18, 19 and 10 more")


def test_levels_are_columns_of_their_factor():
    rows = conditions(Attributes(), SHIFTS)
    assert rows[0] == [1, 0, 1, 0, 0] and rows[3] == [0, 1, 0, 1, 0] and rows[5] == [0, 1, 0, 0, 1]
    assert torch.tensor(rows).sum(dim=1).tolist() == [2] * 6
    assert conditions(Attributes(), SHIFTS[3:4], SHIFTS) == [rows[3]]


def test_numbers_are_deviations_of_the_zoo_and_may_be_new():
    rows = torch.tensor(conditions(Attributes(numbers=("rotation",)), SHIFTS))
    assert rows.shape == (6, 3)
    assert torch.allclose(rows[:, 2].mean(), torch.tensor(0.0), atol=1e-6)
    assert torch.allclose(rows[:, 2].std(correction=0), torch.tensor(1.0))
    new = conditions(Attributes(numbers=("rotation",)), [{"rotation": 67.5, "noise": "no"}], SHIFTS)[0]
    assert new[2] == pytest.approx((rows[2, 2] + rows[4, 2]) / 2)
    assert conditions(Attributes(numbers=("one",)), [{"one": 4}, {"one": 4}]) == [[0], [0]]


def test_angles_are_places_on_a_circle_and_may_be_new():
    turned = Attributes(angles=("rotation",))
    rows = torch.tensor(conditions(turned, SHIFTS))
    assert rows.shape == (6, 4) and torch.allclose(rows[4, 2:], torch.tensor([0.0, 1.0]), atol=1e-6)
    new = torch.tensor(conditions(turned, [{"rotation": turn, "noise": "no"} for turn in (-45, 315)], SHIFTS))
    assert torch.allclose(new[0], new[1], atol=1e-6) and torch.allclose(new[0, 2:].norm(), torch.tensor(1.0))
    assert turned.read({"rotation": "225", "noise": "no"}, SHIFTS, bench()) == {"rotation": 225, "noise": "no"}
    refused(lambda: conditions(Attributes(angles=("noise",)), SHIFTS), "noise = 'no'", "encoder.angles")
    refused(lambda: conditions(Attributes(angles=("turn",)), SHIFTS), "encoder.angles", "'turn'")


def test_factors_are_read_by_name():
    asked = {"rotation": "45", "noise": "yes"}
    assert Attributes().read(asked, SHIFTS, bench()) == {"rotation": 45, "noise": "yes"}
    numbers = Attributes(numbers=("rotation",))
    assert numbers.read({"rotation": "67.5", "noise": "no"}, SHIFTS, bench()) == {"rotation": 67.5, "noise": "no"}


@pytest.mark.parametrize(
    ("asked", "numbers", "words"),
    [({"rotation": "45"}, (), ("noise: is not said", "noise, rotation", "no, yes")),
     ({"noise": "no"}, ("rotation",), ("rotation: is not said", "such as rotation=0; there are 0 to 90")),
     ({"rotations": "45"}, (), ("rotations: no such factor", "did you mean 'rotation'", "noise, rotation")),
     ({"rotation": "30", "noise": "no"}, (), ("rotation = '30'", "0, 45, 90")),
     ({"rotation": "far", "noise": "no"}, ("rotation",), ("rotation = 'far'", "is not a number")),
     ({"rotation": "nan", "noise": "no"}, ("rotation",), ("is not a number",)),
     ({"rotation": "0", "noise": "no"}, ("turn",), ("encoder.numbers", "'turn'", "noise, rotation"))],
)  # fmt: skip
def test_what_cannot_be_asked_of_factors_is_one_line(asked, numbers, words):
    refused(lambda: Attributes(numbers=numbers).read(asked, SHIFTS, bench()), *words)


def test_rows_without_factors_or_with_odd_ones_are_one_line():
    refused(lambda: conditions(Attributes(), [{"classes": [1]}]), "no factors")
    refused(lambda: conditions(Attributes(), [{"a": 1}, {"b": 1}]), "network 1", "'a'")
    refused(
        lambda: conditions(Attributes(), [{"rotation": 30, "noise": "no"}], SHIFTS),
        "rotation = 30",
        "90; where sizes count, write encoder.numbers",
    )
    refused(lambda: conditions(Attributes(numbers=("noise",)), SHIFTS), "noise = 'no'", "encoder.numbers")
