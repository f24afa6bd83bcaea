"""A model hub on this machine: as much of its protocol as the hub's own library needs to fetch a snapshot."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class ModelHub:
    """Serves folders as models; `gated` ids answer that a licence is to be accepted unless a token is sent.

    `strangers` are tokens of accounts that have accepted nothing; any other token is a wrong one. `revisions` are the
    folders of a model's branches, tags and commits but the main one.
    """

    def __init__(
        self,
        models: dict[str, Path],
        *,
        gated: frozenset[str] = frozenset(),
        token: str = "",
        strangers: frozenset[str] = frozenset(),
        revisions: dict[str, dict[str, Path]] | None = None,
    ) -> None:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self, with_body=True)

            def do_HEAD(self) -> None:
                hub.answer(self, with_body=False)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                hub.requests.append(format % args)

        self.models, self._gated, self._token = models, gated, token
        self._strangers, self._revisions = strangers, revisions or {}
        self._held_after_bytes: int | None = None
        self._go_on = threading.Event()
        #: Set once an answer is held.
        self.is_held = threading.Event()
        #: What GET requests asked for of weights, in their order.
        self.ranges: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def hold(self, after_bytes: int) -> None:
        """Let answers stop after so many bytes of their body."""
        self._go_on.clear()
        self.is_held.clear()
        self._held_after_bytes = after_bytes

    def release(self) -> None:
        """Let them go on."""
        self._held_after_bytes = None
        self._go_on.set()

    def answer(self, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        path = unquote(urlsplit(request.path).path).removeprefix("/api/models").strip("/")
        model = next((name for name in {*self.models, *self._gated} if f"{path}/".startswith(f"{name}/")), None)
        if model is None:
            return self._refuse(request, 404, "RepoNotFound")
        if model in self._gated and (refusal := self._refusal(request.headers.get("Authorization"))):
            return self._refuse(request, *refusal)
        rest = path.removeprefix(model).strip("/")
        revision = rest.split("/")[1] if rest.startswith(("resolve/", "revision/")) else "main"
        commit, folder = self._at(model, revision)
        if folder is None:
            return self._refuse(request, 404, "RevisionNotFound")
        if rest.startswith("resolve/"):
            return self._file(request, folder / rest.split("/", 2)[2], commit, with_body)
        siblings = [
            {"rfilename": file.name, "size": file.stat().st_size} for file in sorted(folder.iterdir()) if file.is_file()
        ]
        body = json.dumps({"id": model, "modelId": model, "sha": commit, "siblings": siblings}).encode()
        return self._send(request, 200, body, {"Content-Type": "application/json"}, with_body)

    def _refusal(self, authorization: str | None) -> tuple[int, str] | None:
        if authorization == f"Bearer {self._token}":
            return None
        if authorization is None:
            return 401, "GatedRepo"
        if authorization.removeprefix("Bearer ") in self._strangers:
            return 403, "GatedRepo"
        return 401, "Invalid credentials in Authorization header"

    def _at(self, model: str, revision: str) -> tuple[str, Path | None]:
        for name, folder in self._revisions.get(model, {}).items():
            is_commit = len(name) == len(COMMIT)
            commit = name if is_commit else hashlib.sha1(name.encode()).hexdigest()
            if revision in (name, commit):
                return commit, folder
        return COMMIT, self.models[model] if revision in ("main", COMMIT) else None

    def _file(self, request: BaseHTTPRequestHandler, file: Path, commit: str, with_body: bool) -> None:
        if not file.is_file():
            return self._refuse(request, 404, "EntryNotFound")
        body, status = file.read_bytes(), 200
        headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": commit}
        if with_body and file.suffix == ".safetensors":
            self.ranges.append(request.headers.get("Range", "whole"))
        if wanted := request.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            whole, status = len(body), 206
            end = min(int(last or whole - 1), whole - 1)
            body = body[int(first) : end + 1]
            headers["Content-Range"] = f"bytes {first}-{end}/{whole}"
        return self._send(request, status, body, headers, with_body)

    def _refuse(self, request: BaseHTTPRequestHandler, status: int, code: str) -> None:
        self._send(request, status, b"{}", {"X-Error-Code": code, "X-Error-Message": code}, True)

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str], with_body: bool
    ) -> None:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        if with_body and request.command != "HEAD":
            first = len(body) if self._held_after_bytes is None else self._held_after_bytes
            request.wfile.write(body[:first])
            if len(body) > first:
                self.is_held.set()
                self._go_on.wait(60)
                with contextlib.suppress(OSError):
                    request.wfile.write(body[first:])
