"""Discovery: real entry points in a folder on the path; a broken plugin is named and harms no other."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys

import pytest
from typer.testing import CliRunner

from pdiff.cli import build
from pdiff.errors import UserError
from pdiff.plugins.discovery import NoSuchComponent, Registry
from tests.helpers import pdiff_command

GOOD = '''
from pdiff import hookimpl
from pdiff.components import Architecture, Selector

class Net(Architecture):
    """Network of a stranger."""
    name = "stranger_net"

    def build(self, *, input_shape, outputs):
        from torch import nn
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs))

@hookimpl
def register_architectures(register):
    register(Net)
'''


def good(name):
    return GOOD.replace("stranger_net", name)


BROKEN = {
    "import": ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
    "syntax": ("def", "SyntaxError: "),
    "exit": ("raise SystemExit('goodbye')", "SystemExit: goodbye"),
    "unknown_hook": (
        GOOD.replace("def register_architectures", "def register_architecture"),
        "ValueError: unknown hook 'register_architecture'; did you mean 'register_architectures'?",
    ),
    "argument": (GOOD.replace("(register):", "(take):"), "'take'"),
    "kind": (
        GOOD.replace("def register_architectures", "def register_selectors"),
        "ValueError: Net is of kind 'architecture'; this hook takes selector",
    ),
    "no_component": (GOOD.replace("register(Net)", "register(dict)"), "<class 'dict'>"),
    "docstring": (GOOD.replace('"""Network of a stranger."""', ""), "ValueError: Net has no docstring"),
    "abstract": (GOOD.replace("def build", "def bild"), "ValueError: Net lacks build"),
    "bad_name": (good("StrangerNet"), "Net: the name 'StrangerNet' is not in lower_snake_case"),
    "no_name": (GOOD.replace('name = "stranger_net"', ""), "Net: the name '' is not in lower_snake_case"),
    "duplicate": (
        GOOD + "    class Other(Net):\n        '''Another.'''\n    register(Other)\n",
        "Other: the name 'stranger_net' is taken in this plugin",
    ),
    "raises": (GOOD.replace("register(Net)", "register(Net); 1 / 0"), "ZeroDivisionError: division by zero"),
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a distribution with one plugin, as pip would."""
    modules = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def write(plugin, code, distribution=None, target=""):
        distribution = distribution or f"pdiff-{plugin}"
        module = f"acme_{distribution.replace('-', '_')}"
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[pdiff]\n{plugin} = {module}{target}\n")
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - modules:
        if name.startswith("acme_"):
            del sys.modules[name]


def plugin_of(registry, name):
    return next(plugin for plugin in registry.plugins if plugin.name == name)


def test_a_distribution_is_found_with_its_name_and_version(install):
    install("acme", GOOD)
    registry = Registry()
    plugin = plugin_of(registry, "acme")
    assert (plugin.distribution, plugin.version, plugin.failure) == ("pdiff-acme", "1.0", "")
    component, values = registry.find("architecture", "stranger_net")
    assert component in plugin.components and not values
    assert registry.qualified(component) == "acme:stranger_net"


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plugin_is_failed_with_its_reason_and_the_others_work(install, fault):
    code, reason = BROKEN[fault]
    install("broken", code)
    install("zebra", good("zebra_net"))
    registry = Registry()
    failed = plugin_of(registry, "broken")
    assert reason in failed.failure and "\n" not in failed.failure
    assert not failed.components and not failed.hooks
    assert [plugin.name for plugin in registry.plugins if plugin.failure] == ["broken"]
    assert registry.find("architecture", "zebra_net") and registry.find("method", "pdiff")
    with pytest.raises(NoSuchComponent) as caught:
        registry.find("architecture", "stranger_net")
    assert f"broken ({failed.failure})" in str(caught.value) and "\n" not in str(caught.value)


def test_an_entry_point_that_names_nothing_is_failed(install):
    install("broken", GOOD, target=":nothing")
    assert "nothing" in plugin_of(Registry(), "broken").failure


def test_a_plugin_may_be_an_object(install):
    code = GOOD.replace("@hookimpl\ndef", "class Plugin:\n  @hookimpl\n  def")
    install("thing", code.replace("(register):", "(self, register):") + "\nplugin = Plugin()\n", target=":plugin")
    assert Registry().find("architecture", "thing:stranger_net")


@pytest.mark.parametrize("order", [("alpha", "beta"), ("beta", "alpha")])
def test_an_ambiguous_name_is_an_error_whatever_the_order(install, order):
    for name in order:
        install(name, GOOD)
    registry = Registry()
    with pytest.raises(NoSuchComponent) as caught:
        registry.find("architecture", "stranger_net")
    assert str(caught.value) == (
        "architecture 'stranger_net' is ambiguous: write 'alpha:stranger_net' or 'beta:stranger_net'"
    )
    for name in order:
        found, _ = registry.find("architecture", f"{name}:stranger_net")
        assert registry.qualified(found) == f"{name}:stranger_net"


def test_two_distributions_with_one_plugin_name(install):
    install("twin", GOOD, distribution="pdiff-a")
    install("twin", good("other_net"), distribution="pdiff-b")
    registry = Registry()
    failures = [plugin.failure for plugin in registry.plugins if plugin.name == "twin"]
    assert failures == ["", "another distribution has a plugin of the name 'twin'"]
    assert registry.find("architecture", "stranger_net")
    assert registry.manager.has_plugin("twin")


def test_a_near_miss_says_what_was_meant():
    with pytest.raises(NoSuchComponent, match=r"^no method 'pdif'; did you mean 'pdiff'\?$"):
        Registry().find("method", "pdif")


def test_only_the_plugins_asked_for_are_loaded(install, monkeypatch):
    install("acme", GOOD)
    install("broken", "1 / 0")
    monkeypatch.setenv("PDIFF_PLUGINS", "acme, selectors")
    assert [plugin.name for plugin in Registry().plugins] == ["acme", "selectors"]
    monkeypatch.setenv("PDIFF_PLUGINS", "acne")
    with pytest.raises(UserError, match="no plugin 'acne'; did you mean 'acme'"):
        Registry()


def test_strict_makes_a_failure_an_error(install, monkeypatch):
    install("broken", "1 / 0")
    monkeypatch.setenv("PDIFF_STRICT", "1")
    with pytest.raises(UserError, match=r"^plugin broken \(pdiff-broken\) failed: ZeroDivisionError"):
        Registry()
    monkeypatch.setenv("PDIFF_STRICT", "0")
    Registry()


# The commands


def invoke(*arguments):
    result = CliRunner().invoke(build(), list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_fresh_program_lists_and_names_failures(install, tmp_path):
    install("broken", BROKEN["raises"][0])
    install("acme", good("acme_net"))
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    listed = pdiff_command("list-plugins", cwd=tmp_path, PYTHONPATH=path)
    assert listed.returncode == 0 and "Traceback" not in listed.stderr
    rows = {line.split()[0]: " ".join(line.split()) for line in listed.stdout.splitlines() if line.strip()}
    assert rows["acme"] == "acme pdiff-acme 1.0 architecture: acme_net"
    assert rows["broken"] == "broken pdiff-broken 1.0 FAILED: ZeroDivisionError: division by zero"
    missed = pdiff_command("describe", "architecture", "acme_ne", cwd=tmp_path, PYTHONPATH=path)
    assert missed.returncode == 2 and len(missed.stderr.splitlines()) == 1
    assert missed.stderr.startswith("error: no architecture 'acme_ne'; did you mean 'acme_net'? (plugins that failed")


def test_the_list_shows_names_and_presets_by_kind():
    listed = invoke("list-plugins", "--kind", "method")
    assert "method: pdiff, pdiff_paper" in listed and "selector" not in listed
    as_json = {row["plugin"]: row for row in json.loads(invoke("list-plugins", "--json"))}
    assert as_json["backbones"]["provides"]["denoiser"] == ["conv1d", "mlp", "transformer"]
    with pytest.raises(UserError, match="no kind 'methods'; did you mean 'method'"):
        invoke("list-plugins", "--kind", "methods")


def test_describe_shows_both_configurations_of_pdiff():
    text = invoke("describe", "method", "pdiff")
    default, paper = text.split("Preset 'pdiff_paper'")
    assert 'name = "pca"' in default and 'name = "mlp"' in default and "steps = 3000" in default
    assert paper.count('name = "conv1d"') == 2 and "steps = 2000" in paper and "faithful = true" in paper
    assert "2402.13144" in text and re.search(r"of [\w-]+ [\w.]+ \(pdiff_plugins\.latent\.pdiff\.PDiff\)", text)
    assert "integer > 0" in text and '"epsilon" | "x0" | "v"' in text


def test_describe_marks_what_a_preset_sets():
    marked = [line.strip() for line in invoke("describe", "method", "pdiff_paper").splitlines() if "# set by" in line]
    assert "steps = 2000  # set by the preset" in marked and 'name = "conv1d"  # set by the preset' in marked
    assert not any(line.startswith("batch_size") for line in marked)


def test_what_describe_shows_is_a_recipe_table():
    import tomllib

    from pdiff.components import KINDS

    lines = invoke("describe", "method", "pdiff").split("stands for:")[1].split("Preset")[0]
    table = tomllib.loads(lines)["method"]
    assert KINDS["method"].model_validate(table).table() == table


def test_describe_names_what_must_be_given_and_lists_a_kind():
    assert "lr = ...  # required" in invoke("describe", "collector", "trajectory")
    names = invoke("describe", "evaluator").splitlines()
    assert [line.split()[0] for line in names[1:]][:4] == ["accuracy", "adapters", "audit", "bits"]
    with pytest.raises(UserError, match="no kind 'metod'; did you mean 'method'"):
        invoke("describe", "metod", "pdiff")
    with pytest.raises(UserError, match="no method 'pdif'; did you mean 'pdiff'"):
        invoke("describe", "method", "pdif")


def test_every_name_can_be_described():
    from pdiff.components import KINDS
    from pdiff.plugins.discovery import registry

    for kind in KINDS:
        for plugin, name, component, _ in registry().offers(kind):
            told = json.loads(invoke("describe", kind, f"{plugin}:{name}", "--json"))
            assert [option["name"] for option in told["options"]] == list(component.model_fields)
