"""check_component: what holds for every component, then what its kind promises. AssertionError tells what does not."""

from __future__ import annotations

import inspect
import json
import tomllib
from collections.abc import Mapping
from typing import Any

import tomli_w
import torch
from pydantic import ValidationError

from pdiff.components import Component, Evaluator, identity, merge, plain
from pdiff.plugins.checks import NAME
from pdiff.results.scores import keys
from pdiff.testing.contracts import CONTRACTS


def check_component(component: type[Component] | Component, *, strict: bool = False, **options: Any) -> None:
    """Check a component against the contract of its kind, on small data.

    Args:
        component: a class, or an instance.
        strict: also ask for a description of every option.
        options: values of the component's own options, and what the kind's check takes (see `pdiff.testing.contracts`):
            `input_shape` and `outputs` for an architecture, `model` for a selector, `data_root` for a dataset, ...

    Raises:
        AssertionError: names the component and what it breaks.
    """
    cls = component if inspect.isclass(component) else type(component)
    settings = {key: value for key, value in options.items() if key in cls.model_fields}
    more = {key: value for key, value in options.items() if key not in settings}
    instance = _made(component, settings)
    check_definition(instance, strict=strict)
    contract = CONTRACTS[instance.kind]
    known = list(inspect.signature(contract).parameters)[1:]
    takes = f"a {instance.kind}'s check takes {', '.join(known)}"
    for option in more:
        assert option in known, f"{instance.name}: no option {option!r}; {takes}"
    with torch.random.fork_rng(devices=[]):
        contract(instance, **more)


def _made(component: type[Component] | Component, values: Mapping[str, Any]) -> Component:
    """Return the instance to check."""
    cls = component if inspect.isclass(component) else type(component)
    table = {} if inspect.isclass(component) else component.table()
    table.pop("name", None)
    try:
        return cls.model_validate(merge(table, values))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, row['loc']))}: {row['msg']}" for row in error.errors()]
        raise AssertionError(f"{cls.__name__}: give the options that it needs: {'; '.join(lines)}") from None


def check_definition(component: Component, *, strict: bool = False) -> None:
    """Check what holds for components of every kind: help, name, options, tables, identity."""
    cls, name = type(component), component.name
    first = (inspect.cleandoc(cls.__dict__.get("__doc__") or "").splitlines() or [""])[0]
    assert first, f"{cls.__name__}: has no docstring; its first line is the component's help"
    assert len(first) < 80, f"{cls.__name__}: the docstring's first line has {len(first)} characters; keep it below 80"
    assert component.kind in CONTRACTS, f"{cls.__name__}: subclasses no kind of pdiff.components"
    for offered in (name, *cls.presets):
        assert NAME.fullmatch(offered), f"{cls.__name__}: the name {offered!r} is not in lower_snake_case"
    config = cls.model_config
    assert config.get("frozen") and config.get("extra") == "forbid", f"{name}: keep model_config as Component sets it"
    assert not inspect.isabstract(cls), f"{name}: lacks {', '.join(sorted(cls.__abstractmethods__))}"
    if strict:
        for option, field in cls.model_fields.items():
            assert field.description, f"{name}: the option {option} has no description: Field(..., description=...)"
        if isinstance(component, Evaluator):
            _check_scores(component)
    _check_table(component)
    _check_presets(component)


def _check_scores(component: Evaluator) -> None:
    tables = [table for table in (component.source_scores, component.run_scores) if table]
    assert tables, f"{component.name}: declares no scores: source_scores, run_scores"
    for key in (key for table in tables for key in keys(table)):
        assert key.about, f"{component.name}: the score {key.name!r} is not described: Annotated[..., '...']"


def _check_table(component: Component) -> None:
    """A recipe written from the component gives the component back, under the same identity."""
    table = component.table()
    try:
        read = tomllib.loads(tomli_w.dumps(table))
    except TypeError as error:
        raise AssertionError(f"{component.name}: TOML cannot hold its options ({error}); choose another type") from None
    read.pop("name")
    again = type(component).model_validate(read)
    assert again == component, f"{component.name}: {table} gives {again!r}, not the component it was written from"
    keys = [json.dumps(each.identity(), sort_keys=True, allow_nan=False) for each in (component, again)]
    assert keys[0] == keys[1], f"{component.name}: identity() differs between equal components: {keys[0]} and {keys[1]}"
    assert json.loads(keys[0]) == identity(component), f"{component.name}: identity() is not plain JSON"


def _check_presets(component: Component) -> None:
    defaults = {name for name, field in type(component).model_fields.items() if not field.is_required()}
    required = {name: value for name, value in plain(component).items() if name not in defaults and name != "name"}
    for preset, values in component.presets.items():
        try:
            type(component).model_validate(merge(required, values))
        except ValidationError as error:
            raise AssertionError(f"{component.name}: the preset {preset!r} is not valid: {error}") from None
