"""Tables of one's own: columns, words, what is missing, and what is said of tables that cannot be read so."""

from __future__ import annotations

import csv

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pdiff.components import KINDS
from pdiff.context import Context
from pdiff.engine.scores import scores_of
from pdiff.errors import UserError
from pdiff.recipe.loading import load_recipe
from pdiff.splits import checked
from pdiff.testing import check_component, tiny_run
from pdiff_plugins.tables.csv_file import Csv
from pdiff_plugins.tasks.regression import Regression

NAMES = ["id", "size", "colour", "price", "kind"]
COLOURS = ("red", "green", "blue")


def rows(count: int = 60) -> list[list[object]]:
    return [[i, i % 7 + 0.5, COLOURS[i % 3], 10 * (i % 7) + i % 3, "cat" if i % 2 else "dog"] for i in range(count)]


def written(path, table, names=NAMES, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([names, *table] if names else table)
    return path


def loaded(folder, seed: int = 0, **options):
    own = {"path": "table.csv", "target": "kind", "predict": "classes", "drop": ("id", "price")}
    return Csv(**own | options).load(Context(seed=seed, data_root=folder))


def inputs_of(split):
    return split.batch(torch.arange(len(split)), torch.device("cpu")).inputs


def test_numbers_are_standardised_and_words_become_columns(tmp_path) -> None:
    written(tmp_path / "table.csv", rows())
    data = loaded(tmp_path)
    x = inputs_of(data.train)
    assert x.shape == (len(data.train), 4) and data.input_shape == (4,) and data.outputs == 2
    assert x[:, 0].mean().item() == pytest.approx(0, abs=1e-6) and x[:, 0].std(correction=0).item() == pytest.approx(1)
    assert torch.equal(x[:, 1:].sum(dim=1), torch.ones(len(x)))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [38, 10, 12]


def test_each_row_keeps_its_cells_and_its_target(tmp_path) -> None:
    written(tmp_path / "table.csv", rows())
    data = loaded(tmp_path, target="price", predict="numbers", drop=(), standardise=False, words="codes")
    found = []
    for split in (data.train, data.validation, data.test):
        given = inputs_of(split)
        found += zip(given["numbers"].tolist(), given["words"].tolist(), split.targets.tolist(), strict=True)
    colours, kinds = sorted(COLOURS), ["cat", "dog"]
    known = [
        ([i, size], [colours.index(colour) + 1, kinds.index(kind) + 1], price)
        for i, size, colour, price, kind in rows()
    ]
    assert sorted(found) == sorted(known)
    assert data.input_shape == {"numbers": (2,), "words": (2,)}


def test_the_test_split_is_the_same_for_every_seed_and_validation_is_not(tmp_path) -> None:
    written(tmp_path / "table.csv", rows())
    one, two = (loaded(tmp_path, seed, drop=("colour",), standardise=False) for seed in (1, 2))
    assert torch.equal(inputs_of(one.test), inputs_of(two.test))
    assert not torch.equal(inputs_of(one.validation), inputs_of(two.validation))


def test_a_file_of_its_own_is_the_test_split(tmp_path) -> None:
    written(tmp_path / "table.csv", rows())
    written(tmp_path / "more.csv", [[0, 3.5, "violet", 1, "dog"]])
    data = loaded(tmp_path, test_path="more.csv")
    assert len(data.test) == 1 and len(data.train) + len(data.validation) == 60
    assert inputs_of(data.test)[0, 1:].tolist() == [0, 0, 0]  # a word that training does not know
    codes = loaded(tmp_path, test_path="more.csv", words="codes").test
    assert inputs_of(codes)["words"].tolist() == [[0]]


def test_several_columns_by_number_and_targets_in_deviations(tmp_path) -> None:
    written(tmp_path / "table.csv", [row[1:2] + row[3:4] + row[:1] for row in rows()], names=None)
    data = loaded(tmp_path, target=(1, -1), predict="numbers", header=False, drop=(), standardise_targets=True)
    assert data.outputs == 2 and data.input_shape == (1,)
    assert torch.allclose(data.train.targets.mean(dim=0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(data.train.targets.std(dim=0, correction=0), torch.ones(2))


def test_classes_of_numbers_are_in_their_order(tmp_path) -> None:
    written(tmp_path / "table.csv", [[i, i % 3 * 5 + 5] for i in range(60)], names=["x", "y"])  # 5, 10, 15
    data = loaded(tmp_path, target="y", drop=(), standardise=False)
    for split in (data.train, data.test):
        assert torch.equal(split.targets, inputs_of(split)[:, 0].long() % 3)


def test_one_number_is_one_class_however_it_is_written_and_blank_lines_are_none(tmp_path) -> None:
    (tmp_path / "table.csv").write_text("x,y\n" + "1,1\n\n2,0\n  \n3,1.0\n" * 5)
    data = loaded(tmp_path, target="y", drop=())
    assert data.outputs == 2 and sum(len(data.split(name)) for name in ("train", "validation", "test")) == 15


def test_the_contract_of_datasets(tmp_path) -> None:
    written(tmp_path / "table.csv", rows())
    for words in ("one_hot", "codes"):
        component = Csv(path="table.csv", target="kind", predict="classes", words=words)
        check_component(component, data_root=tmp_path)


FAULTS = {
    "empty cell": ("id,x,y\n1,2,a\n2,,b\n", {}, r"line 3, column 'x' is missing \(''\); fill it in"),
    "NA": ("x,y\n1,a\nNA,b\n", {}, r"line 3, column 'x' is missing \('NA'\)"),
    "target": ("x,y\n1,a\n2,?\n", {}, r"line 3, column 'y' is missing \('\?'\)"),
    "ragged": ("x,y\n1,a\n2,b,3\n", {}, "line 3 has 3 cells for 2 columns"),
    "delimiter": ("x;y\n1;a\n", {}, r"has no column 'y' \(x;y\); is its delimiter ','\?"),
    "spelling": ("x,why\n1,a\n", {"target": "whi"}, r"has no column 'whi' \(x, why\); did you mean 'why'\?"),
    "number": ("x,y\n1,a\n", {"target": 2}, r"has no column 2 \(x, y\)"),
    "twice": ("x,y,x\n1,a,2\n", {}, "has two columns 'x'"),
    "no rows": ("x,y\n", {}, "has no rows below its header"),
    "one class": ("x,y\n" + "1,a\n" * 9, {}, "holds 1 different values, too few to be classes"),
    "words to predict": ("x,y\n" + "1,a\n2,3\n" * 9, {"predict": "numbers"}, "column 'y' .* holds 'a'"),
    "nothing to learn from": ("y\na\nb\n", {}, "leaves no column to learn from"),
    "too many words": (
        "x,y\n" + "".join(f"w{i},{i % 2}\n" for i in range(300)), {},
        "column 'x' .* different words .* words = 'codes'",
    ),
    "infinite": ("x,y\n" + "1,a\n2,b\n" * 9 + "inf,a\n", {}, "column 'x' .* holds inf, which is no number of float32"),
    "no names": ("0.5,a\n1,b\n", {}, r"no column 'y' \(0.5, a\); where its first line holds no names set header"),
    "quote": ('x,y\n"1,a\n2,b\n', {}, "cannot be read as CSV"),
    "few rows": ("x,y\n1,a\n2,b\n", {"test": 0.1}, "2 examples leave .* 0 for test"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_table_is_one_line(tmp_path, fault: str) -> None:
    text, options, says = FAULTS[fault]
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=says) as caught:
        loaded(tmp_path, **{"target": "y", "drop": ()} | options)
    assert "\n" not in str(caught.value)


def test_rows_with_a_missing_cell_can_be_left_out(tmp_path) -> None:
    table = rows()
    table[5][1], table[8][2], table[9][0] = "", "nan", ""  # the last is in a column that is dropped
    written(tmp_path / "table.csv", table)
    data = loaded(tmp_path, missing="drop")
    assert sum(map(len, (data.train, data.validation, data.test))) == 58


def test_content_counts_in_keys_and_names_of_files_that_are_not_there_are_told(tmp_path) -> None:
    written(tmp_path / "table.csv", rows())
    component = KINDS["dataset"].model_validate(
        {"name": "csv", "path": "table.csv", "target": "kind", "predict": "classes"}
    )
    before = component.content(tmp_path)
    written(tmp_path / "table.csv", rows(61))
    assert component.content(tmp_path) != before
    with pytest.raises(UserError, match=r"dataset csv: there is no file .*other\.csv"):
        Csv(path="other.csv", target="kind", predict="classes").content(tmp_path)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.text("ab,\";' \n", max_size=4)), min_size=10, max_size=30))
def test_any_cells_come_back_as_they_were_written(tmp_path_factory, cells) -> None:
    folder = tmp_path_factory.mktemp("csv")
    table = [[number, f"w{word}", place] for place, (number, word) in enumerate(cells)]
    written(folder / "table.csv", table, names=["x", "word", "y"])
    data = loaded(folder, target="y", predict="numbers", drop=(), standardise=False, words="codes")
    seen = {}
    for split in (data.train, data.validation, data.test):
        given = inputs_of(split)
        seen |= dict(zip(split.targets.long().tolist(), given["numbers"][:, 0].tolist(), strict=True))
    assert seen == {place: torch.tensor(number).item() for number, _, place in table}


def test_a_run_from_a_recipe(tmp_path) -> None:
    written(tmp_path / "table.csv", rows())
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        '[dataset]\nname = "csv"\npath = "table.csv"\ntarget = "price"\npredict = "numbers"\n'
        '[task]\nname = "regression"\n'
        '[architecture]\nname = "mlp"\nhidden = [4]\n[selector]\nname = "entire"\n'
        '[collect]\nname = "trajectory"\ncount = 4\nlr = 0.01\n[method]\nname = "gaussian"\n[run]\ndata = "."\n',
        encoding="utf-8",
    )
    made = load_recipe(recipe)
    data = checked(made.dataset.load(Context(seed=0, data_root=tmp_path)), "csv", Regression(), ("train",))
    assert data.train.targets.dtype == torch.float32 and data.outputs == 1
    run = tiny_run(tmp_path / "runs", dataset=made.dataset, task=made.task, run={
        "out": str(tmp_path / "runs"), "device": "cpu", "data": str(tmp_path)
    })  # fmt: skip
    assert scores_of(run)["main"] == "R2"
