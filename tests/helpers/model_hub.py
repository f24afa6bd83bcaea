"""A model hub on this machine: as much of its protocol as the hub's own library needs to fetch a snapshot."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class ModelHub:
    """Serves folders as models; `gated` ids answer that a licence is to be accepted unless a token is sent."""

    def __init__(self, models: dict[str, Path], *, gated: frozenset[str] = frozenset(), token: str = "") -> None:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self, with_body=True)

            def do_HEAD(self) -> None:
                hub.answer(self, with_body=False)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                hub.requests.append(format % args)

        self._models, self._gated, self._token = models, gated, token
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

    def answer(self, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        path = unquote(urlsplit(request.path).path).removeprefix("/api/models").strip("/")
        model = next((name for name in {*self._models, *self._gated} if path.startswith(name)), None)
        if model is None:
            return self._refuse(request, 404, "RepoNotFound")
        if model in self._gated and request.headers.get("Authorization") != f"Bearer {self._token}":
            return self._refuse(request, 401, "GatedRepo")
        folder, rest = self._models[model], path.removeprefix(model).strip("/")
        if rest.startswith("resolve/"):
            return self._file(request, folder / rest.split("/", 2)[2], with_body)
        siblings = [{"rfilename": file.name} for file in sorted(folder.iterdir())]
        body = json.dumps({"id": model, "modelId": model, "sha": COMMIT, "siblings": siblings}).encode()
        return self._send(request, 200, body, {"Content-Type": "application/json"}, with_body)

    def _file(self, request: BaseHTTPRequestHandler, file: Path, with_body: bool) -> None:
        if not file.is_file():
            return self._refuse(request, 404, "EntryNotFound")
        body, status = file.read_bytes(), 200
        headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
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
            request.wfile.write(body)
