"""Python files that a user names: where they lie, what they hold, and how they are loaded."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from pdiff.errors import UserError, did_you_mean
from pdiff.files import sha256_of
from pdiff.plugins.loading import told

DIGEST = "@sha256:"
"""Parts a file from the digest of its code where a finished run names it."""
NEEDED = ("numpy", "torch", "safetensors", "pydantic", "rich", "timm", "torchvision", "PIL")
_imported: dict[str, tuple[str, str]] = {}
"""Module -> (file, its digest) of those that are imported from here, and are so again when they have changed."""
_roots: list[Path] = []
"""Folders of such modules, the last one used first: behind all other places, for imports inside functions."""


def find_file(named: str, folders: Iterable[Path]) -> Path:
    """Return the whole path of a file that is named relative to one of the folders. Raises UserError."""
    bare = named.partition(DIGEST)[0]
    tried = list(dict.fromkeys((folder / Path(bare).expanduser()).resolve() for folder in folders))
    found = next((path for path in tried if path.is_file()), None)
    if found is None:
        there = list(tried[0].parent.glob("*.py"))  # which end alike, whatever their names
        near = did_you_mean(tried[0].stem, [path.stem for path in there])
        near = near and did_you_mean(tried[0].name, [path.name for path in there])
        raise UserError(f"{bare}: no such file{near or f' (looked for {tried[0]})'}")
    if found.suffix != ".py":
        raise UserError(f"{bare}: is no Python file; its name must end in .py")
    return found


def kept(file: Path) -> str:
    """Return a file's path and the digest of its code, as a finished run names it."""
    return f"{file}{DIGEST}{code_digest(file)}"


def check_kept(named: str, file: Path) -> None:
    """Raise UserError where a file is no longer the one that a finished run names."""
    _, parted, digest = named.partition(DIGEST)
    if parted and digest != code_digest(file):
        raise UserError(
            f"{file}: has changed, or what it imports beside it has, since the run was made; bring it back as it was, "
            "or run the recipe again, which makes another run"
        )


def _place(file: Path) -> tuple[Path, str]:
    """Return the folder from which a file is imported, and its name there: packages above it are part of the name."""
    root = file.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    parts = file.relative_to(root).with_suffix("").parts
    return root, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_of(file: Path) -> dict[str, Path]:
    """Return a file and what it imports from beside it, and so on, by the names of the modules."""
    root, name = _place(file)
    modules, todo = dict[str, Path](), [(name, file)]
    while todo:
        name, path = todo.pop()
        if name not in modules:
            modules[name] = path
            todo += [(other, there) for other in _imports(name, path) if (there := _file_of(root, other))]
    return modules


def _file_of(root: Path, module: str) -> Path | None:
    place = root.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _imports(name: str, file: Path) -> Iterator[str]:
    """Yield the names that a file may import, also inside functions; nothing of one that cannot be read as Python."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (part for part in (module, *(f"{module}.{alias.name}" for alias in node.names)) if part)


def code_digest(file: Path) -> str:
    """Return the SHA-256 of a file and of what it imports from beside it; where they lie does not count."""
    digest = hashlib.sha256()
    for name, path in sorted(modules_of(file).items()):
        digest.update(f"{name}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def load_file(file: Path) -> ModuleType:
    """Import a file as Python itself would from its folder, anew where it or what it imports has changed.

    Its folder stays importable, for imports inside functions. Whatever its code raises is raised.
    """
    root, name = _place(file)
    modules = modules_of(file)
    now = {module: (str(path), sha256_of(path)) for module, path in modules.items()}
    if any(_imported.get(module, here) != here for module, here in now.items()):
        for module in now.keys() & _imported.keys():
            del _imported[module]
            sys.modules.pop(module, None)
    _imported.update((module, here) for module, here in now.items() if module not in sys.modules)
    if root in _roots or str(root) not in sys.path:
        sys.path[:] = [place for place in sys.path if Path(place) not in _roots]
        _roots[:] = [root, *(other for other in _roots if other != root)]
        sys.path += map(str, _roots)
    importlib.invalidate_caches()
    _shield(root)
    sys.path.insert(0, str(root))
    try:
        loaded = _by_path(name, file) if _taken(name, file) else importlib.import_module(name)
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(root))
    return loaded


def _taken(name: str, file: Path) -> bool:
    """Whether the name is that of another module, which must not be shadowed for everybody else."""
    there = sys.modules.get(name)
    others = there is not None and Path(getattr(there, "__file__", None) or "?").resolve() != file
    root, top = _place(file)[0], name.partition(".")[0]
    return others or "." in file.stem or top in sys.stdlib_module_names or _installed(top, root)


def _installed(top: str, root: Path) -> bool:
    """Whether another place than the folder, or the current one, has a module of this name, imported or not."""
    ours = {root, Path().resolve(), *_roots}
    places = [place for place in sys.path if place and Path(place).resolve() not in ours]
    return importlib.machinery.PathFinder.find_spec(top, places) is not None


def _shield(root: Path) -> None:
    """Import what pdiff itself needs where a file of the folder has its name, which would else take its place."""
    for top in NEEDED:
        if (root / f"{top}.py").is_file() and top not in sys.modules and _installed(top, root):
            importlib.import_module(top)


def _by_path(name: str, file: Path) -> ModuleType:
    """Load a file under a name that nothing else has."""
    alone = f"{name.replace('.', '_')}_{code_digest(file)[:12]}"
    if alone in sys.modules:
        return sys.modules[alone]
    spec = importlib.util.spec_from_file_location(alone, file)
    assert spec is not None and spec.loader is not None
    module = sys.modules[alone] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[alone]
        raise
    return module


def told_at(error: BaseException, file: Path) -> str:
    """Return what an error says, after the line of the file, or of one beside it, in which it arose last."""
    root = _place(file)[0]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(root) and "site-packages" not in path.parts:
            return f"{f'{path.name}, ' if path != file else ''}line {frame.lineno}: {told(error)}"
    return told(error)
