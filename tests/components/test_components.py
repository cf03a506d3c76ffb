"""Every registered component and preset keeps the contract of its kind; one without a case fails here."""

from __future__ import annotations

import pytest
import torch

from pdiff.components import KINDS
from pdiff.files import save_tensors
from pdiff.plugins.discovery import registry
from pdiff.testing import TinyNet, check_component, check_definition, tiny_splits
from pdiff.testing.contracts import build_network
from tests.components.cases import CASES, DEFINITION_ONLY, EXTRAS, OPTIONS

OFFERS = [(kind, name, plugin) for kind in KINDS for plugin, name, _, _ in registry().offers(kind)]


def test_every_plugin_loads():
    assert {plugin.name: plugin.failure for plugin in registry().plugins if plugin.failure} == {}


def test_no_case_is_of_a_component_that_is_not_there():
    cases = {(kind, name) for kind, names in CASES.items() for name in names}
    assert cases | set(DEFINITION_ONLY) | set(OPTIONS) <= {(kind, name) for kind, name, _ in OFFERS}
    assert not cases & set(DEFINITION_ONLY)


@pytest.mark.parametrize(("kind", "name", "plugin"), OFFERS, ids=[f"{kind}-{name}" for kind, name, _ in OFFERS])
def test_component(kind, name, plugin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if (kind, name) in DEFINITION_ONLY:
        return check_definition(made(kind, name, plugin, OPTIONS.get((kind, name), {})), strict=True)
    assert name in CASES[kind], f"{kind} {name!r} is registered and has no case here"
    for package in EXTRAS.get((kind, name), ()):
        pytest.importorskip(package)
    if name == "folder":
        write_checkpoints(tmp_path / "checkpoints")
    options = CASES[kind][name]
    component, _ = registry().find(kind, f"{plugin}:{name}")
    own = {key: value for key, value in options.items() if key in component.model_fields}
    more = {key: value for key, value in options.items() if key not in own}
    check_component(made(kind, name, plugin, own), strict=True, **more)


def made(kind, name, plugin, options):
    """Return the component that a recipe table gives."""
    return KINDS[kind].model_validate({"name": f"{plugin}:{name}"} | options)


def write_checkpoints(folder):
    folder.mkdir()
    for seed in range(3):
        model = build_network(TinyNet(), tiny_splits(), seed=0)
        with torch.no_grad():
            model[1].weight.add_(seed)
        save_tensors(folder / f"{seed}.safetensors", model.state_dict())
