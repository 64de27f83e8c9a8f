"""A model hub on this machine: the addresses that huggingface_hub asks, over files in a folder."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories by id, and what is wrong with them."""

    address: str = ""
    repositories: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=dict)
    """Files that break off after so many bytes, once."""
    forged: set[str] = field(default_factory=set)
    """Files whose bytes are not what the hub says."""
    claimed: dict[str, int] = field(default_factory=dict)
    """Files that are said to be larger than they are."""
    asked: list[str] = field(default_factory=list)


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if path.startswith("/api/models/") and "/tree/" in path:
            self._tree(path.removeprefix("/api/models/").partition("/tree/")[0], body=body)
        elif path.startswith("/api/models/"):
            self._about(path.removeprefix("/api/models/"), body=body)
        elif "/resolve/" in path:
            repository, _, rest = path[1:].partition("/resolve/")
            self._file(repository, rest.partition("/")[2], body=body)
        elif path.startswith("/bundles/"):
            self._send(200, (self.hub.repositories["bundles"] / path.removeprefix("/bundles/")).read_bytes(), body=body)
        else:
            self._send(404, b"{}", body=body)

    def _about(self, rest: str, *, body: bool) -> None:
        repository = rest.partition("/revision/")[0]
        if repository not in self.hub.repositories:
            self._send(404, b'{"error":"Repository not found"}', {"X-Error-Code": "RepoNotFound"}, body=body)
            return
        siblings = []
        for file in sorted(self.hub.repositories[repository].iterdir()):
            data = file.read_bytes()
            size = self.hub.claimed.get(file.name, len(data))
            one = {"rfilename": file.name, "size": size, "blobId": _blob(data)}
            if file.suffix == ".safetensors":
                one["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": size, "pointerSize": 130}
            siblings.append(one)
        about = {
            "id": repository,
            "modelId": repository,
            "sha": COMMIT,
            "siblings": siblings,
            "tags": [],
            "downloads": 0,
        }
        about |= {"private": False, "gated": "manual" if repository in self.hub.gated else False}
        self._send(200, json.dumps(about).encode(), {"Content-Type": "application/json"}, body=body)

    def _tree(self, repository: str, *, body: bool) -> None:
        """What newer versions of huggingface_hub ask for: every file, as git has it."""
        entries: list[dict[str, object]] = []
        for file in sorted(self.hub.repositories[repository].iterdir()):
            data = file.read_bytes()
            entry: dict[str, object] = {"type": "file", "path": file.name, "size": len(data), "oid": _blob(data)}
            if file.suffix == ".safetensors":
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            entries.append(entry)
        self._send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"}, body=body)

    def _file(self, repository: str, name: str, *, body: bool) -> None:
        if repository in self.hub.gated and "authorization" not in {key.lower() for key in self.headers}:
            self._send(401, b'{"error":"gated"}', {"X-Error-Code": "GatedRepo"}, body=body)
            return
        data = (self.hub.repositories[repository] / name).read_bytes()
        etag = hashlib.sha256(data).hexdigest() if name.endswith(".safetensors") else _blob(data)
        if name in self.hub.forged:
            data = data[:-1] + bytes([data[-1] ^ 1])
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        status, start = 200, 0
        if (wanted := self.headers.get("Range")) and body:
            start = int(wanted.partition("=")[2].partition("-")[0])
            status, headers["Content-Range"] = 206, f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = self.hub.cut.pop(name, None) if body else None
        self._send(status, data[start:], headers, body=body, cut=cut)

    def _send(
        self, status: int, data: bytes, headers: dict[str, str] | None = None, *, body: bool, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data if cut is None else data[:cut])
        if cut is not None:
            self.close_connection = True


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub that runs until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def run(*argv: str, hub: Hub, cache: Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run riskline with this hub as its only one and a cache of its own."""
    own = {"HF_ENDPOINT": hub.address, "RISKLINE_CACHE": str(cache), "HOME": str(cache.parent), "NO_COLOR": "1"}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "RISKLINE_"))}
    return subprocess.run(
        [sys.executable, "-m", "riskline", *argv],
        env=kept | own | environment, input=stdin, capture_output=True, check=False, text=True, timeout=300,
    )  # fmt: skip
