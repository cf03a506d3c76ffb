"""Addresses for tests: a bucket on a server on loopback, a folder as an address, a web server that shows a folder."""

from __future__ import annotations

import contextlib
import functools
import shutil
import threading
import uuid
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pdiff.running.remote import local


@contextlib.contextmanager
def bucket() -> Iterator[str]:
    """Hand out an address of S3 whose bucket is there, on a server of its own."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {
                "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "tester",
                "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": "127.0.0.1",
            }.items():  # fmt: skip
                patch.setenv(name, value)
            import fsspec

            fsspec.filesystem("s3", skip_instance_cache=True).mkdir(name := f"results-{uuid.uuid4().hex}")
            yield f"s3://{name}/team/runs"
    finally:
        server.stop()


@contextlib.contextmanager
def address(kind: str, folder: Path) -> Iterator[str]:
    """Hand out an address of a kind: memory, file (below the folder), s3."""
    if kind == "s3":
        with bucket() as place:
            yield place
    else:
        yield (
            f"file://{(folder / 'far' / 'runs').as_posix()}" if kind == "file" else f"memory://{uuid.uuid4().hex}/runs"
        )


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        super().do_GET()


@contextlib.contextmanager
def web(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Show a folder on loopback; hand out its address, and the list of what was asked for."""
    pytest.importorskip("aiohttp")
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def forget(out: str) -> None:
    """Remove the local copy of an address."""
    shutil.rmtree(local(out))
