"""A `store` service of the tests: a model store over HTTP with a key and ranges, and a network's accidents."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote

KEY = "store-test-key"


class StoreServer:
    """Serves a folder as the nginx of `deploy/docker/store.conf` does.

    Attributes:
        requests: path and range of every file that was asked for with the key.
        spoilt: how often a path is still given with other bytes.
        hold_after_bytes: bytes of a file after which an answer waits until `go_on` is set.
        cut_after_bytes: bytes of each answer after which the connection is cut.
        status: answered to everything where set.
    """

    def __init__(self, store: Path, *, port: int = 0) -> None:
        server = self
        self._store = store
        self.requests: list[tuple[str, str]] = []
        self.spoilt: dict[str, int] = {}
        self.hold_after_bytes: int | None = None
        self.cut_after_bytes: int | None = None
        self.status: int | None = None
        self.held = threading.Event()
        self.go_on = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def files(self) -> list[str]:
        """Return the paths that were asked for, but for manifests."""
        return [path for path, _ in self.requests if not path.endswith("manifest.json")]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(request.path).strip("/")
        file = self._store / path
        if self.status is not None:
            return _refuse(request, self.status)
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _refuse(request, 401)
        wanted = request.headers.get("Range", "")
        self.requests.append((path, wanted))
        if not file.is_file():
            return _refuse(request, 404)
        whole = file.read_bytes()
        if self.spoilt.get(path, 0) > 0:
            self.spoilt[path] -= 1
            whole = bytes(byte ^ 1 for byte in whole)
        first = int(wanted.removeprefix("bytes=").removesuffix("-") or 0)
        request.send_response(206 if wanted else 200)
        request.send_header("Content-Length", str(len(whole) - first))
        request.end_headers()
        return self._write(request, whole[first:], is_manifest=path.endswith("manifest.json"))

    def _write(self, request: BaseHTTPRequestHandler, body: bytes, *, is_manifest: bool) -> None:
        with contextlib.suppress(OSError):
            if is_manifest:
                request.wfile.write(body)
            elif self.cut_after_bytes is not None and len(body) > self.cut_after_bytes:
                request.wfile.write(body[: self.cut_after_bytes])
                request.close_connection = True
            elif self.hold_after_bytes is not None and len(body) > self.hold_after_bytes:
                request.wfile.write(body[: self.hold_after_bytes])
                self.held.set()
                self.go_on.wait(60)
                request.wfile.write(body[self.hold_after_bytes :])
            else:
                request.wfile.write(body)


def _refuse(request: BaseHTTPRequestHandler, status: int) -> None:
    request.send_response(status)
    request.send_header("Content-Length", "0")
    request.end_headers()
