"""`pdiff new-plugin`: what it writes installs, passes its own test and is found; nothing is overwritten."""

from __future__ import annotations

import re
import sysconfig
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pdiff.components import KINDS
from pdiff.errors import UserError
from pdiff.plugins.discovery import Registry
from pdiff_plugins.handbook.scaffold import new_plugin
from tests.cli.helpers import environment_on_top, run
from tests.helpers import ROOT


def test_a_new_plugin_installs_passes_its_test_and_is_found(tmp_path):
    for needed in ("pip", "hatchling", "editables"):
        pytest.importorskip(needed)
    folder = new_plugin("acme_net", tmp_path)
    assert folder == tmp_path / "pdiff-acme-net"
    written, our = (tomllib.loads((at / "pyproject.toml").read_text())["project"] for at in (folder, ROOT))
    assert written["dependencies"] == [our["name"]]
    assert len((folder / "pdiff_acme_net" / "__init__.py").read_text().splitlines()) < 30
    python = environment_on_top(tmp_path / "environment")
    run(python, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "-e", ".", cwd=folder)
    assert "1 passed" in run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    program = "import sys; from pdiff.cli import main; sys.argv[1:] = ['list-plugins']; main()"
    listed = run(python, "-c", program, cwd=folder)
    assert "acme_net pdiff-acme-net 0.1.0 architecture: acme_net" in " ".join(listed.split())
    assert "FAILED" not in listed
    assert not list(Path(sysconfig.get_path("purelib")).glob("*acme_net*")), "the running environment was changed"


@pytest.mark.parametrize("kind", KINDS)
def test_a_component_of_every_kind_passes_the_test_that_comes_with_it(kind, tmp_path, monkeypatch):
    name = f"acme_{kind}"
    folder = new_plugin(name, tmp_path, kind)
    monkeypatch.syspath_prepend(folder)
    registry = Registry([EntryPoint(name, f"pdiff_{name}", "pdiff")])
    (plugin,) = registry.plugins
    assert not plugin.failure and [(c.kind, c.name) for c in plugin.components] == [(kind, name)]
    test = {}
    exec((folder / "tests" / f"test_{name}.py").read_text(), test)
    test[f"test_{name}"]()
    texts = [path.read_text() for path in folder.rglob("*") if path.suffix in (".py", ".md", ".toml")]
    assert len(texts) == 4 and not re.search(r"\b(NAME|MODULE|CLASS|DISTRIBUTION|KIND)\b", "".join(texts))


def test_a_kind_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no kind 'metod'; did you mean 'method'\?"):
        new_plugin("acme", tmp_path, "metod")


def test_the_readme_says_how_to_install_and_test(tmp_path):
    readme = (new_plugin("acme_net", tmp_path) / "README.md").read_text()
    for command in ("pip install -e '.[test]'", "pytest", "pdiff list-plugins"):
        assert f"    {command}\n" in readme
    assert not {"NAME", "MODULE", "CLASS", "DISTRIBUTION"} & set(readme.replace("`", " ").split())


def test_an_existing_folder_is_left_alone(tmp_path):
    mine = tmp_path / "pdiff-acme" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UserError, match=r"pdiff-acme: is there already; choose another name"):
        new_plugin("acme", tmp_path)
    assert list(mine.parent.iterdir()) == [mine]


@pytest.mark.parametrize("name", ["Acme", "acme-net", "1acme", "", "acme_", "../acme", "a b", "none", "acme.net", "é"])
def test_a_bad_name_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="not a name for a plugin; write lower_snake_case") as caught:
        new_plugin(name, tmp_path)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vision", r"the name is taken by [\w-]+, which is installed"),
        ("plugins", "the name is taken by the module pdiff_plugins"),
        ("mlp_mini", "there is a component of that name and kind, architecture"),
    ],
)
def test_a_taken_name_is_refused(tmp_path, name, said):
    with pytest.raises(UserError, match=said):
        new_plugin(name, tmp_path)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        new_plugin("acme", tmp_path / "file")
