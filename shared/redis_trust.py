"""Finds out at a service's start what waiting would not mend: a Redis whose certificate is not believed."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import redis.exceptions

from shared.errors import RedisUnavailable
from shared.redis_client import create_sync_redis
from shared.settings import CommonSettings


def check_trust(settings: CommonSettings) -> None:
    """Connect once to each Redis that is reached over TLS; one that does not answer at all is waited for elsewhere.

    Raises:
        RedisUnavailable: its certificate is not believed; the message says what to set.
    """
    for url in sorted({settings.state_url, settings.transport_url}):
        if url.startswith("rediss://"):
            _check(url)


def _check(url: str) -> None:
    with create_sync_redis("trust", url, retries=0) as client:
        try:
            client.ping()
        except redis.exceptions.RedisError as error:
            problem = _disbelief(error)
        else:
            return
    if problem is not None:
        parts = urlsplit(url)
        raise RedisUnavailable(
            f"The certificate of the Redis at {parts.hostname}:{parts.port or 6379} is not believed "
            f"({problem.verify_message.rstrip('.')}). Set OVCHAT_CA_FILE to the certificate that signed it, which is "
            "itself where it is self-signed, and call the host in OVCHAT_REDIS_URL by a name that it has."
        )


def _disbelief(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return what TLS said of the certificate, behind what the client made of it."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error
