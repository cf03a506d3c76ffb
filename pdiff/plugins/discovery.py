"""Plugins: discovery through the entry-point group `pdiff`, one by one, and the names that they register.

`PDIFF_PLUGINS=a,b` loads only the plugins named; `PDIFF_STRICT=1` makes a plugin that fails to load an error.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from pdiff import hookspecs
from pdiff.components import base
from pdiff.components.base import Component, NoSuchComponent
from pdiff.errors import UserError, did_you_mean
from pdiff.results.scores import RESERVED

GROUP = "pdiff"
NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass
class Plugin:
    """One entry point: what it provides, or why it failed."""

    name: str
    distribution: str
    version: str
    module: str
    components: list[type[Component]] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    failure: str = ""


class Registry:
    """All plugins that were found, and the components of those that loaded."""

    def __init__(self, entries: list[EntryPoint] | None = None):
        self.manager = pluggy.PluginManager("pdiff")
        self.manager.add_hookspecs(hookspecs)
        self.plugins: list[Plugin] = []
        self._owners: dict[type[Component], str] = {}
        for entry in _wanted(entries if entries is not None else list(entry_points(group=GROUP))):
            self.plugins.append(self._load(entry))
        self._check_strict()

    def _load(self, entry: EntryPoint) -> Plugin:
        distribution = entry.dist
        about = (distribution.name, distribution.version) if distribution else ("?", "?")
        plugin = Plugin(entry.name, *about, module=entry.value)
        if any(other.name == entry.name and not other.failure for other in self.plugins):
            plugin.failure = f"another distribution has a plugin of the name {entry.name!r}"
            return plugin
        try:
            self.register(plugin, entry.load())
        except (Exception, SystemExit) as error:
            plugin.failure = f"{type(error).__name__}: {' '.join(str(error).split())}"
            plugin.components, plugin.hooks = [], []
            self.manager.unregister(name=entry.name) if self.manager.has_plugin(entry.name) else None
        return plugin

    def register(self, plugin: Plugin, module: Any) -> None:
        """Take a plugin's components, all or none. Raises for whatever is wrong with it."""
        self.manager.register(module, plugin.name)
        callers = self.manager.get_hookcallers(module) or []
        plugin.hooks = sorted(caller.name for caller in callers)
        unknown = [caller.name for caller in callers if not caller.has_spec()]
        if unknown:
            known = [name for name, value in vars(hookspecs).items() if hasattr(value, "pdiff_spec")]
            raise ValueError(f"unknown hook {unknown[0]!r}{did_you_mean(unknown[0], known)}")
        for caller in callers:
            if caller.name.startswith("register_") and caller.name != "register_commands":
                kinds = _kinds_of(caller.name)
                for implementation in caller.get_hookimpls():
                    if implementation.plugin is module:
                        implementation.function(functools.partial(_take, plugin, kinds))
        self._owners |= dict.fromkeys(plugin.components, plugin.name)

    def _check_strict(self) -> None:
        failed = [plugin for plugin in self.plugins if plugin.failure]
        if failed and os.environ.get("PDIFF_STRICT", "") not in ("", "0"):
            raise UserError("\n".join(f"plugin {p.name} ({p.distribution}) failed: {p.failure}" for p in failed))

    def offers(self, kind: str) -> Iterator[tuple[str, str, type[Component], Mapping[str, Any]]]:
        """Yield (plugin, name, component, preset values) for every name of a kind, presets after their component."""
        for plugin in self.plugins:
            for component in plugin.components:
                if component.kind == kind:
                    yield plugin.name, component.name, component, {}
                    for preset, values in component.presets.items():
                        yield plugin.name, preset, component, values

    def find(self, kind: str, name: str) -> tuple[type[Component], Mapping[str, Any]]:
        """Resolve `name` or `plugin:name` to a component and the values of its preset. Raises NoSuchComponent."""
        owner, _, bare = name.rpartition(":")
        offers = list(self.offers(kind))
        hits = [offer for offer in offers if offer[1] == bare and owner in ("", offer[0])]
        if len(hits) == 1:
            return hits[0][2], hits[0][3]
        if hits:
            choice = " or ".join(repr(f"{plugin}:{bare}") for plugin, *_ in hits)
            raise NoSuchComponent(f"{kind} {name!r} is ambiguous: write {choice}")
        near = did_you_mean(bare, [offer[1] for offer in offers]) or f"; known: {self.known(kind)}"
        raise NoSuchComponent(f"no {kind} {name!r}{near}{self._absent()}")

    def _absent(self) -> str:
        failed = [f"{plugin.name} ({plugin.failure})" for plugin in self.plugins if plugin.failure]
        only = os.environ.get("PDIFF_PLUGINS")
        limited = f" (PDIFF_PLUGINS = {only!r} loads no others)" if only is not None else ""
        return limited + (f" (plugins that failed to load: {'; '.join(failed)})" if failed else "")

    def known(self, kind: str) -> str:
        """Return the names of a kind, comma-separated."""
        return ", ".join(sorted({name for _, name, _, _ in self.offers(kind)}))

    def reference(self, component: type[Component]) -> str:
        """Return the name by which a recipe can ask for a component: qualified where the bare one is ambiguous."""
        same = [plugin for plugin, name, *_ in self.offers(component.kind) if name == component.name]
        owner = self._owners.get(component)
        return f"{owner}:{component.name}" if owner and len(same) > 1 else component.name

    def qualified(self, component: type[Component]) -> str:
        """Return `plugin:name` for a registered component, its import path for any other."""
        if component in self._owners:
            return f"{self._owners[component]}:{component.name}"
        return f"{component.__module__}.{component.__qualname__}"


def _wanted(entries: list[EntryPoint]) -> list[EntryPoint]:
    """Order entry points by name, and keep those that PDIFF_PLUGINS allows."""
    entries = sorted(set(entries), key=lambda entry: (entry.name, entry.value))
    allowed = os.environ.get("PDIFF_PLUGINS")
    if allowed is None:
        return entries
    names = [name.strip() for name in allowed.split(",") if name.strip()]
    missing = sorted(set(names) - {entry.name for entry in entries})
    if missing:
        raise UserError(f"PDIFF_PLUGINS: no plugin {missing[0]!r}{did_you_mean(missing[0], [e.name for e in entries])}")
    return [entry for entry in entries if entry.name in names]


def _kinds_of(hook: str) -> tuple[str, ...]:
    """Return the kinds that a register hook takes."""
    kind = hook.removeprefix("register_").removesuffix("s")
    return ("codec", "denoiser") if kind == "backbone" else (kind,)


def _take(plugin: Plugin, kinds: tuple[str, ...], component: type[Component]) -> None:
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
    names = [component.name, *component.presets]
    taken = {name for c in plugin.components if c.kind == component.kind for name in (c.name, *c.presets)}
    for name in names:
        if not NAME.fullmatch(name or ""):
            raise ValueError(f"{label}: the name {name!r} is not in lower_snake_case")
        if name in taken or names.count(name) > 1:
            raise ValueError(f"{label}: the name {name!r} is taken in this plugin")
    plugin.components.append(component)


@functools.cache
def registry() -> Registry:
    """Return the registry of this process, loading the plugins the first time."""
    return Registry()


base.names = lambda: registry()
