"""Whether a file can be fetched, known within five seconds: from a server, or from the Hugging Face hub."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SECONDS = 5.0
"""A server that has not answered by then is not asked for more."""
ABSENT = "there is no such file"
"""What a server may answer; whatever else it says, the file may be there: not every server likes to be asked."""


class Answer(NamedTuple):
    """What a server says of a file."""

    why: str
    """Why it cannot be fetched; nothing where it can."""
    size: int = 0
    """Bytes, 0 where they are not known."""

    @property
    def said(self) -> str:
        """The size in brackets, where it is known."""
        return f" ({self.size / 1e6:,.1f} MB)" if self.size else ""


@functools.cache
def ask(url: str) -> Answer:
    """Return what the server of a file says of it; each is asked once."""
    host = urllib.parse.urlsplit(url).hostname
    answers = [Answer(f"{host} gives no answer in {SECONDS:g} seconds")]
    thread = threading.Thread(target=lambda: answers.append(_head(url)), daemon=True)  # a name may take long to find
    thread.start()
    thread.join(SECONDS)
    return answers[-1]


def _head(url: str) -> Answer:
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=2 * SECONDS) as response:
            return Answer("", int(response.headers.get("Content-Length") or 0))
    except urllib.error.HTTPError as error:
        return Answer(ABSENT if error.code in (404, 410) else "")
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        if "certificate" in str(why).lower():  # others may know it
            return Answer("")
        host = urllib.parse.urlsplit(url).hostname
        return Answer(f"{host} cannot be reached: {getattr(why, 'strerror', None) or why}")


def offline() -> bool:
    """True where nothing is to be fetched, by the variable that the Hugging Face hub reads."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def endpoint() -> str:
    """Return the address of the hub, or of the mirror that takes its place."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def in_cache(repository: str, file: str) -> Path | None:
    """Return where the hub's cache holds a file, None where it does not."""
    from huggingface_hub import try_to_load_from_cache

    with contextlib.suppress(ValueError):  # of a name that is none
        found = try_to_load_from_cache(repository, file)
        return Path(found) if isinstance(found, str) else None
    return None


def ask_hub(repository: str, files: Sequence[str]) -> Answer:
    """Return what the hub says of the first of the files that it has."""
    if offline():
        return Answer("HF_HUB_OFFLINE is set")
    answers = (ask(f"{endpoint()}/{repository}/resolve/main/{file}") for file in files)
    return next((answer for answer in answers if answer.why != ABSENT), Answer(ABSENT))


def in_torch_cache(url: str) -> Path | None:
    """Return where torch.hub's folder holds the file of an address, None where it does not."""
    import torch

    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    return file if file.is_file() else None


def ask_server(url: str) -> Answer:
    """Return what a server says of a file, unless nothing is to be fetched."""
    return Answer("HF_HUB_OFFLINE is set") if offline() else ask(url)
