"""A stand-in for the hub on a free port of this machine: as much of its HTTP interface as pushing and pulling a folder needs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_" + "x" * 34


@dataclass
class Hub:
    """One repository, named when it is created: the files of its one branch, and of every commit."""

    name: str = ""
    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def commit(self) -> str:
        oid = hashlib.sha1(f"{len(self.commits)}".encode(), usedforsecurity=False).hexdigest()
        self.commits[oid] = dict(self.files)
        return oid

    @property
    def head(self) -> str:
        return next(reversed(self.commits), "")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Silence."""

    def _answer(self, body: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid username or password."}, 401)
        elif path == "/api/repos/create":
            self._create(json.loads(sent))
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            wanted = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in json.loads(sent)["files"]]
            self._answer({"files": wanted})
        elif "/commit/" in path:
            self._commit([json.loads(line) for line in sent.splitlines()])
        else:
            self._answer({"error": "not here"}, 404)

    def _create(self, asked: dict[str, Any]) -> None:
        self.hub.created.append(asked)
        self.hub.name = f"{asked['organization']}/{asked['name']}"
        if not self.hub.commits:
            self.hub.files[".gitattributes"] = b"*.onnx filter=lfs diff=lfs merge=lfs -text\n"  # as the real one does
            self.hub.commit()
        self._answer({"url": f"{self.hub.url}/{self.hub.name}"})

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif line["key"] == "deletedFile":
                del self.hub.files[value["path"]]
            else:
                self.hub.files[value["path"]] = base64.b64decode(value["content"])
        oid = self.hub.commit()
        self._answer({"success": True, "commitUrl": f"{self.hub.url}/{self.hub.name}/commit/{oid}", "commitOid": oid})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        wanted = re.search(r"/(?:revision|tree|resolve)/([^/]+)", path)
        oid = wanted[1] if wanted and wanted[1] != "main" else self.hub.head
        if not self.hub.name or self.hub.name not in path:
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif oid not in self.hub.commits:
            self._answer({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif "/tree/" in path:
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha256(content).hexdigest()[:40]}
                for name, content in self.hub.commits[oid].items()
            ]
            self._answer(entries)
        elif wanted and "/resolve/" in path:
            content = self.hub.commits[oid][path.partition(f"/resolve/{wanted[1]}/")[2]]
            self._answer(content, headers={"ETag": f'"{hashlib.sha256(content).hexdigest()[:40]}"', "X-Repo-Commit": oid})
        else:
            siblings = [{"rfilename": name} for name in self.hub.commits[oid]]
            self._answer({"id": self.hub.name, "modelId": self.hub.name, "sha": oid, "siblings": siblings})

    def do_HEAD(self) -> None:
        self.do_GET()


@contextmanager
def hub_server() -> Iterator[Hub]:
    """A hub without a repository, and with TOKEN as the token that may write; gone afterwards."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
