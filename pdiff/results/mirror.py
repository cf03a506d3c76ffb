"""Mirror: a run at an address. Its files are copied here to be read, and sent there once it has finished.

There files.json lists a run's files; a folder of results that a web server shows as it is has none. Imports no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable
from os import PathLike, fspath
from pathlib import Path, PurePosixPath
from typing import Any

from pdiff.errors import UserError
from pdiff.files import make_folder, read_json, sha256_of, write_bytes
from pdiff.results.pages import MARK
from pdiff.results.runs import GIVEN, RESOLVED, SCORES, find_run
from pdiff.running.locks import USES, run_locked
from pdiff.running.progress import Progress
from pdiff.running.remote import Remote, is_address, local, remote_at, safe
from pdiff.running.store import ABOUT, Stage, Store, listing

FILES, COPIED = "files.json", ".files.json"
"""A run's listing there, and here that of its files as they were copied or sent."""
ENDINGS = ".toml .json .md .html .txt .csv .png .gif .jpg .jpeg .webp .svg .mp4 .safetensors .obj .ply .stl .glb"
"""How names of a run's files end that are copied: none of it is code, which opening a run would run."""


def located(name: str | PathLike[str], out: str | PathLike[str], progress: Progress | None = None) -> tuple[Path, str]:
    """Return a run's folder, and the folder of results or the address that it is of. Raises UserError.

    Args:
        name: as `find_run` takes it, or the run's own address.
        out: folder of results, or an address; from there the run's files are copied first, but for those that were
            changed here since they were copied or sent.
        progress: shows what is copied.
    """
    text, out = fspath(name), fspath(out)
    if is_address(text):
        out, _, text = text.rstrip("/").rpartition("/")
    if not is_address(out) or (Path(text) / SCORES).is_file():
        folder = find_run(text, out)
        return folder, str(folder.parent)
    try:
        store = Store.at(out, named(remote_at(out), text), progress)
        pull(store)
    except UserError as error:
        with contextlib.suppress(UserError):
            error = UserError(f"{error}; its copy is here: {find_run(text, local(out))}")
        raise error from None
    return _run(store), out


def named(remote: Remote, name: str) -> str:
    """Return the name of a run at an address, given it, or its recipe's name or file (then the newest). UserError."""
    if safe(name) and "/" not in name and _is_run(remote, name):
        return name
    names = remote.names()
    runs = [run for run in names if run.rpartition("-")[0] == Path(name).stem and _is_run(remote, run)]
    times = [remote.modified(f"{run}/{SCORES}") for run in runs] if len(runs) > 1 else runs
    if None in times:
        raise UserError(f"{name}: {remote.address} does not say which is newest of {', '.join(runs[:5])}; name one")
    if runs:
        return runs[times.index(max(times))]
    others = ", ".join(run for run in names if "-" in run)
    raise UserError(f"{name}: no finished run of that name at {remote.address} (there: {others or 'none'})")


def _is_run(remote: Remote, name: str) -> bool:
    return remote.has(f"{name}/{FILES}") or remote.read(f"{name}/{SCORES}") is not None


def pull(store: Store) -> bool:
    """Copy the run's files from the address of its store, where there are any, and tell whether they are here now.

    What was changed here since it was copied or sent stays, and is not told to be there. Raises UserError.
    """
    folder, remote = _run(store), store.remote
    theirs, about = remote.read(f"{folder.name}/{FILES}"), folder / COPIED
    if (folder / SCORES).is_file() and about.is_file() and theirs == about.read_bytes() == _listing(folder):
        return True
    if (folder / SCORES).is_file() and not (about.is_file() and about.read_bytes() == _listing(folder)):
        return False
    if theirs is None and remote.read(f"{folder.name}/{SCORES}") is None:
        return False
    for stage in stages(remote, folder.name):
        store.note(stage)
    listed = remote.listing(f"{folder.name}/{FILES}")
    _check_data(f"{remote.address}/{folder.name}", listed["files"] if listed else ())
    make_folder(folder)
    with run_locked(folder):
        (folder / SCORES).unlink(missing_ok=True)  # until all is new: a copy that is stopped is none
        if not remote.fetch(f"{folder.name}/{FILES}", folder, COPIED):
            _fetch_plain(remote, folder)
            write_bytes(about, _listing(folder))
    return True


def stages(remote: Remote, run: str) -> list[str]:
    """Return the names of the stages that a run at an address uses. Raises UserError."""
    data = remote.read(f"{run}/{USES}")
    with contextlib.suppress(ValueError, RecursionError):
        names = json.loads(data or b"")
        if isinstance(names, list) and all(safe(name) and "/" not in name for name in names):
            return names
    what = "is not there" if data is None else "does not hold names of stages"
    raise UserError(f"{remote.address}/{run}/{USES}: {what}; run the recipe again where the run was made")


def _fetch_plain(remote: Remote, folder: Path) -> None:
    """Copy a run's files that nothing lists; pages are held against their digests, and the scores come last."""
    mark = remote.read(f"{folder.name}/{MARK}")
    digests: dict[str, str] = {}
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        digests = dict(json.loads(mark or b"")["pages"])
    _check_data(f"{remote.address}/{folder.name}", digests)
    for name in (GIVEN, RESOLVED, *digests, MARK, SCORES):
        data = mark if name == MARK else remote.read(f"{folder.name}/{name}")
        if data is None and name in (MARK, GIVEN):
            continue
        where = f"{remote.address}/{folder.name}/{name}"
        if data is None:
            raise UserError(f"{where}: is not there; copy the run's folder there again")
        if name in digests and hashlib.sha256(data).hexdigest() != digests[name]:
            raise UserError(f"{where}: holds other bytes than {MARK} says; copy the run's folder there again")
        make_folder((folder / name).parent)
        write_bytes(folder / name, data)


def _check_data(where: str, names: Iterable[str]) -> None:
    for name in names:
        if safe(name) and PurePosixPath(name).suffix.lower() not in ENDINGS.split():
            raise UserError(f"{where}: {name!r} is no file of a run's results; nothing is copied")


def _listing(folder: Path) -> bytes:
    """Return the listing of a finished run's files, as they are."""
    pages: dict[str, Any] = read_json(folder / MARK)["pages"] if (folder / MARK).is_file() else {}
    files = [name for name in (GIVEN, RESOLVED, *pages, MARK, SCORES) if (folder / name).is_file()]
    sizes = {name: (folder / name).stat().st_size for name in files}
    digests = {name: sha256_of(folder / name) for name in files}
    return json.dumps({"files": sizes, "sha256": digests}, indent=1).encode()


def publish(store: Store) -> None:
    """Send the stages of a run, those that are not there, then its own files; nothing where results lie in a folder.

    Raises UserError where that fails: nothing is lost here, and the next time it goes on.
    """
    folder, remote = _run(store), store.remote
    if not remote.address:
        return
    try:
        remote.forget()
        names = read_json(folder / USES)
        with contextlib.suppress(UserError):
            names = sorted({*names, *stages(remote, folder.name)})  # of other machines
        for name in names:
            here = store.root / name
            if (here / ABOUT).is_file() and not remote.has(listing(name)):
                remote.send(listing(name), here, (here / ABOUT).read_bytes())
        about = _listing(folder)
        remote.write(f"{folder.name}/{USES}", json.dumps(names, indent=1).encode())
        remote.send(f"{folder.name}/{FILES}", folder, about)
    except UserError as error:
        raise UserError(f"{error}; all is kept in {folder}, and the same command sends what is missing") from None
    write_bytes(folder / COPIED, about)


def fetched(name: str, source: str, out: Path, progress: Progress, say: Callable[[str], None]) -> Path:
    """Copy a run with its finished stages from an address into a folder of results, and return the run's folder.

    What is there whole is not copied. Each file is held against its digest before it has its name. Raises UserError.
    """
    remote = remote_at(source, progress)
    store = Store(out / "store", named(remote, name), remote)
    absent = []
    for stage_name in stages(remote, _run(store).name):
        about = remote.listing(listing(stage_name))
        if about is None:
            absent.append(stage_name)
            continue
        with contextlib.suppress(KeyError, TypeError):
            stage = Stage(about["stage"], about["config"])
            if stage.folder_name == stage_name:
                store.compute(stage, _damaged(f"{source}/{listing(stage_name)}"), say)
                continue
        _damaged(f"{source}/{listing(stage_name)}")(out)
    if absent:
        say(f"{len(absent)} stages of the run are not there, and are computed where they are asked for")
    if not pull(store):
        say(f"{_run(store)}: is not the copy of the run there, and stays; delete the folder to have that")
    return _run(store)


def _damaged(where: str) -> Callable[[Path], None]:
    def refuse(_: Path) -> None:
        raise UserError(f"{where}: is not of the stage that it is named for; delete its folder there, and run again")

    return refuse


def _run(store: Store) -> Path:
    assert store.run is not None
    return store.run
