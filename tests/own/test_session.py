"""From Python: networks, data, checkpoints and losses as they are, and the ensemble that comes of them."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import pdiff
from pdiff.components import Task
from pdiff.context import Context
from pdiff.data import Batch
from pdiff.ensembles import Ensemble
from pdiff.errors import UserError
from pdiff.recipe.given import recipe_given
from pdiff.recipe.loading import load_recipe
from pdiff.recipe.tables import Recipe
from pdiff.testing import TinyNet, TinyTask
from pdiff_plugins.images.digits import Digits
from pdiff_plugins.own import given as defaults
from pdiff_plugins.own import targets
from tests.helpers import mistake
from tests.own import code
from tests.own.helpers import QUICK, RECIPE, write_checkpoints, write_code

SMALL = {"sample.count": 8, "sample.baseline_count": 4}


def recipe_of(recipe=None, **objects) -> Recipe:
    return recipe_given(recipe, objects, None, ())[0]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults that take no minute."""
    for table, value in QUICK.items():
        monkeypatch.setitem(defaults.DEFAULTS, table, value)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("session")
    with pytest.MonkeyPatch.context() as patch:
        for table, value in QUICK.items():
            patch.setitem(defaults.DEFAULTS, table, value)
        return pdiff.run(architecture=code.Net, data=code.splits(), checkpoints=code.checkpoints(), set=SMALL,
                         out=folder / "runs", quiet=True)  # fmt: skip


def test_objects_make_a_run_like_any_other(run) -> None:
    assert run.folder.name.startswith("python-") and (run.folder / "index.html").is_file()
    assert torch.equal(run.state_dict(3, "original")["layers.2.bias"], code.checkpoints()[3]["layers.2.bias"])
    assert run.sources == ["original", "gaussian 1", "soup"]


def test_the_same_objects_made_again_find_everything_there(run, monkeypatch: pytest.MonkeyPatch) -> None:
    from pdiff.engine import pipeline

    monkeypatch.setattr(pipeline, "do_train", lambda *_: pytest.fail("the base network is made again"))
    again = pdiff.run(architecture=code.Net, data=code.splits(), checkpoints=code.checkpoints(), set=SMALL,
                      out=run.folder.parent, quiet=True)  # fmt: skip
    assert again.folder == run.folder


def test_an_ensemble_averages_probabilities_and_is_a_module(run, tmp_path: Path) -> None:
    ensemble, (x, y) = run.ensemble(5), code.splits()[2]
    members = run.networks(5)
    wanted = torch.stack([network(x).softmax(dim=1) for network in members]).mean(dim=0)
    assert torch.allclose(ensemble(x).exp(), wanted, atol=1e-6)
    assert torch.allclose(nn.functional.cross_entropy(ensemble(x), y), -wanted.log()[range(60), y].mean(), atol=1e-6)
    assert not ensemble.training and isinstance(ensemble, nn.Module)
    torch.save(ensemble.state_dict(), tmp_path / "ensemble.pt")
    other = Ensemble([code.Net() for _ in range(5)], TinyTask())
    other.load_state_dict(torch.load(tmp_path / "ensemble.pt", weights_only=True))
    assert torch.equal(other(x), ensemble(x))


def test_predictions_are_of_the_kind_that_is_asked_with(run) -> None:
    x = code.splits()[2][0]
    wanted = run.ensemble(4)(x).exp()
    assert torch.allclose(run.predict(x, count=4), wanted, atol=1e-6)
    as_array = run.predict(x.numpy().astype(np.float64), count=4)
    assert isinstance(as_array, np.ndarray) and np.allclose(as_array, wanted.detach().numpy(), atol=1e-6)
    assert np.allclose(run.ensemble(4).predict(x.tolist(), batch_size=7), as_array, atol=1e-6)
    assert run.predict(x, source="soup").shape == (60, 3)
    with pytest.raises(UserError, match="says no preprocessing"):
        run.predict(x, raw=True)
    with pytest.raises(UserError, match="of no networks"):
        run.ensemble(0)


class Mean(Task):
    """Without classes."""

    name = "mean"

    def loss(self, model, batch): ...
    def predict(self, model, inputs): ...
    def score(self, predictions, targets): ...
    def wrong(self, predictions, targets): ...


def test_without_classes_outputs_are_averaged_and_what_is_no_tensor_is_told() -> None:
    members = [nn.Linear(2, 1) for _ in range(3)]
    x = torch.randn(4, 2)
    assert torch.allclose(Ensemble(members, Mean())(x), sum(member(x) for member in members) / 3)

    class Named(nn.Module):
        def forward(self, x):
            return {"out": x}

    with pytest.raises(UserError, match="do not give one tensor to average"):
        Ensemble([Named()], Mean())(x)


def test_several_inputs_reach_the_members_as_they_are_given() -> None:
    class Two(nn.Module):
        def forward(self, a, b):
            return a - b

    a, b = torch.randn(5, 1), torch.randn(5, 1)
    for x in ((a, b), {"a": a, "b": b}):
        assert torch.equal(Ensemble([Two(), Two()], Mean()).predict(x, batch_size=2), a - b)


def test_a_run_of_objects_is_opened_with_them(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "live", {})  # as in another process
    with pytest.raises(UserError) as caught:
        pdiff.open_run(run.folder)
    lines = str(caught.value).splitlines()  # one for each object
    assert len(lines) == 2 and all("pdiff.open_run(name, architecture=..., data=..." in line for line in lines)
    opened = pdiff.open_run(run.folder, architecture=code.Net, data=code.splits())
    assert torch.equal(opened.theta(), run.theta())
    x = code.splits()[2][0]
    assert torch.equal(opened.predict(x, count=3), run.predict(x, count=3))
    with pytest.raises(UserError, match="architecture is not what the run was made with"):
        pdiff.open_run(run.folder, architecture=nn.Linear, data=code.splits())
    with pytest.raises(UserError, match="data is not what the run was made with"):
        pdiff.open_run(run.folder, architecture=code.Net, data=code.splits(30))


def test_a_network_counts_by_its_structure_and_starts_the_run_where_there_are_no_checkpoints() -> None:
    net, data = code.Net(), code.splits()
    torch.manual_seed(5)
    other = code.Net()
    made = recipe_of(architecture=net, data=data, checkpoints="folder").architecture
    assert made.identity() == recipe_of(architecture=other, data=data, checkpoints="folder").architecture.identity()
    wide = recipe_of(architecture=code.Net(9), data=data, checkpoints="folder").architecture
    assert made.identity() != wide.identity()
    torch.manual_seed(7)
    fresh = made.build(input_shape=(2,), outputs=3)
    assert not torch.equal(fresh.layers[0].weight, net.layers[0].weight) and fresh is not net
    trained = recipe_of(architecture=net, data=data)
    assert trained.collect.name == "trajectory" and trained.train.epochs == 0
    start = trained.architecture.build(input_shape=(2,), outputs=3)
    assert torch.equal(start.layers[0].weight, net.layers[0].weight)
    assert trained.architecture.identity() != recipe_of(architecture=other, data=data).architecture.identity()
    assert recipe_of(architecture=code.Net, data=data).train.epochs > 0


def test_recipes_may_be_tables_or_a_recipe_and_keywords_replace_their_tables(tmp_path: Path) -> None:
    data = code.splits()
    tables = {"seed": 3, "method": {"name": "soup"}, "run": {"out": str(tmp_path)}}
    made = recipe_of(tables, architecture="mlp", data=data, checkpoints="there")
    assert (made.seed, made.method.name, made.architecture.name, made.collect.path) == (3, "soup", "mlp", "there")
    assert tables.keys() == {"seed", "method", "run"}  # which is the caller's
    assert recipe_given(made, {}, {"run.out": "there"}, ())[0].run.out == "there"
    recipe_given(None, {"architecture": "mlp", "data": data}, {"collect.count": 5}, ())
    assert recipe_of(architecture="mlp", data=data).collect.count != 5  # defaults stay as they are
    again = recipe_of(made, method={"name": "gaussian", "spreads": [2.0]}, selector="last_norms")
    assert (again.seed, again.method.spreads, again.selector.name) == (3, (2.0,), "last_norms")
    write_code(tmp_path)
    (tmp_path / "own.toml").write_text(RECIPE)
    of_file = recipe_of(tmp_path / "own.toml", data=data)
    assert of_file.dataset.target.startswith("live:data@") and of_file.baseline == ()
    assert of_file.architecture == load_recipe(tmp_path / "own.toml").architecture
    component = recipe_of(architecture=TinyNet(width=3), data=data, checkpoints="there").architecture
    assert component == TinyNet(width=3) and "@sha256:" in component.identity()["component"]


def test_the_task_follows_the_targets() -> None:
    x, y = code.blobs(9, 0)
    assert recipe_of(architecture="mlp", data=((x, y), (x, y)), checkpoints="f").task.name == "classification"
    named = defaults._with_defaults({"dataset": {}, "architecture": {}}, ((x, y * 0.5), (x, y * 0.5)))
    assert named["task"] == {"name": "regression"}
    task = recipe_of(architecture="mlp", data=((x, y), (x, y)), checkpoints="f", task=code.loss).task
    asked = defaults._with_defaults({"dataset": {}, "architecture": {}, "task": task}, None)["method"]
    tables = {"dataset": {}, "architecture": {}, "task": task, "method": {"name": "posterior"}}
    assert asked == defaults._with_defaults(tables, None)["method"]  # also where it is asked for by its name
    assert asked.get("together") == 0  # a posterior's ensemble is of probabilities, which a loss does not give
    assert task.name == "python" and float(task.score(torch.eye(3)[y][None], y)) == pytest.approx(-0.5514447)


def test_outputs_follow_the_task_where_targets_alone_do_not_say_them() -> None:
    x, y = code.blobs(9, 0)

    def outputs(targets, task):
        return recipe_of(architecture="mlp", data=((x, targets), (x, targets)), checkpoints="f", task=task).dataset

    assert outputs(y % 2, "binary").outputs == outputs(y % 2, "multilabel").outputs == 1
    assert outputs(torch.eye(3)[y].long(), "multilabel").outputs == 3
    assert outputs(y.float(), "classification").outputs == 3
    assert outputs(y.float(), "regression").outputs == outputs(y, "classification").outputs == 0


def test_a_loss_that_torch_broadcasts_is_refused_and_one_that_pairs_by_itself_is_not() -> None:
    outputs, targets = torch.randn(8, 1), torch.randn(8)

    def loss(task):
        made = recipe_of(architecture="mlp", data=(code.blobs(9, 0), code.blobs(9, 1)), checkpoints="f", task=task).task
        return made.loss(lambda x: x, Batch(outputs, targets))

    for crossed in (nn.MSELoss, nn.MSELoss(), lambda o, t: ((o - t) ** 2).mean()):
        with pytest.raises(UserError, match=r"outputs \[8, 1\] and targets \[8\], and sets each output against every"):
            loss(crossed)
    assert loss(lambda o, t: (o[:, 0] - t).abs().mean()) == (outputs[:, 0] - targets).abs().mean()
    assert loss(lambda o, t: (o.flatten() - t).abs().mean()) == (outputs[:, 0] - targets).abs().mean()
    with pytest.raises(UserError, match=r"gives \[8\] numbers; return one"):
        loss(lambda o, t: o[:, 0] - t)
    outputs.requires_grad_()
    with pytest.raises(UserError, match="without a gradient, which trains nothing"):
        loss(lambda o, t: (o[:, 0] - t).abs().mean().item())


@pytest.mark.parametrize(("objects", "told"), [
    ({}, "pdiff.run: no data; say data=..."),
    ({"data": code.splits()}, "pdiff.run: no architecture; say architecture=..."),
    ({"architecture": 3}, "architecture: give a network, or what builds one, not a int"),
    ({"architecture": TinyTask()}, "architecture: tiny_task is of kind task"),
    ({"data": 5}, "dataset: give .train, validation, test"),
    ({"checkpoints": []}, "checkpoints: give a folder, a list of files, or a list of state dicts"),
    ({"checkpoints": ["no.pt"]}, "checkpoints: no.pt: no such file"),
    ({"checkpoints": [{"a": 1}]}, r"checkpoints\[0\]: is no state dict"),
    ({"task": 3}, "task: give a name, a table, a task or a loss function"),
    ({"method": code.loss}, "method: give a name, a table or a component, not a function"),
    ({"architecture": "mlpp", "data": code.splits(), "checkpoints": "f"}, "no architecture 'mlpp'; did you mean 'mlp'"),
])  # fmt: skip
def test_what_cannot_be_used_is_one_line(objects, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        recipe_of(**objects)
    assert "\n" not in str(caught.value)


def test_checkpoints_are_a_folder_files_or_state_dicts(tmp_path: Path) -> None:
    write_checkpoints(tmp_path / "mine")
    files = sorted((tmp_path / "mine").iterdir())
    asked = {"architecture": code.Net, "data": code.splits(), "set": {**SMALL, "run.out": str(tmp_path / "runs")}}
    chosen = pdiff.run(checkpoints=[files[3], str(files[1])], quiet=True, **asked)
    of_networks = []
    for file in (files[3], files[1]):
        net = code.Net()
        net.load_state_dict(torch.load(file, weights_only=True)["model"])
        of_networks.append(copy.deepcopy(net))
    assert torch.equal(chosen.zoo.theta_ND[0], chosen.zoo.layout.vector(of_networks[0].state_dict()))
    assert torch.equal(chosen.zoo.theta_ND[1], chosen.zoo.layout.vector(of_networks[1].state_dict()))
    folder = recipe_given(None, {"architecture": code.Net, "data": code.splits(), "checkpoints": of_networks},
                          asked["set"], ())[0].collect.path  # fmt: skip
    assert [path.name for path in sorted(Path(folder).iterdir())] == ["00000.safetensors", "00001.safetensors"]


def test_images_come_with_what_makes_inputs_of_them() -> None:
    for options in ({}, {"image_size": 8, "mean": (0.0,), "std": (1.0,)}, {"channels": 3, "image_size": 32}):
        digits = Digits(**options)
        splits = digits.load(Context(seed=0))
        raw = torch.from_numpy(load_digits().data[-500:]).float().view(-1, 1, 8, 8) / 16
        inputs = splits.test.batch(torch.arange(500), torch.device("cpu")).inputs
        assert torch.allclose(digits.preprocess()(raw), inputs, atol=1e-5)
    ensemble = Ensemble([nn.Flatten()], Mean(), digits.preprocess(), raw=True)
    assert torch.allclose(ensemble(raw), inputs.flatten(1), atol=1e-5)
    with pytest.raises(UserError, match=r"images have the shape \[2, 2, 8, 8\]; give \[B, 3, height, width\]"):
        digits.preprocess()(torch.zeros(2, 2, 8, 8))


def test_the_program_knows_no_session(tmp_path: Path) -> None:
    write_code(tmp_path)
    (tmp_path / "own.toml").write_text(RECIPE.replace("mine:splits", f"live:data@sha256:{'0' * 64}"))
    assert "data was an object of a Python session" in mistake("check", str(tmp_path / "own.toml"))
