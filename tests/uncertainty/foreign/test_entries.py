"""What recipes name: changes and datasets, read, written and looked ahead at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from pdiff.components import Ahead, Evaluator
from pdiff_plugins.fields.shapes.plane import Shapes2d
from pdiff_plugins.images.digits import Digits
from pdiff_plugins.images.in_memory import Mnist
from pdiff_plugins.part import Part
from pdiff_plugins.uncertainty.foreign.entries import Entry, foreseen
from tests.images.helpers import write_mnist


class Asks(Evaluator):
    """An evaluator with foreign examples."""

    name = "asks"
    foreign: tuple[Entry, ...] = ()

    def evaluate(self, view: Any, ctx: Any) -> dict[str, Any]:
        return {}


def test_names_and_tables_become_datasets_and_changes_stay():
    asks = Asks(foreign=["rotated", "mnist", {"name": "digits", "test_count": 90}, Part(of=Digits(), test=9)])
    assert asks.foreign == ("rotated", Mnist(), Digits(test_count=90), Part(of=Digits(), test=9))
    assert Asks.model_validate({"foreign": asks.table()["foreign"]}) == asks
    assert asks.identity()["foreign"][:2] == ["rotated", Mnist().identity()]


@pytest.mark.parametrize("entry, place, told", [
    ("rotatd", (), "nor a change of examples: rotated, upside_down, inverted, shuffled, noise, left_out; did you mean"),
    ("mnisst", (), "mnist"),
    ("image_folder", ("root",), "Field required"),
    ({"name": "digits", "test_count": 0}, ("test_count",), "greater than 0"),
    (3, (), "valid"),
])  # fmt: skip
def test_mistakes_are_told_at_their_place(entry, place, told):
    with pytest.raises(ValidationError) as caught:
        Asks(foreign=["inverted", entry])
    (error,) = caught.value.errors()
    assert error["loc"] == ("foreign", 1, *place) and told in error["msg"]


def ahead(dataset, root) -> Ahead:
    return Ahead(SimpleNamespace(dataset=dataset), "evaluate[0]", root, False, None)


def test_a_look_ahead_tells_what_is_missing(tmp_path):
    look = ahead(Digits(), tmp_path)
    foreseen(["rotated", "left_out", Mnist(), Shapes2d()], look, ["blur"])
    left_out, missing, other = look.what("lacks")
    assert left_out.startswith("evaluate[0].foreign[1] = 'left_out': dataset digits leaves no classes out")
    assert missing.startswith("dataset mnist: ") and "is missing" in missing
    assert other == (
        "evaluate[0].foreign[3] = 'shapes2d': digits is an image set, and shapes2d is none; name a dataset like the "
        "run's"
    )
    write_mnist(tmp_path)
    look = ahead(Digits(leave_out=(1,)), tmp_path)
    foreseen(["rotated", "left_out", Mnist()], look, ["blur"])
    assert not look.said
    look = ahead(Shapes2d(), tmp_path)
    foreseen(["noise", "inverted"], look, ["blur"])
    assert (
        len(look.what("lacks")) == 2 and "corruptions = ['blur']: dataset shapes2d is no image" in look.what("lacks")[1]
    )
