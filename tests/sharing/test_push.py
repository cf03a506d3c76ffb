"""A pushed folder: what timm and torch load again, a card that the hub's library reads, and nothing half-written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

import pdiff
from pdiff.errors import UserError
from pdiff.files import load_tensors, save_tensors
from pdiff.recipe.loading import load_recipe
from pdiff_plugins.sharing.card import _inputs
from pdiff_plugins.sharing.folder import CARD, CONFIG, RECIPE, WEIGHTS, _without_paths
from pdiff_plugins.sharing.licences import Licence
from tests.helpers import TINY, call, mistake

FILES = sorted((WEIGHTS, CONFIG, CARD, RECIPE))
VIT = {
    "architecture": {"name": "timm_model", "model": "test_vit"}, "dataset.image_size": 32, "dataset.channels": 1,
    "selector": {"name": "last_norms", "n": 1}, "train.epochs": 1, "collect.count": 12, "method.batch_size": 10,
    "method.steps": 5, "sample.count": 4, "sample.baseline_count": 2, "baseline": [{"name": "base"}],
    "evaluate": [{"name": "accuracy"}],
}  # fmt: skip
RELOAD = """
import os, pathlib, re, sys
import torch
from safetensors.torch import load_file, save_file
logits = {}
for folder in map(pathlib.Path, sys.argv[1:]):
    code = re.search(r"```python\\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    os.chdir(folder if "open(" in code else folder.parent)
    made = {}
    exec(code, made)
    with torch.no_grad():
        logits[folder.name] = made["network"](load_file(folder.parent / f"{folder.name}.inputs")["x"])
save_file(logits, folder.parent / "logits")
"""
"""Runs the code of each card, in a process that knows nothing else, and keeps what the networks answer."""


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("vit")
    (folder / "vit.toml").write_text(TINY)
    return pdiff.run(folder / "vit.toml", set=VIT | {"run.out": str(folder / "runs")}, quiet=True)


@pytest.fixture
def pushed(finished, tmp_path: Path) -> Path:
    call("push", str(finished.folder), "--to", str(tmp_path / "net"), "--licence", "CC-BY-4.0")
    return tmp_path / "net"


def front(folder: Path):
    return ModelCard.load(folder / CARD).data


def test_plain_timm_and_torch_load_the_network_that_is_best(finished, vit, pushed: Path, tmp_path: Path) -> None:
    call("push", str(vit.folder), "--to", str(tmp_path / "vit"))
    expected = {}
    for name, run in (("net", finished), ("vit", vit)):
        x = run.pipeline.data.test.batch(torch.arange(5), torch.device("cpu")).inputs
        save_tensors(tmp_path / f"{name}.inputs", {"x": x})
        with torch.no_grad():
            expected[name] = run.networks(1)[0](x)
    done = subprocess.run(
        [sys.executable, "-c", RELOAD, str(pushed), str(tmp_path / "vit")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    logits = load_tensors(tmp_path / "logits")
    for name, values in expected.items():
        assert torch.allclose(logits[name], values, atol=1e-5), name
    assert sorted(path.name for path in pushed.iterdir()) == FILES


def test_timm_prepares_images_as_the_data_set_does(vit, tmp_path: Path) -> None:
    import timm
    from PIL import Image
    from sklearn.datasets import load_digits

    call("push", str(vit.folder), "--to", str(tmp_path / "vit"))
    network = timm.create_model(f"local-dir:{tmp_path / 'vit'}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    pixels = torch.from_numpy(load_digits().images[-1] * 255 / 16).round().to(torch.uint8).numpy()
    x = vit.pipeline.data.test.batch(torch.tensor([-1]), torch.device("cpu")).inputs[0]
    assert torch.allclose(transform(Image.fromarray(pixels)), x, atol=2 / 255 / 0.376)
    config = json.loads((tmp_path / "vit" / CONFIG).read_text())
    assert config["num_classes"] == 10 and config["num_features"] == network.num_features


def test_the_card_has_metadata_that_the_hubs_library_reads(finished, pushed: Path) -> None:
    data, score = front(pushed), finished.scores["networks"]["pdiff"]["accuracy"]
    assert (data.license, data.library_name, data.pipeline_tag) == ("cc-by-4.0", "pdiff", "image-classification")
    assert data.datasets == ["digits"] and data.metrics == ["accuracy"] and "weight-generation" in data.tags
    results = {result.dataset_split: result for result in data.eval_results}
    assert results["test"].metric_value == pytest.approx(score["best"])
    assert results["validation"].metric_value == pytest.approx(score["selection_values"][score["best_index"]])
    assert all(result.task_type == "image-classification" for result in data.eval_results)


def test_the_card_sets_each_claim_beside_its_control(finished, pushed: Path) -> None:
    text, networks = (pushed / CARD).read_text(), finished.scores["networks"]
    table = text[text.index("## Scores") : text.index("## What the run says")]
    for source, key in (("original", "best"), ("original", "mean"), ("pdiff", "mean"), ("base", "best")):
        assert f"{networks[source]['accuracy'][key]:.2%}" in table, source
    assert "selected on validation" in table
    head, *_ = [line for line in (finished.folder / "report.md").read_text().splitlines() if line.startswith("**")]
    assert head in text
    assert 'name = "mlp_mini"' in text and "Seed 3" in text and "CC-BY-4.0" in text


def test_the_recipe_runs_elsewhere_and_names_no_folder_of_this_machine(finished, pushed: Path) -> None:
    recipe = load_recipe(pushed / RECIPE)
    assert recipe.model_copy(update={"run": finished.recipe.run}) == finished.recipe
    home = str(finished.folder.parent)
    assert not [file.name for file in pushed.iterdir() if home.encode() in file.read_bytes()]


def test_paths_are_cut_to_their_last_name() -> None:
    recipe = {"root": "/anywhere/cats", "files": ["~/w.pt", r"C:\w\x.pt", "data/w.pt"], "name": "conv1d", "of": 3}
    cut = {"root": "cats", "files": ["w.pt", "x.pt", "data/w.pt"], "name": "conv1d", "of": 3}
    assert _without_paths(recipe) == cut


def test_another_network_or_source_is_what_it_says(finished, tmp_path: Path) -> None:
    call("push", str(finished.folder), "--to", str(tmp_path / "a"), "--source", "original", "--which", "7")
    state, theta_ND = load_tensors(tmp_path / "a" / WEIGHTS), finished.theta("original")
    assert finished.zoo.layout.vector(state).equal(theta_ND[7])
    text = (tmp_path / "a" / CARD).read_text()
    assert "one of 60 checkpoints that were trained" in text and "number 7 of 60." in text
    value = next(result.metric_value for result in front(tmp_path / "a").eval_results if result.dataset_split == "test")
    assert value == pytest.approx(finished.scores["networks"]["original"]["accuracy"]["values"][7])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--which", "12"], "--which 12: write 'best' or a number from 0 to 11"),
        (["--which", "first"], "--which first: write 'best'"),
        (["--source", "pdif"], "did you mean 'pdiff'?"),
        (["--licence", "no/such/file"], "--licence no/such/file"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(finished, tmp_path: Path, options: list[str], said: str) -> None:
    assert said in mistake("push", str(finished.folder), "--to", str(tmp_path / "net"), *options)
    assert not list(tmp_path.iterdir())


def test_what_is_there_stays_unless_it_may_be_replaced(finished, pushed: Path) -> None:
    (pushed / "notes.txt").write_text("mine")
    before = (pushed / WEIGHTS).read_bytes()
    again = ("push", str(finished.folder), "--to", str(pushed), "--source", "soup")
    assert "is there already" in mistake(*again)
    assert (pushed / WEIGHTS).read_bytes() == before
    call(*again, "--overwrite")
    assert (pushed / WEIGHTS).read_bytes() != before and (pushed / "notes.txt").read_text() == "mine"
    assert "is a file; name a folder" in mistake("push", str(finished.folder), "--to", str(pushed / WEIGHTS))


def test_a_push_that_fails_leaves_no_folder(finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pdiff_plugins.sharing import card

    def fails(*_: object) -> str:
        raise OSError(28, "No space left on device", str(tmp_path / "net"))

    monkeypatch.setattr(card, "card", fails)
    assert "No space left on device" in mistake("push", str(finished.folder), "--to", str(tmp_path / "net"))
    assert not list(tmp_path.iterdir())


def test_a_network_that_does_not_come_back_is_not_written(finished, tmp_path: Path, monkeypatch) -> None:
    from pdiff_plugins.sharing import config

    def another(choice, about, folder):
        return torch.nn.Linear(2, 2)

    monkeypatch.setattr(config, "_loaded", another)
    assert "cannot be loaded again" in mistake("push", str(finished.folder), "--to", str(tmp_path / "net"))
    assert not list(tmp_path.iterdir())


def test_licences_are_the_hubs_or_other_with_a_name(tmp_path: Path) -> None:
    (tmp_path / "Our Terms.txt").write_text("Do no harm.")
    of_file = Licence.of(str(tmp_path / "Our Terms.txt"))
    assert Licence.of("MIT").metadata == {"license": "mit"}
    assert Licence.of("").metadata == {"license": "other", "license_name": "unknown"}
    assert Licence.of("GPL-3.0-or-later").metadata == {"license": "other", "license_name": "gpl-3.0-or-later"}
    named = {"license": "other", "license_name": "our-terms", "license_link": "LICENSE"}
    assert of_file.metadata == named and of_file.text == "Do no harm."
    with pytest.raises(UserError, match="no readable text file"):
        Licence.of(str(tmp_path / "none.txt"))


def test_a_licence_file_goes_with_the_weights(finished, tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("Do no harm.")
    call("push", str(finished.folder), "--to", str(tmp_path / "net"), "--licence", str(tmp_path / "terms.txt"))
    assert (tmp_path / "net" / "LICENSE").read_text() == "Do no harm."
    assert re.search(r"^license_link: LICENSE$", (tmp_path / "net" / CARD).read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", ["net", "vit"])
def test_a_network_is_pushed_where_the_data_are_not(name, finished, vit, tmp_path: Path, monkeypatch) -> None:
    run = {"net": finished, "vit": vit}[name]
    call("push", str(run.folder), "--to", str(tmp_path / "a"), "--source", "original", "--which", "3")

    def absent(self, ctx):
        raise UserError("dataset digits: not here")

    monkeypatch.setattr(type(run.recipe.dataset), "load", absent)
    call("push", str(run.folder), "--to", str(tmp_path / "b"), "--source", "original", "--which", "3")
    for file in (WEIGHTS, CONFIG, RECIPE):
        assert (tmp_path / "b" / file).read_bytes() == (tmp_path / "a" / file).read_bytes(), file


def test_a_plugin_that_has_the_architecture_is_named(finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pdiff.plugins.discovery import registry

    owner = next(plugin for plugin in registry().plugins if plugin.name == "networks")
    for field, value in (("module", "pdiff_acme"), ("distribution", "pdiff-acme"), ("version", "2.0")):
        monkeypatch.setattr(owner, field, value)
    call("push", str(finished.folder), "--to", str(tmp_path / "net"))
    assert "and `pdiff-acme 2.0`, which has its architecture" in (tmp_path / "net" / CARD).read_text()


PLUGIN = """
from torch import nn

from pdiff import hookimpl
from pdiff.components import Architecture


class Beside(Architecture):
    '''One layer.'''

    name = "beside"

    def build(self, *, input_shape, outputs):
        return nn.Sequential(nn.Flatten(), nn.Linear(256, outputs))


@hookimpl
def register_architectures(register):
    register(Beside)
"""
NET = "from torch import nn\ndef net(outputs):\n    return nn.Sequential(nn.Flatten(), nn.Linear(256, outputs))\n"


@pytest.mark.parametrize(
    ("code", "architecture", "named"),
    [(NET, {"name": "python", "target": "mine.py:net"}, "the file `mine.py`"),
     (PLUGIN, {"name": "beside"}, "the plugin file `mine.py`")],
)  # fmt: skip
def test_code_of_ones_own_is_named_and_the_card_loads_the_network_with_it(
    code: str, architecture: dict, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
    Path("mine.py").write_text(code)
    changes = {"architecture": architecture, "selector": {"name": "entire"}, "collect.count": 3, "method.batch_size": 3}
    run = pdiff.run("tiny.toml", plugins=["mine.py"] * (named.count("plugin")), set=changes, quiet=True)
    call("push", str(run.folder), "--to", "net")
    said = (tmp_path / "net" / CARD).read_text()
    assert f"and {named}, which has its architecture and is not in this folder" in said
    (tmp_path / "net" / "mine.py").write_text(code)
    snippet = re.search(r"```python\n(.*?)```", said, re.DOTALL)[1] + "print(len(network.state_dict()))"
    done = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path / "net", capture_output=True, text=True)
    assert done.stdout == "2\n", done.stderr


def test_the_shapes_of_inputs_are_said_each_with_its_name_where_it_has_one() -> None:
    assert [_inputs(shape) for shape in ((3, 8, 8), [], {"a": [2], "b": [4, 1]}, ([2], [3]))] == [
        "`[batch, 3, 8, 8]`", "`[batch]`", "`a` `[batch, 2]`, `b` `[batch, 4, 1]`", "`[batch, 2]`, `[batch, 3]`",
    ]  # fmt: skip


def test_a_network_of_one_task_of_many_says_which(tmp_path: Path) -> None:
    tables = {
        "task": {"name": "subsets"}, "train": {}, "encoder": {"name": "bits"}, "method": {"name": "nearest"},
        "collect": {"name": "tasks", "learnt": 4, "steps": 2, "lr": 0.01}, "baseline": [], "evaluate": [],
        "report": [], "sample.count": 2, "run.out": str(tmp_path / "runs"),
    }  # fmt: skip
    (tmp_path / "tasks.toml").write_text(TINY)
    run = pdiff.run(tmp_path / "tasks.toml", set=tables, quiet=True)
    call("push", str(run.folder), "--to", str(tmp_path / "net"), "--which", "1")
    about = run.pipeline.about("nearest")[1]
    assert json.loads((tmp_path / "net" / CONFIG).read_text())["about"] == about
    assert f"It is for `{json.dumps(about)}`." in (tmp_path / "net" / CARD).read_text()
