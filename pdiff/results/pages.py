"""Pages of a run, and the mark beside them by which they are known to be whole and of these scores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pdiff.errors import UserError, naming
from pdiff.files import read_json, sha256_of, write_json

MARK = "report.json"


def whole(folder: Path, wanted: str) -> list[Path] | None:
    """Return the pages that are there, None where one is not that which was written, or they are of other scores."""
    with contextlib.suppress(UserError, OSError, KeyError, TypeError, AttributeError):
        mark = read_json(folder / MARK)
        pages = {folder / name: digest for name, digest in mark["pages"].items()}
        if mark["wanted"] == wanted and all(sha256_of(page) == digest for page, digest in pages.items()):
            return list(pages)
    return None


@contextlib.contextmanager
def marked(folder: Path, wanted: str) -> Iterator[list[Path]]:
    """Hand out a list for the paths of pages that are written now; the mark is gone until all of them are."""
    (folder / MARK).unlink(missing_ok=True)
    paths: list[Path] = []
    with naming(folder):
        yield paths
    digests = {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}
    write_json(folder / MARK, {"wanted": wanted, "pages": digests})
