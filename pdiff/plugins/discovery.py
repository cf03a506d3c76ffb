"""Plugins: discovery through the entry-point group `pdiff`, one by one, and the names that they register.

A recipe and `--plugin` add files of the user's own. `PDIFF_PLUGINS=a,b` loads only the installed plugins named;
`PDIFF_STRICT=1` makes a plugin that fails to load an error.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pluggy

from pdiff import hookspecs
from pdiff.components import base
from pdiff.components.base import Component, NoSuchComponent
from pdiff.errors import Faults, UserError, did_you_mean
from pdiff.plugins.checks import defined_in, kinds_of, take
from pdiff.plugins.files import DIGEST, kept, load_file, told_at
from pdiff.plugins.loading import Plugin, contained, origin, wanted

NAMED = 8
"""Names that a line lists."""


class Registry:
    """All plugins that were found, and the components of those that loaded."""

    def __init__(self, entries: list[EntryPoint] | None = None):
        self.manager = _manager()
        self._owners: dict[type[Component], Plugin] = {}
        self._files: dict[str, tuple[Plugin, Any]] = {}
        self.plugins: list[Plugin] = []
        for entry in wanted(entries if entries is not None else list(entry_points(group="pdiff"))):
            self.plugins.append(self._load(entry))
        self.check_strict()

    def _load(self, entry: EntryPoint) -> Plugin:
        plugin = Plugin(entry.name, *origin(entry), module=entry.value)
        if any(other.name == entry.name and not other.failure for other in self.plugins):
            plugin.failure = f"another distribution has a plugin of the name {entry.name!r}"
            return plugin
        with contained(plugin.fail):
            self.register(plugin, entry.load())
        if plugin.failure:
            plugin.components, plugin.hooks = [], []
            with contained(plugin.fail):
                self.manager.unregister(name=entry.name) if self.manager.has_plugin(entry.name) else None
        return plugin

    def register(self, plugin: Plugin, module: Any, manager: pluggy.PluginManager | None = None) -> None:
        """Take a plugin's components, all or none. Raises for whatever is wrong with it."""
        manager = manager or self.manager
        manager.register(module, plugin.name)
        callers = manager.get_hookcallers(module) or []
        plugin.hooks = sorted(caller.name for caller in callers)
        unknown = [caller.name for caller in callers if not caller.has_spec()]
        if unknown:
            known = [name for name, value in vars(hookspecs).items() if hasattr(value, "pdiff_spec")]
            raise ValueError(f"unknown hook {unknown[0]!r}{did_you_mean(unknown[0], known)}")
        for caller in callers:
            if caller.name.startswith("register_") and caller.name != "register_commands":
                kinds = kinds_of(caller.name)
                for implementation in caller.get_hookimpls():
                    if implementation.plugin is module:
                        implementation.function(functools.partial(take, plugin, kinds))
        self._owners |= dict.fromkeys(plugin.components, plugin)

    def use_files(self, files: Sequence[Path]) -> None:
        """Take these files as plugins, and no others: what they define, or what their hook functions register.

        Raises Faults where one cannot be loaded; the files in use before then stay.
        """
        loaded = [self._of_file(file) for file in dict.fromkeys(files)]
        if failed := [f"plugin {plugin.module}: {plugin.failure}" for plugin, _ in loaded if plugin.failure]:
            raise Faults(failed)
        named: dict[str, Plugin] = {}
        for plugin, _ in loaded:
            if (twin := named.setdefault(plugin.name, plugin)) is not plugin:
                raise UserError(f"plugin {plugin.module}: {twin.module} has the same name; rename one of the files")
        for plugin in [plugin for plugin in self.plugins if plugin.file]:
            self.plugins.remove(plugin)
            self.manager.unregister(name=plugin.name)
        for plugin, module in loaded:
            self.plugins.append(plugin)
            self.manager.register(module, plugin.name)

    @property
    def files(self) -> list[str]:
        """The files in use, each with the digest of its code."""
        return [plugin.file for plugin in self.plugins if plugin.file]

    def _of_file(self, file: Path) -> tuple[Plugin, Any]:
        """Load a file once for what it holds, and return the plugin that it is, registered nowhere yet."""
        named = kept(file)
        if named in self._files:
            return self._files[named]
        installed = {plugin.name for plugin in self.plugins if not plugin.file}
        name = file.name if file.stem in installed else file.stem
        plugin, module = Plugin(name, "file", str(file), module=str(file), file=named), None

        def load() -> Any:
            loaded = load_file(file)
            self.register(plugin, loaded, _manager())
            if not any(hook.startswith("register_") for hook in plugin.hooks):
                for component in defined_in(loaded):
                    take(plugin, (component.kind,), component)
            if not plugin.components and not plugin.hooks:
                raise ValueError("defines no component that has a name, and no hook; see docs/tutorials/own_plugin.md")
            return loaded

        with contained(plugin.fail, lambda error: told_at(error, file)):
            module = load()
        if not plugin.failure:
            self._owners |= dict.fromkeys(plugin.components, plugin)
            self._files[named] = plugin, module
        return plugin, module

    def keep(self, component: type[Component], digest: str) -> None:
        """Let the code of a component that is registered nowhere count in keys, by its digest."""
        session = Plugin("session", "session", "", module=component.__module__, file=f"{DIGEST}{digest}")
        self._owners.setdefault(component, session)

    def check_strict(self) -> None:
        """Raise Faults where a plugin failed and PDIFF_STRICT is set."""
        failed = [plugin for plugin in self.plugins if plugin.failure]
        if failed and os.environ.get("PDIFF_STRICT", "") not in ("", "0"):
            raise Faults(f"plugin {p.name} ({p.distribution}) failed: {p.failure}" for p in failed)

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
        """Return the names of a kind, comma-separated, of very many the first."""
        names = sorted({name for _, name, _, _ in self.offers(kind)})
        more = f", ... ({len(names)} in all: pdiff list-plugins --kind {kind})" if len(names) > NAMED else ""
        return ", ".join(names[:NAMED]) + more

    def reference(self, component: type[Component]) -> str:
        """Return the name by which a recipe can ask for a component: qualified where the bare one is ambiguous."""
        same = [plugin for plugin, name, *_ in self.offers(component.kind) if name == component.name]
        owner = self._owners.get(component)
        return f"{owner.name}:{component.name}" if owner and len(same) > 1 else component.name

    def qualified(self, component: type[Component]) -> str:
        """Return `plugin:name` for a registered component, its import path for any other.

        Of a file the digest is part of it, so that its content counts.
        """
        if owner := self._owners.get(component):
            return f"{owner.name}:{component.name}{''.join(owner.file.partition(DIGEST)[1:])}"
        return f"{component.__module__}.{component.__qualname__}"


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("pdiff")
    manager.add_hookspecs(hookspecs)
    return manager


@functools.cache
def registry() -> Registry:
    """Return the registry of this process, loading the plugins the first time."""
    return Registry()


base.names = lambda: registry()
