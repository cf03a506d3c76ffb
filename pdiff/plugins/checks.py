"""What a component must be to be registered."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from types import ModuleType

from pdiff.components.base import Component
from pdiff.plugins.loading import Plugin, told
from pdiff.results.scores import RESERVED

NAME = re.compile(r"[a-z][a-z0-9_]*")


def kinds_of(hook: str) -> tuple[str, ...]:
    """Return the kinds that a register hook takes."""
    kind = hook.removeprefix("register_").removesuffix("s")
    return ("codec", "denoiser") if kind == "backbone" else (kind,)


def defined_in(module: ModuleType) -> list[type[Component]]:
    """Return the components that a module itself defines; a class without a name is a base of others."""
    classes = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, Component)]
    own = [component for component in classes if component.__module__ == module.__name__]
    return [component for component in dict.fromkeys(own) if component.kind and component.__dict__.get("name")]


def take(plugin: Plugin, kinds: tuple[str, ...], component: type[Component]) -> None:
    """Check a component class and add it to its plugin; what is wrong with it is a ValueError."""
    if not (inspect.isclass(component) and issubclass(component, Component)):
        raise ValueError(f"{component!r} is not a subclass of pdiff.components.Component")
    label = component.__name__
    if component.kind not in kinds:
        raise ValueError(f"{label} is of kind {component.kind or 'none'!r}; this hook takes {' or '.join(kinds)}")
    if inspect.isabstract(component):
        raise ValueError(f"{label} lacks {', '.join(sorted(component.__abstractmethods__))}")
    if not (component.__dict__.get("__doc__") or "").strip():
        raise ValueError(f"{label} has no docstring; its first line is the component's help")
    if component.kind == "evaluator" and component.name in RESERVED:
        raise ValueError(f"{label}: the name {component.name!r} is one of the keys of a run's scores")
    if reserved := {"name", "component", "version"} & set(component.model_fields):
        raise ValueError(f"{label}: no option can be called {min(reserved)!r}: keys of stages say that of a component")
    _check_values(label, component)
    names = [component.name, *component.presets]
    taken = {name for c in plugin.components if c.kind == component.kind for name in (c.name, *c.presets)}
    for name in names:
        if not NAME.fullmatch(name or ""):
            raise ValueError(f"{label}: the name {name!r} is not in lower_snake_case")
        if name in taken or names.count(name) > 1:
            raise ValueError(f"{label}: the name {name!r} is taken in this plugin")
    plugin.components.append(component)


def _check_values(label: str, component: type[Component]) -> None:
    """Raise ValueError where what a component says of itself is of a wrong kind, or a default cannot be made."""
    if not isinstance(component.version, int) or not isinstance(component.source, str):
        raise ValueError(f"{label}: version is a whole number, and source a text")
    if not isinstance(component.presets, Mapping):
        raise ValueError(f"{label}: presets is no mapping of names to tables of options")
    for preset, values in component.presets.items():
        if not isinstance(values, Mapping) or (set(values) - set(component.model_fields)):
            raise ValueError(f"{label}: the preset {preset!r} is no table of its options")
    for option, field in component.model_fields.items():
        if field.default_factory is not None and not field.default_factory_takes_validated_data:
            try:
                field.get_default(call_default_factory=True)
            except Exception as error:
                raise ValueError(f"{label}: the default of {option!r} cannot be made ({told(error)})") from None
