"""What the operating system can refuse is one line and exit code 2, whatever it is; a fault of the code is not."""

from __future__ import annotations

import errno
import os

import pytest
from filelock import SoftFileLease

from pdiff import cli
from pdiff.errors import UserError
from pdiff.running.store import Store
from tests.engine.helpers import STAGE

BUGS = {"EBADF", "EFAULT", "ECHILD"}
NUMBERS = {name: number for name, number in vars(errno).items() if name.startswith("E")}


def ended(monkeypatch: pytest.MonkeyPatch, error: Exception) -> object:
    """Return the code with which the program ends where a command raises this."""

    def raises(**_: str) -> None:
        raise error

    monkeypatch.setattr(cli, "build", lambda: raises)
    with pytest.raises(SystemExit) as exited:
        cli.main()
    return exited.value.code


@pytest.mark.parametrize("name", sorted(NUMBERS.keys() - BUGS))
def test_every_condition_is_one_line_that_names_the_file(name, monkeypatch, capsys) -> None:
    number = NUMBERS[name]
    assert ended(monkeypatch, OSError(number, os.strerror(number), "some/file")) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: some/file: ") and os.strerror(number) in said and said.count("\n") == 1


@pytest.mark.parametrize("error", [OSError(NUMBERS[name], "bug") for name in sorted(BUGS)] + [OSError("no number")])
def test_what_only_a_fault_in_the_code_can_cause_is_shown_as_one(error, monkeypatch) -> None:
    with pytest.raises(OSError) as raised:
        ended(monkeypatch, error)
    assert raised.value is error


def test_a_path_with_a_nul_is_one_line(monkeypatch, capsys) -> None:
    with pytest.raises(ValueError, match="embedded null") as null:
        os.stat("a\0b")
    assert ended(monkeypatch, null.value) == 2 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["ENOLCK", "EOPNOTSUPP", "EIO", "ESTALE"])
def test_a_file_system_without_locks_is_named_and_nothing_is_computed(name, tmp_path, monkeypatch) -> None:
    def refuses(self: SoftFileLease, *_: object, **__: object) -> None:
        raise OSError(NUMBERS[name], os.strerror(NUMBERS[name]))

    monkeypatch.setattr(SoftFileLease, "acquire", refuses)
    with pytest.raises(
        UserError, match=rf"locks/{STAGE.folder_name}.lease: cannot be locked \({os.strerror(NUMBERS[name])}"
    ):
        Store(tmp_path).compute(STAGE, lambda part: pytest.fail("computed without its lock"))


def test_what_a_stage_cannot_write_names_its_folder(tmp_path) -> None:
    def full(part) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=rf"{STAGE.folder_name}.part: No space left"):
        Store(tmp_path).compute(STAGE, full)
