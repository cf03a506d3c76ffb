"""Every hook is typed and documented, and its example is a plugin that works."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest
from typer.testing import CliRunner

import pdiff.api
from pdiff import hookspecs
from pdiff.context import Context
from pdiff.engine.observe import ask, tracked
from pdiff.engine.scores import scores_of
from pdiff.errors import UserError
from pdiff.plugins.discovery import Registry
from pdiff.populations.predictor import Predictor
from pdiff.public import PUBLIC
from pdiff.recipe.given import completed
from pdiff.testing import TinyNet, TinyTask, check_component, tiny_run
from pdiff.way import OneAtATime
from pdiff_plugins.selectors import Names

HOOKS = {name: hook for name, hook in vars(hookspecs).items() if hasattr(hook, "pdiff_spec")}


def example(hook):
    """Return the code below `Example:` in a hook's docstring."""
    _, found, code = inspect.cleandoc(HOOKS[hook].__doc__).partition("Example:\n")
    assert found, f"{hook}: its docstring has no example"
    return textwrap.dedent(code)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that makes a plugin of each code and loads those, and nothing else, through a registry."""
    monkeypatch.syspath_prepend(tmp_path)
    loaded = []

    def write(*codes):
        entries = [EntryPoint(f"example{number}", f"hook_example{number}", "pdiff") for number in range(len(codes))]
        for entry, code in zip(entries, codes, strict=True):
            (tmp_path / f"{entry.value}.py").write_text(code)
            loaded.append(entry.value)
        registry = Registry(entries)
        assert [plugin.failure for plugin in registry.plugins] == [""] * len(codes)
        for module in ("engine.observe", "plugins.discovery", "recipe.given"):
            reader = f"pdiff.{module}.registry"
            monkeypatch.setattr(reader, lambda: registry)
        return registry

    yield write
    for name in loaded:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("hook", HOOKS)
def test_an_example_imports_what_is_public(hook):
    for node in ast.walk(ast.parse(example(hook))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pdiff"):
            private = {alias.name for alias in node.names} - set(PUBLIC.get(node.module, ()))
            assert not private, f"{node.module}: {private}"


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_typed_and_documented(hook):
    signature = inspect.signature(HOOKS[hook])
    assert ("None" in signature.return_annotation.split(" | ")) and "Any" not in signature.return_annotation
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


def one_parameter(folder, **tables):
    """Return a run in which one bias is selected."""
    return tiny_run(folder, architecture=TinyNet(width=1), selector=Names(include=("1.bias",)), **tables)


def networks_are_aligned(hook, registry, tmp_path, capsys):
    pipeline = one_parameter(tmp_path / "runs")
    assert pipeline.bench.align(pipeline.zoo.theta_ND).equal(pipeline.zoo.theta_ND)
    several = tiny_run(tmp_path / "runs")
    assert several.bench.align(several.zoo.theta_ND) is None, "the example aligns networks of one parameter alone"


def ways_are_chosen(hook, registry, tmp_path, capsys):
    pipeline = tiny_run(tmp_path / "runs")
    about = {"model": pipeline.bench.network, "layout": pipeline.zoo.layout, "task": TinyTask()}
    chooser = ask(pipeline.warn, hook, steady=True, **about)
    assert isinstance(chooser, OneAtATime) and chooser.model is about["model"]
    assert ask(pipeline.warn, hook, steady=False, **about) is None
    split = pipeline.data.validation
    classes_ME = Predictor(**about, chooser=chooser).predict(pipeline.zoo.theta_ND, split, Context(seed=0), "predict")
    assert pipeline.bench.score(pipeline.zoo.theta_ND).equal(TinyTask().score(classes_ME, split.targets))


def recipes_are_completed(hook, registry, tmp_path, capsys):
    made = completed({"seed": 3}, {"data": "nothing but zeros", "task": None}, {}, False)
    assert made == {"seed": 3, "dataset": {"name": "zeros"}}
    with pytest.raises(UserError, match="no plugin takes objects"):
        completed({}, {"data": "something else"}, {}, False)


def the_end_of_a_run_is_told(hook, registry, tmp_path, capsys):
    opened = pdiff.api.Run(tmp_path, tiny_run(tmp_path / "runs"))
    with pytest.raises(ZeroDivisionError), tracked((), print, opened.pipeline.name, tmp_path, recipe={}, stages={}):
        _ = 1 / 0
    assert capsys.readouterr().out == "run tiny ZeroDivisionError: division by zero\n"


STAGES = ("train", "collect", "fit", "sample")
CASES = {name: components_work for name in HOOKS if name.startswith("register_") and name != "register_commands"}
CASES |= {
    "register_commands": commands_work,
    "align_networks": networks_are_aligned,
    "complete_recipe": recipes_are_completed,
    "choose_ways": ways_are_chosen,
    "render_samples": samples_are_drawn,
    "stage_started": observed(*(f"begins: {stage}" for stage in STAGES)),
    "stage_progress": observed("train 1 {'loss': "),
    "stage_finished": observed(*(f"ends: {stage}" for stage in STAGES)),
    "run_finished": the_end_of_a_run_is_told,
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
    assert said[0] == "warning: plugin example0: stage_started raised ZeroDivisionError: division by zero"


def test_a_plugin_that_cannot_draw_is_named_and_the_next_one_draws(load, tmp_path):
    drawing = example("render_samples")
    load(drawing.replace("lengths = ", "lengths = 1 / 0, "), drawing)
    opened, said = pdiff.api.Run(tmp_path, tiny_run(tmp_path / "runs")), []
    opened.pipeline.progress.say = said.append
    folder, _ = opened.sample_to(tmp_path / "networks", count=3)
    (path,) = opened.render(folder, count=3)
    assert path.name == "lengths.txt"
    assert said == ["warning: plugin example0: render_samples raised ZeroDivisionError: division by zero"]


def test_the_first_answer_is_that_of_who_wants_to_be_first(load, tmp_path):
    """Hooks are asked as pluggy calls them: `tryfirst` comes first, whatever the plugins' names."""
    code = """
from pdiff import hookimpl

@hookimpl(tryfirst=%s)
def align_networks(model, inputs, layout, reference_D, ctx):
    return lambda theta_MD, to_MD: theta_MD + %d
"""
    load(code % (True, 1), code % (False, 2))
    pipeline = tiny_run(tmp_path)
    theta_MD = pipeline.zoo.theta_ND[:2]
    assert pipeline.bench.align(theta_MD).equal(theta_MD + 1)


@pytest.mark.parametrize("code", ["register_selectors", "align_networks"])
def test_networks_are_not_aligned_where_no_plugin_can(code, load, tmp_path):
    load(example(code).replace("def signs", "1 / 0\n\n    def signs"))
    pipeline, said = one_parameter(tmp_path / "runs"), []
    pipeline.progress.say = said.append
    assert pipeline.bench.align(pipeline.zoo.theta_ND) is None
    broken = "warning: plugin example0: align_networks raised ZeroDivisionError: division by zero"
    assert said == ([broken] if code == "align_networks" else [])


@pytest.mark.parametrize("hook", HOOKS)
def test_a_misspelt_hook_is_named_with_the_nearest_one(hook, tmp_path, monkeypatch):
    written = hook.replace("_", "", 1)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"misspelt_{hook}.py").write_text(
        f"from pdiff import hookimpl\n\n\n@hookimpl\ndef {written}():\n    pass\n"
    )
    (plugin,) = Registry([EntryPoint("misspelt", f"misspelt_{hook}", "pdiff")]).plugins
    assert plugin.failure == f"ValueError: unknown hook {written!r}; did you mean {hook!r}?"


def test_commands_that_cannot_be_added_are_named_and_the_others_work(load, capsys):
    load(example("register_commands").replace("@app.command()", "1 / 0"))
    from pdiff.cli import build

    assert CliRunner().invoke(build(), ["list-plugins"], catch_exceptions=False).exit_code == 0
    assert "warning: plugin example0: register_commands: ZeroDivisionError: division by zero" in capsys.readouterr().err


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
