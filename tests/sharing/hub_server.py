"""A server on loopback that speaks as much of the hub's API as a push needs, and keeps what is sent to it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_test"


class HubServer(ThreadingHTTPServer):
    """Repositories by name, each a mapping of paths to bytes; `refuse` maps a path's beginning to a status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.stored: dict[str, bytes] = {}
        self.commits: list[str] = []
        self.cards: list[str] = []
        self.refuse: dict[str, int] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def _answer(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _do(self) -> None:
        body, path = self._body(), self.path.partition("?")[0]
        status = next((code for start, code in self.server.refuse.items() if path.startswith(start)), None)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not path.startswith("/store/"):
            status = 401
        if status:
            self._answer({"error": "refused"}, status)
        else:
            self._answer(*self._served(path, body))

    do_GET = do_POST = do_PUT = _do

    def _served(self, path: str, body: bytes) -> tuple[Any, int]:
        hub = self.server
        if path == "/api/whoami-v2":
            return {"name": "alice", "type": "user"}, 200
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'alice'}/{asked['name']}"
            if name in hub.repositories:
                return {"error": "exists", "url": f"{hub.address}/{name}"}, 409
            hub.repositories[name], hub.private[name] = {}, "private" in (asked.get("visibility"), asked.get("private"))
            hub.private[name] |= asked.get("private") is True
            return {"url": f"{hub.address}/{name}", "name": name}, 200
        if path.startswith("/store/"):
            hub.stored[path.removeprefix("/store/")] = body
            return {}, 200
        if path.endswith("/info/lfs/objects/batch"):
            return self._stores(json.loads(body)), 200
        if path == "/api/validate-yaml":
            self.server.cards.append(json.loads(body)["content"])
            return {"errors": [], "warnings": []}, 200
        owner, name, *rest = path.removeprefix("/api/models/").split("/")
        if f"{owner}/{name}" not in hub.repositories:
            return {"error": "Repository not found"}, 404
        files = hub.repositories[f"{owner}/{name}"]
        if rest[:1] == ["preupload"]:
            asked = json.loads(body)["files"]
            modes = [
                {"path": file["path"], "shouldIgnore": False, "oid": None,
                 "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular"}
                for file in asked
            ]  # fmt: skip
            return {"files": modes}, 200
        if rest[:1] == ["commit"]:
            self._commit(files, body)
            return {"success": True, "commitOid": "0" * 40, "commitUrl": f"{hub.address}/{owner}/{name}/commit/0"}, 200
        siblings = [{"rfilename": file} for file in files]
        about = {"id": f"{owner}/{name}", "private": hub.private[f"{owner}/{name}"], "siblings": siblings}
        return about | {"sha": "0" * 40, "tags": [], "downloads": 0, "likes": 0}, 200

    def _stores(self, asked: Any) -> dict[str, Any]:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.server.address}/store/{each['oid']}", "header": {}}}}
            for each in asked["objects"]
        ]
        return {"transfer": "basic", "objects": objects}

    def _commit(self, files: dict[str, bytes], body: bytes) -> None:
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.server.commits.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                stored = self.server.stored[value["oid"]]
                assert hashlib.sha256(stored).hexdigest() == value["oid"] and len(stored) == value["size"]
                files[value["path"]] = stored


@contextlib.contextmanager
def serving() -> Iterator[HubServer]:
    """Run a server for as long as the context is open."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
