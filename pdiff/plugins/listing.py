"""What plugins provide, as JSON-ready data."""

from __future__ import annotations

from typing import Any, cast

from pydantic import ValidationError

from pdiff.components import KINDS, Evaluator
from pdiff.errors import UserError, did_you_mean
from pdiff.plugins.discovery import registry
from pdiff.plugins.loading import Plugin


def check_kind(kind: str) -> str:
    """Return `kind`. Raises UserError when it is none."""
    if kind not in KINDS:
        raise UserError(f"no kind {kind!r}{did_you_mean(kind, KINDS)}; kinds: {', '.join(KINDS)}")
    return kind


def about_plugin(plugin: Plugin, kind: str = "") -> dict[str, Any]:
    """Return what a plugin is and provides: names by kind, presets after their component."""
    provides: dict[str, list[str]] = {}
    for component in plugin.components:
        if kind in ("", component.kind):
            provides.setdefault(component.kind, []).extend([component.name, *component.presets])
    return {
        "plugin": plugin.name, "distribution": plugin.distribution, "version": plugin.version,
        "module": plugin.module, "provides": provides, "hooks": plugin.hooks, "failure": plugin.failure,
    }  # fmt: skip


def default_evaluator(name: str) -> Evaluator:
    """Return the evaluator of a name, its options at their defaults. Raises UserError."""
    component, values = registry().find("evaluator", name)
    try:
        return cast(Evaluator, component.model_validate(dict(values)))
    except ValidationError:
        raise UserError(f"evaluator {name!r} needs options: write it into a recipe as [[evaluate]]") from None
