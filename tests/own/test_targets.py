"""Networks, data and losses that a recipe names as `module:name`: what is taken, what counts, and what is told."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

import pdiff
from pdiff.components import KINDS, identity
from pdiff.context import Context
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.engine.keys import train_stage
from pdiff.engine.preflight import look_ahead
from pdiff.errors import UserError
from pdiff.recipe.loading import load_recipe
from pdiff_plugins.own.draws import drawing
from pdiff_plugins.own.prints import data_digest, digest
from pdiff_plugins.own.splits import splits_of
from tests.own import code
from tests.own.helpers import RECIPE, write_checkpoints, write_code


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    write_code(tmp_path)
    (tmp_path / "own.toml").write_text(RECIPE)
    return tmp_path / "own.toml"


def split(given, validation=0.2, outputs=0):
    return splits_of(given, validation, outputs, torch.Generator().manual_seed(0))


def test_own_checkpoints_of_an_own_network_on_own_data(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recipe.parent)
    write_checkpoints(Path("checkpoints"))
    run = pdiff.run(recipe, quiet=True)
    state = run.state_dict(0, "original")
    assert torch.equal(state["layers.0.weight"], code.checkpoints()[0]["layers.0.weight"])
    x, y = code.splits()[2]
    net = code.Net()
    accuracy = []
    for kept in code.checkpoints():
        net.load_state_dict(kept)
        accuracy.append((net(x).argmax(dim=1) == y).double().mean())
    assert run.scores["networks"]["original"]["accuracy"]["mean"] == pytest.approx(float(sum(accuracy)) / 12, abs=1e-6)


def test_code_counts_by_content_and_not_by_place(recipe: Path, tmp_path: Path) -> None:
    before = train_stage(load_recipe(recipe)).key
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_code(elsewhere)
    (elsewhere / "own.toml").write_text(RECIPE)
    assert train_stage(load_recipe(elsewhere / "own.toml")).key == before
    assert train_stage(load_recipe(recipe, {"architecture.options.width": 7})).key != before
    file = tmp_path / "mine.py"
    file.write_text(file.read_text() + "\nTHREE = 3\n")
    assert train_stage(load_recipe(recipe)).key != before


def test_data_count_by_their_numbers_though_the_code_is_the_same(recipe: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((9, 2)))
    (tmp_path / "mine.py").write_text(
        (tmp_path / "mine.py").read_text()
        + "\nimport numpy, pathlib\nX = pathlib.Path(__file__).parent / 'x.npy'\n"
        + "def stored():\n    pair = numpy.load(X), numpy.arange(9) % 3\n    return pair, pair\n"
    )
    of_stored = {"dataset.target": "mine:stored"}
    before = train_stage(load_recipe(recipe, of_stored)).key
    assert train_stage(load_recipe(recipe, of_stored)).key == before
    from pdiff_plugins import own

    own._given.clear()  # as another process has it
    np.save(tmp_path / "x.npy", np.ones((9, 2)))
    assert train_stage(load_recipe(recipe, of_stored)).key != before


FAULTS = {
    "no module": ("architecture", "mime:Net", {}, r"no module 'mime': there is no mime\.py beside the recipe"),
    "no file": ("architecture", "mime.py:Net", {}, r"mime\.py: no such file; did you mean 'mine\.py'"),
    "no name": ("architecture", "mine:Nett", {}, r"mine\.py has no 'Nett'; did you mean 'Net'"),
    "no colon": ("architecture", "mine.Net", {}, "write it as module:name or file.py:name"),
    "broken": ("dataset", "broken:splits", {}, r"broken\.py: line 2: ZeroDivisionError"),
}
LATER = {
    "option": ("Net", {"widht": 8}, r"architecture\.options\.widht: Net has no such argument; did you mean 'width'"),
    "raises": ("Net", {"width": -1}, r"mine\.py, line \d+: RuntimeError"),
    "no network": ("blobs", {"count": 3, "seed": 0}, r"blobs gives a tuple, not a torch\.nn\.Module"),
    "needs": ("blobs", {"count": 3}, r"architecture\.options\.seed: missing; blobs needs it"),
    "called": ("FIVE", {}, "FIVE is a int, which cannot be called"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_target_that_is_not_there_is_one_line(recipe: Path, fault: str) -> None:
    table, target, options, told = FAULTS[fault]
    (recipe.parent / "broken.py").write_text("\n1 / 0\n")
    with pytest.raises(UserError, match=told) as caught:
        load_recipe(recipe, {f"{table}.target": target, f"{table}.options": options})
    assert "\n" not in str(caught.value) and f"{table}.target" in str(caught.value)


@pytest.mark.parametrize("fault", LATER)
def test_a_target_that_cannot_be_built_is_one_line(recipe: Path, fault: str) -> None:
    target, options, told = LATER[fault]
    with (recipe.parent / "mine.py").open("a") as file:
        file.write("\nFIVE = 5\n")
    made = load_recipe(recipe, {"architecture.target": f"mine:{target}", "architecture.options": options})
    with pytest.raises(UserError, match=told) as caught:
        made.architecture.build(input_shape=(2,), outputs=3)
    assert "\n" not in str(caught.value)
    seen = look_ahead(made, False, False).what("lacks")  # what need not be called to be seen is told before all
    assert (str(caught.value) in seen) == (fault in ("option", "needs", "called"))


def test_a_network_that_cannot_take_the_data_is_one_line_and_tokens_are_taken(recipe: Path) -> None:
    made = load_recipe(recipe).architecture
    with pytest.raises(
        UserError, match=r"given inputs \[2, 5\]: .*mine\.py, line \d+: RuntimeError: mat1 and mat2"
    ) as caught:
        made.build(input_shape=(5,), outputs=3)
    assert "\n" not in str(caught.value)
    table = {"name": "python", "options": {"num_embeddings": 9, "embedding_dim": 2}}
    tokens = KINDS["architecture"].model_validate(table | {"target": "torch.nn:Embedding"})
    assert tokens.build(input_shape=(4,), outputs=3).training
    several = load_recipe(recipe).architecture.build(input_shape={"a": (5,)}, outputs=3)
    assert isinstance(several, code.torch.nn.Module)


def test_a_package_with_relative_imports_and_what_is_installed(recipe: Path) -> None:
    package = recipe.parent / "acme_nets" / "deep"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("")
    (package / "nets.py").write_text("from .layers import Layer\ndef net(outputs):\n    return Layer(2, outputs)\n")
    (package / "layers.py").write_text("from torch.nn import Linear as Layer\n")
    by_module = load_recipe(recipe, {"architecture.target": "acme_nets.deep.nets:net", "architecture.options": {}})
    by_file = load_recipe(recipe, {"architecture.target": "acme_nets/deep/nets.py:net", "architecture.options": {}})
    assert identity(by_module.architecture) == identity(by_file.architecture)
    assert by_file.architecture.build(input_shape=(2,), outputs=5).out_features == 5
    (package / "layers.py").write_text("from torch.nn import Linear\nclass Layer(Linear): pass\n")
    changed = load_recipe(recipe, {"architecture.target": "acme_nets.deep.nets:net", "architecture.options": {}})
    assert train_stage(changed).key != train_stage(by_module).key
    assert type(changed.architecture.build(input_shape=(2,), outputs=5)).__name__ == "Layer"
    table = {"name": "python", "target": "torchvision.models:squeezenet1_1", "options": {"num_classes": 7}}
    published = KINDS["architecture"].model_validate(table)
    assert published.build(input_shape=(3, 64, 64), outputs=7).classifier[1].out_channels == 7


class Pairs(Dataset):
    def __init__(self, x, y, odd=None, noise=False):
        self.x, self.y, self.odd, self.noise = x, y, odd, noise

    def __len__(self):
        return len(self.x)

    def __getitem__(self, number):
        x = self.x[number] if number != self.odd else self.x[number][:1]
        return x + torch.randn(x.shape) if self.noise else x, int(self.y[number])


def test_all_forms_of_data_give_the_same_splits() -> None:
    given = code.splits(12)
    forms = {
        "tensors": given,
        "arrays": [(a.numpy().astype(np.float64), b.numpy().astype(np.int32)) for a, b in given],
        "lists": [(a.tolist(), b.tolist()) for a, b in given],
        "datasets": [Pairs(a, b) for a, b in given],
        "TensorDatasets": [TensorDataset(a, b) for a, b in given],
        "loaders": [DataLoader(Pairs(a, b), batch_size=3, shuffle=True) for a, b in given],
        "by name": dict(zip(("train", "val", "test"), given, strict=True)),
        "dicts": [{"image": a, "label": b} for a, b in given],
        "examples": [list(zip(a, b, strict=True)) for a, b in given],
        "pdiff's": DatasetSplits(*(TensorSplit(a, b) for a, b in given), (2,), 3),
    }
    for form, parts in forms.items():
        made = split(parts)
        assert (made.input_shape, made.outputs) == ((2,), 3), form
        for name, (a, b) in zip(("train", "validation", "test"), given, strict=True):
            read = made.split(name).batch(torch.arange(12), torch.device("cpu"))
            assert torch.equal(read.inputs, a) and read.inputs.dtype == torch.float32, form
            assert torch.equal(read.targets, b) and read.targets.dtype == torch.int64, form


def test_validation_is_cut_from_train_and_outputs_follow_targets() -> None:
    (x, y), _, test = code.splits(20)
    cut = split(((x, y), test), validation=0.25)
    assert (len(cut.train), len(cut.validation), len(cut.test)) == (15, 5, 20)
    both = torch.cat([cut.train.batch(torch.arange(15), torch.device("cpu")).inputs,
                      cut.validation.batch(torch.arange(5), torch.device("cpu")).inputs])  # fmt: skip
    assert torch.equal(both.sort(dim=0).values, x.sort(dim=0).values)
    for targets, outputs in ((x[:, 0], 1), (x, 2), (y + 4, 7)):
        assert split(((x, targets), (x, targets))).outputs == outputs
    assert split(((x, y), test), outputs=9).outputs == 9


def test_several_inputs_go_through_as_a_tuple_or_by_name() -> None:
    (x, y), *_ = code.splits(8)
    for inputs, shape in (((x, x[:, :1]), ((2,), (1,))), ({"a": x, "b": x[:, :1]}, {"a": (2,), "b": (1,)})):
        assert split(((inputs, y), (inputs, y))).input_shape == shape


@pytest.mark.parametrize(("given", "told"), [
    ((torch.zeros(3, 2), torch.zeros(3)), "not 2 values that are arrays"),
    (((torch.zeros(3, 2), torch.zeros(4)), ([], [])), "train split has 3 inputs and 4 targets"),
    ({"train": 1}, "the dict has train"),
    ((5, 6), "the train split is a int"),
    (((["a"], [1]), (["a"], [1])), "inputs of the train split cannot be made a tensor"),
    (((([[1.0], [1.0, 2.0]]), [1, 2]), ([[1.0]], [1])), "inputs of the train split cannot be made a tensor"),
    ((Pairs(*code.blobs(9, 0), odd=4), Pairs(*code.blobs(9, 0))), r"example 4 of the train split has the shape \(1,\)"),
    ((Pairs(*code.blobs(9, 0)), [1, 2, 3]), "the test split is a list"),
    ((Pairs([], []), Pairs([], [])), "the train split is empty"),
])  # fmt: skip
def test_data_of_another_form_are_told_by_split_and_example(given, told: str) -> None:
    with pytest.raises(UserError, match=told):
        split(given)


def test_random_transforms_follow_the_seed_and_are_drawn_anew_in_training() -> None:
    x, y = code.blobs(9, 0)
    made, cpu, index = split((Pairs(x, y, noise=True), Pairs(x, y))), torch.device("cpu"), torch.arange(4)
    before = torch.get_rng_state()
    evaluated = [made.train.batch(index, cpu).inputs for _ in range(2)]
    trained = [made.train.batch(index, cpu, torch.Generator().manual_seed(seed)).inputs for seed in (0, 0, 1)]
    assert torch.equal(*evaluated) and torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2]) and not torch.equal(trained[0], evaluated[0])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(made.train.batch(index[1:2], cpu).inputs[0], evaluated[0][1])


def test_a_loss_is_a_task_with_a_score_of_its_own(recipe: Path) -> None:
    task = KINDS["task"].model_validate({"name": "python", "target": "tests.own.code:loss"})
    scored = KINDS["task"].model_validate(task.table() | {"score_target": "tests.own.code:hits"})
    x, y = code.splits()[0]
    net = code.Net()
    outputs = task.predict(net, x)[None].detach()
    assert float(task.score(outputs, y)) == pytest.approx(-code.loss(net(x), y).item(), rel=1e-6)
    assert float(scored.score(outputs, y)) == pytest.approx(float((net(x).argmax(dim=1) == y).float().mean()))
    assert (task.metric, scored.metric) == ("minus loss", "hits")
    assert torch.equal(task.wrong(outputs, y)[0], net(x).argmax(dim=1) != y)
    numbers, far = torch.tensor([[1.0], [-1.0]]), torch.tensor([[[0.5], [1.5]], [[3.0], [-1.0]]])  # 1 off on the mean
    assert task.wrong(far, numbers).tolist() == [[False, True], [True, False]]
    assert task.wrong(far[..., 0], numbers[:, 0]).tolist() == [[False, True], [True, False]]


def test_fingerprints_see_code_sizes_and_numbers_and_nothing_else() -> None:
    def body(factor):
        def forward(self, x):
            return self.layers(x) * factor

        return type("Net", (code.Net,), {"forward": forward})

    torch.manual_seed(1)
    assert digest(code.Net()) == digest(code.Net()) != digest(code.Net(7))
    assert digest(body(1)()) != digest(body(2)()) != digest(code.Net())
    assert digest(lambda: code.Net(4)) != digest(lambda: code.Net(5))
    assert digest(functools.partial(code.Net, 4)) != digest(functools.partial(code.Net, 5))
    assert digest(Pairs(1, 2).__len__) != digest(Pairs(1, 3).__len__)
    assert digest(1) != digest("1") and digest([1, 2]) != digest([12])
    x, y = code.blobs(200, 0)
    moved = x.clone()
    moved[7, 0] += 1
    pair = (x, y)
    assert data_digest((pair, pair)) == data_digest(((x.clone(), y), pair)) != data_digest(((moved, y), pair))
    assert data_digest((Pairs(x, y), Pairs(x, y))) != data_digest((Pairs(x[:199], y), Pairs(x, y)))
    with drawing(5):
        assert float(torch.rand(())) == float(torch.rand((), generator=torch.Generator().manual_seed(5)))


def test_a_context_gives_data_their_folder(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "where.py").write_text(
        "def splits(data_root, count):\n    pair = ([[float(len(str(data_root)))]] * count, [0] * count)\n"
        "    return pair, pair\n"
    )
    of_where = {"dataset.target": "where:splits", "dataset.options": {"count": 5}}
    loaded = load_recipe(recipe, of_where).dataset.load(Context(seed=0, data_root=tmp_path))
    assert float(loaded.test.batch(torch.tensor([0]), torch.device("cpu")).inputs) == len(str(tmp_path))
    assert "where" in sys.modules
