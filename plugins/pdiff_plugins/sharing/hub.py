"""The Hugging Face hub: looked at before anything is written, and sent one commit that holds the whole folder."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pdiff.errors import UserError
from pdiff_plugins.sharing.folder import WEIGHTS

PREFIX = "hub:"
"""What a place on the hub begins with."""
REFUSED = (401, 403)
LOGIN = "run `hf auth login`, or set HF_TOKEN to a token that may write"
PATIENCE_S = 5.0
"""How long the hub may take to answer at all."""
T = TypeVar("T")


@dataclass(frozen=True)
class Hub:
    """A repository on the hub that can be written to."""

    name: str
    token: str
    private: bool

    def __str__(self) -> str:
        return PREFIX + self.name

    @classmethod
    def reached(cls, name: str, private: bool, overwrite: bool) -> Hub:
        """Ask the hub who we are, and return the repository. Raises UserError within about five seconds."""
        from huggingface_hub import constants, get_token

        where = f"--to {PREFIX}{name}"
        if constants.HF_HUB_OFFLINE:
            raise UserError(f"{where}: HF_HUB_OFFLINE is set, so nothing is sent; unset it, or push to a folder")
        token = get_token()
        if not token:
            raise UserError(f"{where}: no token; {LOGIN}")
        owner = _within(PATIENCE_S, lambda: _who(token), constants.ENDPOINT)
        hub = cls(name if "/" in name else f"{owner}/{name}", token, private)
        hub._look(overwrite)
        return hub

    def _look(self, overwrite: bool) -> None:
        """Raise UserError where the repository can be none, or is there and is not to be written to."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

        with self._told():
            try:
                about = HfApi(token=self.token).model_info(self.name, timeout=PATIENCE_S)
            except RepositoryNotFoundError:
                return
            except HFValidationError as error:
                raise UserError(f"--to {PREFIX}{self.name}: {_line(error)}; write {PREFIX}OWNER/NAME") from None
        if self.private and about.private is False:
            raise UserError(f"{self}: is there already and public; make it private there, or name another")
        if any(file.rfilename == WEIGHTS for file in about.siblings or ()) and not overwrite:
            raise UserError(f"{self}: holds a network already; name another, or replace it with --overwrite")

    def send(self, folder: Path) -> str:
        """Send the files of a folder as one commit and return its address. Raises UserError."""
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi(token=self.token, library_name="pdiff")
        with self._told():
            api.create_repo(self.name, private=self.private or None, exist_ok=True)
            files = [CommitOperationAdd(file.name, file) for file in sorted(folder.iterdir())]
            api.create_commit(self.name, files, commit_message="Add a network with its model card")
        return f"{api.endpoint}/{self.name}"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what the hub or the network refuses in one line."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # of whichever library the installed huggingface_hub talks through
            refused = _status(error) in REFUSED
            why = f"the hub refuses it ({_status(error)})" if refused else _line(error)
            mend = "give a token that may write there" if refused else "try again"
            raise UserError(f"{self}: {why}; {mend}. The run is as it was") from None


def _who(token: str) -> str:
    """Return the name of the token's owner. Raises UserError where the hub does not know it."""
    from huggingface_hub import HfApi, constants

    try:
        return str(HfApi(token=token).whoami().get("name", ""))
    except Exception as error:
        if _status(error) in REFUSED:
            raise UserError(f"{constants.ENDPOINT}: refuses the token ({_status(error)}); {LOGIN}") from None
        raise


def _status(error: Exception) -> int | None:
    """Return the status with which a server answered, where an error is of that kind."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _within(seconds: float, ask: Callable[[], T], where: str) -> T:
    """Return what a question gives. Raises UserError where it fails, or has no answer by then."""
    given: list[Any] = []
    failed: list[Exception] = []

    def work() -> None:
        try:
            given.append(ask())
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)  # names are resolved without any limit of time
    thread.start()
    thread.join(seconds + 1)
    if failed and isinstance(failed[0], UserError):
        raise failed[0]
    if not given:
        why = _line(failed[0]) if failed else f"no answer in {seconds:.0f} s"
        raise UserError(f"{where}: cannot be reached ({why}); connect and try again, or push to a folder")
    return given[0]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
