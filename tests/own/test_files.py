"""Files as plugins: found beside the recipe, counted by content, told of in one line when they fail, change or go."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pytest

import pdiff
from pdiff.engine.keys import run_key, train_stage
from pdiff.errors import Faults, UserError
from pdiff.plugins.discovery import Registry, registry
from pdiff.recipe.loading import load_recipe
from tests.helpers import TINY, call, mistake, pdiff_command

NET = '''
from pdiff.components import Architecture, Selector

class Base(Architecture):
    """Has no name, so it is a base of others."""
    width: int = 4

class Net(Base):
    """A network of the user's own."""
    name = "my_net"

    def build(self, *, input_shape, outputs):
        from torch import nn
        from beside import LAYER
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(self.width), LAYER(), nn.LazyLinear(outputs))
'''
RECIPE = 'plugins = ["mine.py"]\n' + TINY.replace('name = "mlp_mini"\nhidden = [12, 8]', 'name = "my_net"')


@pytest.fixture(autouse=True)
def no_files_after():
    yield
    registry().use_files([])


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(NET)
    (tmp_path / "beside.py").write_text("from torch.nn import ReLU as LAYER\n")
    (tmp_path / "mine.toml").write_text(RECIPE)
    return tmp_path / "mine.toml"


def test_a_file_beside_the_recipe_is_a_plugin_without_hooks(recipe: Path) -> None:
    loaded = load_recipe(recipe)
    assert type(loaded.architecture).__name__ == "Net"
    assert loaded.plugins[0].startswith(f"{recipe.parent / 'mine.py'}@sha256:")
    assert loaded.architecture.build(input_shape=(1, 2, 2), outputs=3)[2].__class__.__name__ == "ReLU"
    again = load_recipe(recipe, plugins=[recipe.parent / "mine.py"])
    assert type(again.architecture) is type(loaded.architecture)  # the same file twice is one plugin
    assert [plugin.name for plugin in registry().plugins if plugin.file] == ["mine"]


def test_its_content_counts_and_what_it_imports_and_its_place_does_not(recipe: Path, tmp_path: Path) -> None:
    before, beside = load_recipe(recipe), recipe.parent / "beside.py"
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in (recipe, recipe.parent / "mine.py", beside):
        (moved / path.name).write_text(path.read_text())
    assert run_key(load_recipe(moved / "mine.toml")) == run_key(before)
    beside.write_text("from torch.nn import Tanh as LAYER\n")
    changed = load_recipe(recipe)
    assert changed.architecture.build(input_shape=(4,), outputs=3)[2].__class__.__name__ == "Tanh"
    assert train_stage(changed).key != train_stage(before).key and run_key(changed) != run_key(before)


def test_a_plugin_that_a_recipe_does_not_use_changes_no_key(tiny: Path, recipe: Path) -> None:
    assert run_key(load_recipe(tiny, plugins=[recipe.parent / "mine.py"])) == run_key(load_recipe(tiny))


def test_hook_functions_work_and_a_file_of_an_installed_plugins_name_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "digits.py").write_text(textwrap.dedent('''
        from pdiff import hookimpl
        from pdiff.components import Selector

        class Biases(Selector):
            """Every bias."""
            name = "biases"
            def select(self, model):
                return [key for key, _ in model.named_parameters() if key.endswith("bias")]

        class Hidden(Biases):
            """Not registered, because the hook says what is."""
            name = "hidden"

        @hookimpl
        def register_selectors(register):
            register(Biases)
    '''))  # fmt: skip
    registry().use_files([tmp_path / "digits.py"])
    assert registry().find("selector", "digits.py:biases")[0].name == "biases"
    assert registry().find("dataset", "digits")[0].name == "digits"
    with pytest.raises(UserError, match="no selector 'hidden'"):
        registry().find("selector", "hidden")


def test_two_files_of_one_name_are_told(recipe: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text(NET.replace("my_net", "other_net"))
    with pytest.raises(UserError, match="has the same name; rename one"):
        load_recipe(recipe, plugins=[other])


BROKEN = {
    "raises": ("1 / 0", "line 2: ZeroDivisionError: division by zero"),
    "import": ("import no_such_library", "No module named 'no_such_library'"),
    "syntax": ("def", "SyntaxError"),
    "exit": ("raise SystemExit('goodbye')", "SystemExit: goodbye"),
    "beside": ("import broken_beside", "broken_beside.py, line 1: KeyError"),
    "empty": ("import math", "defines no component that has a name, and no hook"),
    "docstring": (NET.replace('"""A network of the user\'s own."""', ""), "Net has no docstring"),
    "abstract": (NET.replace("def build", "def bild"), "Net lacks build"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_file_that_fails_is_one_line_with_its_name_and_the_reason(recipe: Path, fault: str, capsys) -> None:
    code, reason = BROKEN[fault]
    (recipe.parent / "broken_beside.py").write_text("{}['key']")
    (recipe.parent / "mine.py").write_text(f"print('hello')\n{code}")
    with pytest.raises(UserError) as caught:
        load_recipe(recipe)
    (line,) = str(caught.value).splitlines()
    assert str(recipe.parent / "mine.py") in line and reason in line
    assert capsys.readouterr().out == ""  # what it prints is no output of the program
    (recipe.parent / "mine.py").write_text(NET)
    assert load_recipe(recipe).architecture.name == "my_net"


def test_a_file_whose_name_is_a_module_of_pythons_shadows_nothing(tmp_path: Path) -> None:
    import random

    (tmp_path / "random.py").write_text(NET)
    registry().use_files([tmp_path / "random.py"])
    assert registry().find("architecture", "my_net") and sys.modules["random"] is random


@pytest.mark.parametrize("name", ["torch", "numpy"])
def test_a_file_whose_name_is_an_installed_modules_shadows_nothing(recipe: Path, name: str) -> None:
    (recipe.parent / "mine.py").rename(recipe.parent / f"{name}.py")
    recipe.write_text(recipe.read_text().replace("mine.py", f"{name}.py"))
    (elsewhere := recipe.parent / "elsewhere").mkdir()  # where it is the current folder Python itself takes the file
    told = pdiff_command("check", str(recipe), cwd=elsewhere)
    assert "can run" in told.stdout + told.stderr, told.stderr


def test_a_run_is_opened_from_anywhere_unless_its_code_has_changed_or_gone(recipe: Path, tmp_path: Path) -> None:
    away, quick = tmp_path / "away", {"method": {"name": "gaussian"}, "baseline": [], "expect": [], "train.epochs": 1}
    away.mkdir()
    run = pdiff.run(recipe, set=quick, out=tmp_path / "runs", quiet=True)
    sampled = pdiff_command("sample", str(run.folder), "-n", "1", "--to", "networks", cwd=away)
    assert sampled.returncode == 0, sampled.stderr
    (tmp_path / "mine.py").write_text(NET + "\n# another comment\n")
    changed = mistake("sample", str(run.folder), "-n", "1")
    assert "mine.py: has changed" in changed and "run the recipe again" in changed
    (tmp_path / "mine.py").unlink()
    assert "mine.py: no such file" in mistake("sample", str(run.folder), "-n", "1")


def test_plugins_left_out_by_the_environment_leave_files_in(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDIFF_PLUGINS", "digits")
    limited = Registry()
    limited.use_files([recipe.parent / "mine.py"])
    assert [plugin.name for plugin in limited.plugins] == ["digits", "mine"]


def test_files_are_listed_and_described(recipe: Path) -> None:
    file = str(recipe.parent / "mine.py")
    listed = json.loads(call("list-plugins", "--json", "--plugin", file))
    (own,) = [plugin for plugin in listed if plugin["plugin"] == "mine"]
    assert own["provides"] == {"architecture": ["my_net"]} and own["version"] == file
    assert "A network of the user's own." in call("describe", "architecture", "my_net", "--plugin", file)
    assert not any(plugin["plugin"] == "mine" for plugin in json.loads(call("list-plugins", "--json")))


def test_what_is_no_file_is_told(tiny: Path, recipe: Path) -> None:
    with pytest.raises(UserError, match=r"--plugin: .*min\.py: no such file; did you mean 'mine\.py'"):
        load_recipe(tiny, plugins=[recipe.parent / "min.py"])
    with pytest.raises(UserError, match=r"plugins: give a list of Python files"):
        load_recipe(recipe, {"plugins": "mine.py"})
    with pytest.raises(UserError, match=r"mine\.toml: is no Python file"):
        load_recipe(tiny, plugins=[recipe])


def test_a_plugin_that_is_missing_hides_no_other_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mynet.py").write_text("")
    Path("tiny.toml").write_text(TINY)
    changes = {"seed": "x", "architecture": {"name": "of_the_plugin"}, "plugins": ["gone.py", "lost.py"]}
    with pytest.raises(Faults) as error:
        load_recipe("tiny.toml", changes)
    first, second, third = error.value.lines
    assert first.startswith("tiny.toml: plugins: gone.py: no such file (looked for ") and "lost.py" in second
    assert third.startswith("tiny.toml: seed = 'x': ")
