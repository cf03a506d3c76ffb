"""No network: sockets reach this machine alone, and whoever asks for another is written down."""

from __future__ import annotations

import socket
from typing import Any

import pytest

HERE = ("127.0.0.1", "::1", "localhost", "", None)


def cut_off(patch: pytest.MonkeyPatch) -> list[str]:
    """Refuse every host but this machine, and return the list to which those that were asked for are added."""
    asked: list[str] = []

    def check(host: Any) -> None:
        host = host.decode() if isinstance(host, bytes) else host
        if host not in HERE:
            asked.append(str(host))
            raise OSError(f"{host}: the campaign has no network")

    def guarded(call: Any) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family != socket.AF_UNIX:
                check(address[0])
            return call(self, address)

        return connect

    def lookup(host: Any, *arguments: Any, call: Any = socket.getaddrinfo, **options: Any) -> Any:
        check(host)
        return call(host, *arguments, **options)

    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
    patch.setattr(socket, "getaddrinfo", lookup)
    return asked
