"""Component: one frozen pydantic model for everything that has a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from pdiff.components.ahead import Ahead, parts
from pdiff.errors import UserError


class NoSuchComponent(UserError):
    """A name that no loaded plugin registers, or more than one does."""


class Names(Protocol):
    """What knows the components of all plugins by name; `pdiff.plugins` hands it in."""

    def find(self, kind: str, name: str) -> tuple[type[Component], Mapping[str, Any]]: ...
    def known(self, kind: str) -> str: ...
    def reference(self, component: type[Component]) -> str: ...
    def qualified(self, component: type[Component]) -> str: ...


def _unknown() -> Names:
    raise RuntimeError("no plugins: import pdiff.plugins.discovery, as pdiff does")


names: Callable[[], Names] = _unknown
"""Returns the names of this process."""


NEVER: JsonDict = {"key": "never"}
"""Of a field: the option changes no result."""
IF_SET: JsonDict = {"key": "if_set"}
"""Of a field: the option counts where it is not its default; for options that come later than stored results."""
CONTENT: JsonDict = {"key": "content"}
"""Of a field: the option names files, which count by what they hold, so that moving them changes no key."""


CONFIG = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), validate_default=True)


def _mode(field: FieldInfo) -> Any:
    extra = field.json_schema_extra
    return extra.get("key", "always") if isinstance(extra, Mapping) else "always"


class _Names(dict[str, str]):
    """A table of names that can be hashed, as components are."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


Renames = Annotated[dict[str, str], AfterValidator(_Names)]
"""Of a field: globs of names, and what they become."""


class Component(BaseModel):
    """A named, validated, hashable piece of a recipe."""

    model_config = CONFIG

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    """Raise it when the same options give another result: stages computed by the older version are not reused."""
    source: ClassVar[str] = ""
    """Where it comes from: paper, section, equation."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Further names under which the component can be asked for, each with its own values."""

    @model_validator(mode="wrap")
    @classmethod
    def _from_table(cls, value: Any, handler: Any, info: ValidationInfo) -> Any:
        """Turn a recipe table into the component that its `name` asks for, where the field says only the kind."""
        if cls.name and isinstance(value, Mapping):
            return handler(_with_defaults(cls, value))
        if not cls.kind or not isinstance(value, Mapping):
            return handler(value)
        table = dict(value)
        wanted = table.pop("name", None)
        if not isinstance(wanted, str):
            raise PydanticCustomError("no_name", "needs name = one of: {known}", {"known": names().known(cls.kind)})
        try:
            component, values = names().find(cls.kind, wanted)
        except NoSuchComponent as error:
            raise PydanticCustomError("no_component", "{why}", {"why": str(error)}) from None
        return component.model_validate(merge(values, table), context=info.context)

    def table(self) -> dict[str, Any]:
        """Return the recipe table that rebuilds this component, every option written out."""
        options = {field: plain(getattr(self, field)) for field in type(self).model_fields}
        # TOML has no null: an option that is None is left out, which is what its default says.
        return {"name": names().reference(type(self))} | {k: v for k, v in options.items() if v is not None}

    def identity(self) -> dict[str, Any]:
        """Return what decides this component's result, for the keys of stages: origin, version and options.

        How an option counts, its field says: `Field(..., json_schema_extra=NEVER)`, `IF_SET` or `CONTENT`.
        """
        counted = {"component": names().qualified(type(self)), "version": self.version}
        for option, field in type(self).model_fields.items():
            value, mode = getattr(self, option), _mode(field)
            if mode == CONTENT["key"]:
                counted[option] = self.content_of(option)
            elif mode != NEVER["key"] and not (
                mode == IF_SET["key"] and value == field.get_default(call_default_factory=True)
            ):
                counted[option] = identity(value)
        return counted

    def content_of(self, option: str) -> str:
        """Return what the files that an option names hold, a digest; a value that names no file is its own content."""
        from pdiff.files import digest_of

        return digest_of(getattr(self, option))

    def foresee(self, ahead: Ahead) -> None:
        """Say what is known before anything is fetched or computed: what is missing, and what will be fetched.

        By `ahead.lacks`, `ahead.fetches` and `ahead.note`; a UserError is something that is missing. Looks at files
        and asks servers for five seconds at most, and changes nothing. Unless overridden, it asks the components in the
        options.
        """
        for option, component in parts(self):
            component.foresee(ahead.of(option))


class ReadsCheckpoints(Component):
    """A component that reads checkpoint files, which others may have written: the options of how."""

    key: str = Field(
        "", json_schema_extra=IF_SET,
        description="which state dict of a file, where it holds several, such as 'state_dict_ema'; '.' is its top",
    )  # fmt: skip
    rename: Renames = Field(
        {}, json_schema_extra=IF_SET,
        description='globs of names in a file and what they are here, as { "layers.*" = "hidden.*" }; "" leaves out',
    )  # fmt: skip
    match: Literal["names", "order"] = Field(
        "names", json_schema_extra=IF_SET,
        description="how a file's entries are told: by their names, or by their shapes and order alone",
    )  # fmt: skip


class Table(BaseModel):
    """A recipe table that is no component."""

    model_config = CONFIG


def _with_defaults(cls: type[Component], table: Mapping[str, Any]) -> dict[str, Any]:
    """Complete nested tables that name no component: they change options of the default one."""
    completed = dict(table)
    for field, about in cls.model_fields.items():
        nested = completed.get(field)
        if isinstance(about.default, Component) and isinstance(nested, Mapping) and "name" not in nested:
            completed[field] = merge(about.default.table(), nested)
    return completed


def plain(value: Any) -> Any:
    """Return `value` as JSON-ready data, components as their tables."""
    return _walk(value, Component.table)


def identity(value: Any) -> Any:
    """Return `value` as JSON-ready data, components as their identities."""
    return _walk(value, lambda component: component.identity())


def _walk(value: Any, leaf: Any) -> Any:
    if isinstance(value, Component):
        return leaf(value)
    if isinstance(value, BaseModel):
        fields = {field: getattr(value, field) for field in type(value).model_fields} | (value.model_extra or {})
        return {field: _walk(item, leaf) for field, item in fields.items()}
    if isinstance(value, Mapping):
        return {str(key): _walk(item, leaf) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, leaf) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(_walk(item, leaf) for item in value)
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, PurePath) else value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` overlaid by `over`, table by table; a nested table with another name replaces the whole."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and value.get("name", old.get("name")) == old.get("name")
        ):
            value = merge(old, value)
        merged[key] = value
    return merged
