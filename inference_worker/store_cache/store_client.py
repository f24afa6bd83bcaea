"""Reads files of a `store` service over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urlsplit

from shared.errors import LoadFailed, StoreUnavailable, VariantNotPublished

#: Longest silence of a connection. A stopping worker may have to wait for it.
SILENCE_SECONDS = 15.0
#: What a broken connection, or one that says something else than HTTP, raises.
_BROKEN = (OSError, http.client.HTTPException)
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Download:
    """A file's bytes from `first_byte` on, which is 0 where the service gives whole files only."""

    first_byte: int
    chunks: Iterator[bytes]


class StoreClient:
    """A connection of its own for each file; safe for several threads."""

    def __init__(self, url: str, key: str, ca_file: Path | None = None) -> None:
        """`url` with the path that the store's folder has, if any. Nothing connects yet."""
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path
        self._headers = {"Authorization": f"Bearer {key}"}
        self._context: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._context = ssl.create_default_context()
            if ca_file is not None:
                self._context.load_verify_locations(ca_file)

    def read(self, model: str, variant: str, name: str) -> bytes:
        """Return a small file of a variant. Raises what :meth:`stream` raises."""
        with self.stream(model, variant, name) as download:
            return b"".join(download.chunks)

    @contextlib.contextmanager
    def stream(self, model: str, variant: str, name: str, first_byte: int = 0) -> Iterator[Download]:
        """Open a file of a variant from a byte on.

        Raises:
            VariantNotPublished: there is no such file.
            LoadFailed: the service does not take the key, or its certificate is not believed.
            StoreUnavailable: it cannot be reached, or broke off; the chunks raise it too.
        """
        with contextlib.closing(self._connection()) as connection:
            headers = {**self._headers, **({"Range": f"bytes={first_byte}-"} if first_byte else {})}
            path = quote(f"{self._path}/{model}/{variant}/{name}")
            try:
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
            except _BROKEN as error:
                raise self._unavailable(error) from error
            # It keeps the socket open beyond the connection where it was not read to its end.
            with answer:
                self._check(answer, f"{model}/{variant}/{name}")
                begins = first_byte if answer.status == HTTPStatus.PARTIAL_CONTENT else 0
                yield Download(begins, self._chunks(answer))

    def _chunks(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        try:
            while chunk := answer.read(_CHUNK_BYTES):
                yield chunk
        except _BROKEN as error:
            raise self._unavailable(error) from error
        # A connection that was cut ends as a finished one does, but for the length that was announced.
        if answer.length:
            raise self._unavailable(http.client.IncompleteRead(b"", answer.length))

    def _connection(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=SILENCE_SECONDS)
        return http.client.HTTPSConnection(self._host, self._port, timeout=SILENCE_SECONDS, context=self._context)

    def _check(self, answer: http.client.HTTPResponse, file: str) -> None:
        if answer.status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            return
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise LoadFailed(
                f"The store at {self.url} does not take this worker's key. Set OVCHAT_STORE_KEY to the value that it "
                "has in deploy/.env of the platform's host, and start the worker again."
            )
        if answer.status == HTTPStatus.NOT_FOUND:
            raise VariantNotPublished(f"The store at {self.url} has no {file}.")
        raise StoreUnavailable(f"The store at {self.url} answers {answer.status} for {file}.")

    def _unavailable(self, error: BaseException) -> LoadFailed | StoreUnavailable:
        if isinstance(error, ssl.SSLCertVerificationError):
            return LoadFailed(
                f"The certificate of the store at {self.url} is not believed ({error.verify_message.rstrip('.')}). Set "
                "OVCHAT_CA_FILE to the certificate that signed it, and use a name in OVCHAT_STORE_URL that it has."
            )
        return StoreUnavailable(
            f"The store at {self.url} does not answer ({str(error) or type(error).__name__}). Is its service running, "
            "and is OVCHAT_STORE_URL its address?"
        )
