"""Files of published sets: where they lie, whether they are whole, and how they are fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pdiff.errors import UserError
from pdiff_plugins.reach import ask

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff.context import Context


class Published(NamedTuple):
    """The files of a published set, known without torchvision, and how that fetches them."""

    name: str
    reader: Callable[[], tuple[Any, Mapping[str, str]]]
    """Returns what fetches all of them, called with the root, `download=True` and the options, and md5s by file."""
    folder: str
    """Where they lie, below the root."""
    files: Sequence[str]
    url: str
    """Where the first of them comes from."""
    beside: str = ""
    """What belongs there too."""
    options: Mapping[str, str] = {}
    mirrors: Sequence[str] = ()
    """Where it comes from too, as the reader tries one after the other."""


def of_torchvision(name: str) -> Callable[[], tuple[Any, dict[str, str]]]:
    """Return a `Published.reader` that is a class of torchvision's, of which no md5 is known."""

    def reader() -> tuple[Any, dict[str, str]]:
        from torchvision import datasets

        return getattr(datasets, name), {}

    return reader


def foresee_files(published: Published, ahead: Ahead) -> None:
    """Say whether the files of a published set are there, or can be had. Raises UserError."""
    where = ahead.data_root / published.folder
    absent = [file for file in published.files if not (where / file).exists()]
    if not absent:
        return
    if not ahead.download or len(absent) < len(published.files):
        raise _lacks(published, absent[0], ahead, "")
    for url in (published.url, *published.mirrors):
        answer = ask(url)
        if not answer.why:
            ahead.fetches(f"dataset {published.name}: {url}{answer.said}")
            return
    why = f", and cannot be fetched from {published.url} ({ask(published.url).why})"
    raise _lacks(published, absent[0], ahead, why)


def require(published: Published, ctx: Context) -> None:
    """Raise UserError unless all files lie there whole; where none does, download them first."""
    from torchvision.datasets.utils import check_integrity

    from pdiff.running.locks import locked

    where, note = ctx.data_root / published.folder, ""
    reader, sums = published.reader()
    if ctx.download and not any((where / file).exists() for file in published.files):
        with locked(ctx.data_root / f".{published.name}.lease"):  # the second of two finds what the first fetched
            if not any((where / file).exists() for file in published.files):
                note = _download(reader, ctx.data_root, published.options)
    bad = [file for file in published.files if not check_integrity(where / file, sums.get(file))]
    if bad:
        raise _lacks(published, bad[0], ctx, note)


def _lacks(published: Published, file: str, at: Context | Ahead, note: str) -> UserError:
    """Return the error that says of a file what is wrong; `note`: why it was not fetched."""
    where = at.data_root / published.folder
    present = (where / file).is_file()
    files = ", ".join([*published.files] + [published.beside] * bool(published.beside))
    step = f"delete {where} to download it again, or " if at.download and not note else ""
    return UserError(
        f"dataset {published.name}: {where / file} is {'damaged (md5 differs)' if present else 'missing'}{note}; {step}"
        f"put the files {files} there, or set run.data to the folder that holds {published.folder}"
    )


def _download(reader: Any, root: Path, options: Mapping[str, str]) -> str:
    """Let torchvision download; return what went wrong, ready to be put into a message, or nothing."""
    import tarfile
    from http.client import HTTPException

    try:
        reader(root, download=True, **options)
    except (OSError, RuntimeError, EOFError, HTTPException, tarfile.TarError) as error:
        return f", and the download failed ({' '.join(str(error).split())[:200]})"
    return ""
