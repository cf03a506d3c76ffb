"""Targets: functions and classes of the user's own, named in a recipe as `module:name` or `file.py:name`."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, ValidationInfo
from pydantic_core import PydanticCustomError

from pdiff.components import CONTENT
from pdiff.errors import UserError, did_you_mean
from pdiff.plugins.files import DIGEST, check_kept, find_file, kept, told_at

LIVE = "live:"
"""Begins the target of an object that a Python session handed over."""
live: dict[str, Any] = {}
"""Target -> object, of this process."""


def keep_live(value: Any, name: str, digest: str) -> str:
    """Keep an object of this process, and return the target that stands for it."""
    target = f"{LIVE}{name}{DIGEST}{digest}"
    live[target] = value
    return target


def _settled(target: str, info: ValidationInfo) -> str:
    """Return a target with the whole path of its file and the digest of its code, and load it to see that it is there.

    `module:name` is looked for beside the recipe, then in the current folder, then among what is installed.
    """
    try:
        folder = (info.context or {}).get("folder", Path())
        settled = target if target.startswith(LIVE) else _with_file(target, [folder, Path()])
        load(settled)
    except UserError as error:
        raise PydanticCustomError("target", "{why}", {"why": str(error)}) from None
    return settled


Target = Annotated[str, AfterValidator(_settled)]
OptionalTarget = Annotated[str, AfterValidator(lambda target, info: _settled(target, info) if target else "")]


def target_field(what: str, default: Any = ...) -> Any:
    """Return the field of an option that names code, which counts by its content."""
    said = f"{what}: 'module:name' or 'file.py:name', beside the recipe, in the current folder, or installed"
    return Field(default, description=said, json_schema_extra=CONTENT)


def options_field() -> Any:
    """Return the field of the target's arguments."""
    return Field({}, description="arguments that the target is called with, by name")


Options = dict[str, JsonValue]


def _with_file(target: str, folders: list[Path]) -> str:
    bare, parted, digest = target.partition(DIGEST)
    where, colon, name = bare.rpartition(":")
    if not colon or not where or not name:
        raise UserError("write it as module:name or file.py:name, such as 'mynet:MyNet'")
    if where.endswith(".py"):
        file = find_file(where, folders)
    else:
        relative = Path(*where.split("."))
        tried = [folder / end for folder in folders for end in (relative.with_suffix(".py"), relative / "__init__.py")]
        found = next((path.resolve() for path in tried if path.is_file()), None)
        if found is None:
            return target
        file = found
    check_kept(f"{file}{parted}{digest}", file)
    path, parted, digest = kept(file).partition(DIGEST)
    return f"{path}:{name}{parted}{digest}"


def file_of(target: str) -> Path | None:
    """Return the file that a settled target names; None of what is installed, or live."""
    where, _, _ = target.partition(DIGEST)[0].rpartition(":")
    return Path(where) if where.endswith(".py") else None


def name_of(target: str) -> str:
    """Return the name of the object that a target names."""
    return target.partition(DIGEST)[0].rpartition(":")[2]


def is_data(target: str) -> bool:
    """Whether a target is data that a Python session handed over, and not what returns them."""
    from torch.utils.data import Dataset

    return target.startswith(LIVE) and (isinstance(load(target), Dataset) or not callable(load(target)))


def content(target: str) -> str:
    """Return what counts of a target in keys: its name and its code, not where it lies."""
    bare, parted, digest = target.partition(DIGEST)
    return f"{name_of(bare)}{parted}{digest}" if parted else bare


def load(target: str) -> Any:
    """Return the object that a settled target names. Raises UserError of one line."""
    if target.startswith(LIVE):
        if target not in live:
            raise UserError(
                f"{name_of(target)} was an object of a Python session; open the run with it: "
                "pdiff.open_run(name, architecture=..., data=..., task=...), those that it was made from"
            )
        return live[target]
    return _kept(target) if DIGEST in target else _found(target)


@functools.cache
def _kept(target: str) -> Any:
    """Return an object of a file, read once: a loss is asked for at each step, and its code may change meanwhile."""
    return _found(target)


def _found(target: str) -> Any:
    where, _, name = target.partition(DIGEST)[0].rpartition(":")
    found: Any = _module(where)
    for part in name.split("."):
        if not hasattr(found, part):
            known = [key for key in vars(found) if not key.startswith("_")]
            raise UserError(f"{where} has no {part!r}{did_you_mean(part, known)}")
        found = getattr(found, part)
    return found


def _module(where: str) -> ModuleType:
    from pdiff.plugins.files import load_file

    file = Path(where) if where.endswith(".py") else None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            if file:
                return load_file(file)
            return importlib.import_module(where)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and file is None and where.startswith(error.name or "?"):
            as_file = f"{where.replace('.', '/')}.py"
            raise UserError(
                f"no module {where!r}: there is no {as_file} beside the recipe or in the current folder, and none is "
                "installed"
            ) from None
        raise UserError(f"{where}: {told_at(error, file or Path(where))}") from None


def call(target: str, options: Mapping[str, Any], where: str, offered: Mapping[str, Any] | None = None) -> Any:
    """Return what a target gives when it is called with the options, and with what is offered and it has a name for.

    Raises UserError of one line where it takes no such argument, needs another, or raises; `where` is the table.
    """
    function = load(target)
    named = name_of(target)
    if not callable(function):
        raise UserError(f"{where}.target: {named} is a {type(function).__name__}, which cannot be called")
    given = dict(options)
    try:
        signature = inspect.signature(function)
    except ValueError:  # what is written in C may have none
        return guarded(lambda: function(**given), target, where)
    given |= _taken(signature, given, offered or {}, f"{where}.options", named)
    return guarded(lambda: function(**given), target, where)


def check_call(target: str, options: Mapping[str, Any], where: str, offered: Collection[str]) -> None:
    """Raise UserError where a target cannot be called with the options and what is offered; it is not called."""
    function = load(target)
    if not callable(function):
        raise UserError(f"{where}.target: {name_of(target)} is a {type(function).__name__}, which cannot be called")
    try:
        signature = inspect.signature(function)
    except ValueError:  # what is written in C may have none
        return
    _taken(signature, options, dict.fromkeys(offered), f"{where}.options", name_of(target))


def guarded(function: Callable[[], Any], target: str, where: str) -> Any:
    """Return what the user's code gives. Raises UserError of one line, with the line of the file, where it raises."""
    try:
        return function()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise fault_in(error, target, where) from error


def fault_in(error: BaseException, target: str, where: str) -> UserError:
    """Return what an error says that arose in the user's code, with the file and the line."""
    file = file_of(target) or _file_of_live(load(target))
    shown = f"{file}, " if file else ""
    return UserError(f"{where}: {shown}{told_at(error, file or Path('?'))}")


def _file_of_live(value: Any) -> Path | None:
    try:
        return Path(inspect.getfile(value if inspect.isroutine(value) or inspect.isclass(value) else type(value)))
    except (TypeError, OSError):
        return None


def _taken(
    signature: inspect.Signature, options: Mapping[str, Any], offered: Mapping[str, Any], where: str, named: str
) -> dict[str, Any]:
    """Return what of the offered a function has a name for. Raises UserError where it does not fit the options."""
    parameters = signature.parameters.values()
    named_ones = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    known = [parameter.name for parameter in named_ones]
    if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        for option in options:
            if option not in known:
                takes = ", ".join(known) or "nothing"
                raise UserError(
                    f"{where}.{option}: {named} has no such argument{did_you_mean(option, known)}; it takes: {takes}"
                )
    taken = {key: value for key, value in offered.items() if key in known and key not in options}
    for parameter in named_ones:
        if parameter.default is parameter.empty and parameter.name not in options.keys() | taken.keys():
            raise UserError(f"{where}.{parameter.name}: missing; {named} needs it")
    return taken
