"""Every hook is typed and documented, and its example is a plugin that works."""

from __future__ import annotations

import inspect
import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest
from typer.testing import CliRunner

import pdiff.api
from pdiff import hookspecs
from pdiff.engine.scores import scores_of
from pdiff.plugins.discovery import Registry
from pdiff.testing import check_component, tiny_run

HOOKS = {name: hook for name, hook in vars(hookspecs).items() if hasattr(hook, "pdiff_spec")}


def example(hook):
    """Return the code below `Example:` in a hook's docstring."""
    _, found, code = inspect.cleandoc(HOOKS[hook].__doc__).partition("Example:\n")
    assert found, f"{hook}: its docstring has no example"
    return textwrap.dedent(code)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that makes a plugin of code and loads it, and nothing else, through a registry."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(code):
        (tmp_path / "hook_example.py").write_text(code)
        registry = Registry([EntryPoint("example", "hook_example", "pdiff")])
        assert [plugin.failure for plugin in registry.plugins] == [""]
        for reader in ("pdiff.engine.observe.registry", "pdiff.plugins.discovery.registry"):
            monkeypatch.setattr(reader, lambda: registry)
        return registry

    yield write
    sys.modules.pop("hook_example", None)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_typed_and_documented(hook):
    signature = inspect.signature(HOOKS[hook])
    assert signature.return_annotation == "None"
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in signature.parameters.values())
    assert len(HOOKS[hook].__doc__.splitlines()[0]) < 110
    compile(example(hook), hook, "exec")


def components_work(hook, registry, tmp_path, capsys):
    (plugin,) = registry.plugins
    assert plugin.hooks == [hook] and plugin.components
    for component in plugin.components:
        found, _ = registry.find(component.kind, component.name)
        assert found is component
        check_component(component)


def commands_work(hook, registry, tmp_path, capsys):
    from pdiff.cli import build

    result = CliRunner().invoke(build(), ["hello", "--name", "you"], catch_exceptions=False)
    assert result.output == "hello you\n"


def observed(*lines):
    """Return a check that a small run prints these."""

    def check(hook, registry, tmp_path, capsys):
        scores_of(tiny_run(tmp_path / "runs"))
        printed = capsys.readouterr().out.splitlines()
        missing = [line for line in lines if not any(text.startswith(line) for text in printed)]
        assert not missing, printed

    return check


def samples_are_drawn(hook, registry, tmp_path, capsys):
    opened = pdiff.api.Run(tmp_path, tiny_run(tmp_path / "runs"))
    folder, _ = opened.sample_to(tmp_path / "networks", count=3)
    (path,) = opened.render(folder, count=3)
    assert path.name == "lengths.txt" and path.read_text().count("*") > 3


STAGES = ("train", "collect", "fit", "sample")
CASES = {name: components_work for name in HOOKS if name.startswith("register_") and name != "register_commands"}
CASES |= {
    "register_commands": commands_work,
    "render_samples": samples_are_drawn,
    "stage_started": observed(*(f"begins: {stage}" for stage in STAGES)),
    "stage_progress": observed("train 1 {'loss': "),
    "stage_finished": observed(*(f"ends: {stage}" for stage in STAGES)),
}


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_a_hook_works(hook, load, tmp_path, capsys):
    assert hook in CASES, f"the hook {hook} has no test"
    CASES[hook](hook, load(example(hook)), tmp_path, capsys)


def test_an_observer_that_raises_is_named_and_harms_no_run(load, tmp_path):
    load(example("stage_started").replace('print("begins:", stage)', "1 / 0"))
    pipeline, said = tiny_run(tmp_path / "runs"), []
    pipeline.progress.say = said.append
    assert scores_of(pipeline)["networks"]["tiny_method"]["count"] == 6
    assert said[0] == "warning: plugin example: stage_started raised ZeroDivisionError: division by zero"


def test_commands_that_cannot_be_added_are_named_and_the_others_work(load, capsys):
    load(example("register_commands").replace("@app.command()", "1 / 0"))
    from pdiff.cli import build

    assert CliRunner().invoke(build(), ["list-plugins"], catch_exceptions=False).exit_code == 0
    assert "warning: plugin example: register_commands raised division by zero" in capsys.readouterr().err


def test_the_example_of_the_design_works(load):
    code = '''
        from pdiff import hookimpl
        from pdiff.components import Architecture

        class TinyMlp(Architecture):
            """Three-layer perceptron."""
            name = "tiny_mlp"
            width: int = 16

            def build(self, *, input_shape, outputs):
                from torch import nn
                return nn.Sequential(nn.Flatten(), nn.LazyLinear(self.width), nn.ReLU(), nn.LazyLinear(outputs))

        @hookimpl
        def register_architectures(register):
            register(TinyMlp)
        '''
    component, _ = load(textwrap.dedent(code)).find("architecture", "tiny_mlp")
    check_component(component, width=4)
