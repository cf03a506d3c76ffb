"""Remote: an address that mirrors a folder of results, such as s3://bucket/runs. fsspec comes in where one is used.

Whatever crosses is a folder with a listing: a JSON file with the size and the SHA-256 of every other file. It is sent
last, so that what is seen is whole; and nothing has its name here before its bytes are those that the listing says.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pdiff.errors import UserError
from pdiff.files import make_folder, sha256_of, write_bytes
from pdiff.running.progress import Progress, Step

ADDRESS = re.compile(r"[a-z][a-z0-9+.:-]+://", re.IGNORECASE)
OBJECTS = frozenset(("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "cos", "memory"))
"""Protocols of stores that have no folders, and in which a file is seen once it is whole."""
READ_ONLY = ("http", "https")
PROBE = "store/reached.txt"
"""What a run writes to an address before it computes anything."""
PATIENCE_S = 30.0
"""How long an address may take to answer to that."""
MB = 10**6


def is_address(out: str | os.PathLike[str]) -> bool:
    """Tell whether results lie at an address, not in a folder."""
    return isinstance(out, str) and bool(ADDRESS.match(out))


def local(out: str | os.PathLike[str]) -> Path:
    """Return the folder in which a run works: the folder of results itself, or of an address its copy in the cache."""
    text = os.fspath(out)
    if not is_address(text):
        if re.match(r"[a-z][a-z0-9+.-]+:/(?!/)", text):
            raise UserError(f"{text}: an address begins like s3://; hand it over as text, since a Path drops a slash")
        return Path(text)
    named = re.sub(r"[^A-Za-z0-9.]+", "-", text.partition("://")[2].rpartition("@")[2])
    return _cache() / f"{named.strip('-.')[-40:]}-{hashlib.sha256(text.rstrip('/').encode()).hexdigest()[:8]}"


def _cache() -> Path:
    if given := os.environ.get("PDIFF_CACHE"):
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "pdiff"
    variable, usual = ("LOCALAPPDATA", "AppData/Local") if os.name == "nt" else ("XDG_CACHE_HOME", ".cache")
    return Path(os.environ.get(variable) or Path.home() / usual) / "pdiff"


def safe(name: object) -> bool:
    """Tell whether a name that somebody else wrote is that of a file below a folder."""
    if not isinstance(name, str) or re.search(r"[\\\0]|^[A-Za-z]:|^$", name):
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.as_posix() == name != "."


class Remote:
    """No address: results lie in a folder alone."""

    address = ""
    sends = False
    """Whether what is computed is sent."""

    def faults(self) -> list[str]:
        """Return what keeps results from being sent, in a line; nothing where they can be."""
        return []

    def read(self, path: str) -> bytes | None:
        """Return a small file, None where it is not there. Raises UserError where that cannot be known."""
        return None

    def listing(self, path: str) -> dict[str, Any] | None:
        """Return a listing, None where it is not there. Raises UserError where it is damaged, or leads elsewhere."""
        return None

    def has(self, path: str) -> bool:
        """Tell whether a listing is there, and so all that it lists."""
        return self.listing(path) is not None

    def fetch(self, path: str, folder: Path, kept_as: str = "") -> bool:
        """Copy what a listing lists into a folder, then the listing; what is there whole stays. False: not there.

        `kept_as`: the listing's name in the folder, where it is another one.

        Raises UserError where a file is missing, or not what the listing says; it is then not in the folder.
        """
        return False

    def send(self, path: str, folder: Path, listing: bytes) -> None:
        """Send the files of a folder that are listed, then the listing. Raises UserError."""

    def write(self, path: str, data: bytes) -> None:
        """Write a small file. Raises UserError."""

    def share(self, path: str, folder: Path, say: Callable[[str], None]) -> None:
        """Send a folder, where results are sent and it is not there; what keeps it from that is told in a line."""

    def names(self) -> list[str]:
        """Return the names of what lies at the address itself. Raises UserError."""
        return []

    def modified(self, path: str) -> Any:
        """Return when a file was written, None where that is not known."""
        return None

    def forget(self) -> None:
        """Forget what was seen there: others may have changed it."""


class Address(Remote):
    """An address that fsspec knows."""

    def __init__(self, address: str, progress: Progress):
        self.address, self.progress = address.rstrip("/"), progress
        self.protocol, _, place = self.address.partition("://")
        before, _, shown = place.rpartition("@")
        if "?" in place or ":" in before or "/" in before or (before and self.protocol.lower() in READ_ONLY):
            mend = "take it out, and give it in the variables that its library reads"
            raise UserError(f"{self.protocol}://...{shown.partition('?')[0]}: holds a password or a key; {mend}")
        if "::" in self.address:
            raise UserError(f"{self.address}: is a chain of addresses; give one")
        self._listings: dict[str, bytes] = {}

    def forget(self) -> None:
        self._listings.clear()

    @functools.cached_property
    def _system(self) -> tuple[Any, str]:
        """fsspec's file system, and the address in its words."""
        try:
            import fsspec

            system, root = fsspec.url_to_fs(self.address, skip_instance_cache=True, **self._options())
        except ImportError as error:
            mend = "pip install 'neural-pdiff[remote]', or the library that it names"
            raise UserError(f"{self.address}: a library is not there ({error}); {mend}") from None
        except Exception as error:
            raise UserError(f"{self.address}: is no address ({_line(error)}); s3://bucket/runs is one") from None
        return system, root.rstrip("/")

    def _options(self) -> dict[str, Any]:
        """Return what a web server's client is told: its variables count, and a copy may take longer than 5 minutes."""
        if self.protocol.lower() not in READ_ONLY:
            return {}
        import aiohttp

        patience = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE_S, sock_read=PATIENCE_S)
        return {"client_kwargs": {"timeout": patience, "trust_env": True}}

    def _at(self, path: str) -> str:
        if not safe(path):
            raise UserError(f"{self.address}: {path!r} leads elsewhere; nothing is copied or sent")
        return f"{self._system[1]}/{path}"

    @contextlib.contextmanager
    def _told(self, path: str = "") -> Iterator[None]:
        """Tell what an address refuses, in one line."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # of whichever library it takes
            where = f"{self.address}/{path}" if path else self.address
            why = "is not there" if isinstance(error, FileNotFoundError) else "cannot be reached, or does not answer"
            raise UserError(f"{where}: {why} ({_line(error)})") from None

    def faults(self) -> list[str]:
        if self.protocol.lower() in READ_ONLY:
            other = "name a folder, or an address that can be written to, such as s3://bucket/runs"
            return [f"run.out: {self.address} can only be read; {other}"]
        failed: list[UserError | None] = []

        def probe() -> None:
            try:
                with self._told():
                    self._put(PROBE, lambda to: self._system[0].pipe_file(to, b"pdiff keeps results here.\n"))
                failed.append(None)
            except UserError as error:
                failed.append(error)

        thread = threading.Thread(target=probe, daemon=True)  # libraries try again for minutes
        thread.start()
        thread.join(PATIENCE_S)
        error = failed[0] if failed else f"{self.address}: no answer in {PATIENCE_S:.0f} s"
        return [f"run.out: {error}; mend that, or name a folder"] if error else []

    def read(self, path: str) -> bytes | None:
        place = self._at(path)
        with self._told():
            try:
                data: bytes = self._system[0].cat_file(place)
            except FileNotFoundError:
                return None
            except Exception as error:  # some servers say of what is not there that it is forbidden
                if self.protocol.lower() in READ_ONLY and getattr(error, "status", 0) == 403:
                    return None
                raise
        return data

    def listing(self, path: str) -> dict[str, Any] | None:
        if path not in self._listings:
            if (data := self.read(path)) is None:
                return None
            self._listings[path] = data
        return _checked(self._listings[path], f"{self.address}/{path}")

    def fetch(self, path: str, folder: Path, kept_as: str = "") -> bool:
        about = self.listing(path)
        if about is None:
            return False
        at, _, last = path.rpartition("/")
        sizes, digests = about["files"], about["sha256"]
        todo = [name for name in sizes if not (folder / name).is_file() or sha256_of(folder / name) != digests[name]]
        with self._step(f"copying {at}", {name: sizes[name] for name in todo}) as step:
            for name in todo:
                self._copy(f"{at}/{name}", folder / name, digests[name], step, sizes[name])
        make_folder(folder)
        write_bytes(folder / (kept_as or last), self._listings[path])
        return True

    def _step(self, what: str, sizes: Mapping[str, int]) -> contextlib.AbstractContextManager[Step]:
        return self.progress.step(f"{what} (MB)", sum(-(-size // MB) for size in sizes.values()))

    def _copy(self, path: str, to: Path, digest: str, step: Step, size: int) -> None:
        make_folder(to.parent)
        part = to.with_name(f"{to.name}.{os.getpid()}.tmp")
        try:
            with self._told(path), _metered(step, size) as callback:
                self._system[0].get_file(self._at(path), str(part), callback=callback)
            if sha256_of(part) != digest:
                mend = "delete its folder there, and run the recipe again where it was made"
                raise UserError(f"{self.address}/{path}: holds other bytes than its listing says; {mend}")
            with open(part, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(part, to)
        finally:
            part.unlink(missing_ok=True)

    def send(self, path: str, folder: Path, listing: bytes) -> None:
        at = path.rpartition("/")[0]
        about = _checked(listing, str(folder))
        with self._step(f"sending {at}", about["files"]) as step:
            for name, size in about["files"].items():
                if sha256_of(folder / name) != about["sha256"][name]:
                    raise UserError(f"{folder / name}: is damaged, and not sent; run the recipe again")
                with self._told(f"{at}/{name}"), _metered(step, size) as callback:
                    put = functools.partial(self._system[0].put_file, str(folder / name), callback=callback)
                    self._put(f"{at}/{name}", put)
        self.write(path, listing)
        self._listings[path] = listing

    def share(self, path: str, folder: Path, say: Callable[[str], None]) -> None:
        if not self.sends:
            return
        try:
            if not self.has(path):
                self.send(path, folder, (folder / path.rpartition("/")[2]).read_bytes())
        except UserError as error:
            self.sends = False
            say(f"warning: {error}; what is computed is kept, and sent at the run's end")

    def write(self, path: str, data: bytes) -> None:
        with self._told(path):
            self._put(path, lambda to: self._system[0].pipe_file(to, data))

    def _put(self, path: str, put: Callable[[str], Any]) -> None:
        """Put a file in its place in one step."""
        place, (system, _) = self._at(path), self._system
        if self.protocol.lower() in OBJECTS:
            put(place)
            return
        system.makedirs(place.rpartition("/")[0], exist_ok=True)
        put(f"{place}.{os.getpid()}.tmp")
        system.mv(f"{place}.{os.getpid()}.tmp", place)

    def names(self) -> list[str]:
        system, root = self._system
        with self._told():
            try:
                system.invalidate_cache()
                names = {path.rstrip("/").rpartition("/")[2] for path in system.ls(root, detail=False)}
            except FileNotFoundError:
                return []
        return sorted(filter(safe, names))

    def modified(self, path: str) -> Any:
        with contextlib.suppress(Exception):
            return self._system[0].modified(self._at(path))
        return None


def remote_at(out: str | os.PathLike[str], progress: Progress | None = None) -> Remote:
    """Return the address at which results lie, or none. Raises UserError where it is no address."""
    return Address(os.fspath(out), progress or Progress()) if is_address(out) else Remote()


def _checked(data: bytes, where: str) -> dict[str, Any]:
    """Return a listing. Raises UserError."""
    try:
        about = json.loads(data)
        names, digests = about["files"], about["sha256"]
        odd = next((name for name in names if not safe(name)), None)
        whole = all(isinstance(size, int) and re.fullmatch(r"[0-9a-f]{64}", digests[n]) for n, size in names.items())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        odd, whole = None, False
    if odd is not None:
        raise UserError(f"{where}: lists {odd!r}, which leads out of its folder; nothing of it is copied")
    if not whole:
        raise UserError(f"{where}: is damaged; delete it, and run the recipe again where it was made")
    return dict(about)


@contextlib.contextmanager
def _metered(step: Step, size: int) -> Iterator[Any]:
    """Hand out what tells a step, in MB, how much of a file has crossed."""
    from fsspec.callbacks import Callback

    told = 0

    def tell(_size: int | None, value: int, **_: Any) -> None:
        nonlocal told
        now = min(value, size) // MB
        if now > told:
            step.advance(now - told)
            told = now

    yield Callback(hooks={"step": tell})
    step.advance(-(-size // MB) - told)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
