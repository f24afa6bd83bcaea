"""The audit against a stand-in for a vulnerability database, which speaks OSV's query."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from deploy.supply.audit import FOUND, NOT_ASKED, audit, osv


@contextmanager
def _database(known: dict[str, str]) -> Iterator[str]:
    """Serve a database that knows one vulnerability of each of these packages; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            package = asked["package"]
            found = known.get(package["name"])
            ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}]
            vulnerability = {"id": found, "affected": [{"package": package, "ranges": ranges}]}
            content = json.dumps({"vulns": [vulnerability]} if found else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so.
            """Say nothing on the test's standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _lock(folder: Path, *lines: str) -> Path:
    file = folder / "some.lock"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_what_the_database_knows_is_told_with_the_release_that_mends_it(tmp_path: Path) -> None:
    with _database({"jinja2": "CVE-1", "attrs": "CVE-2"}) as url:
        outcome = audit([_lock(tmp_path, "attrs==26.1.0", "click==8.5.1")], osv(url))
    assert outcome.found == ["some.lock: attrs 26.1.0 has CVE-2, mended in 99.0"]
    assert (outcome.not_asked, outcome.exit_code) == ([], FOUND)


def test_nothing_found_counts_only_where_the_database_knows_something(tmp_path: Path) -> None:
    """A mirror that answers every question with nothing would else be taken for a clean bill of health."""
    lock = _lock(tmp_path, "attrs==26.1.0")
    with _database({"jinja2": "CVE-1"}) as url:
        assert audit([lock], osv(url)).exit_code == 0
    with _database({}) as url:
        outcome = audit([lock], osv(url))
    assert (outcome.found, outcome.exit_code) == ([], NOT_ASKED)
    assert "knows nothing of jinja2==2.10" in outcome.not_asked[0]


def test_a_database_that_is_not_reached_is_no_pass(tmp_path: Path) -> None:
    with _database({}) as url:
        gone = url
    assert audit([_lock(tmp_path, "attrs==26.1.0")], osv(gone)).exit_code == NOT_ASKED
