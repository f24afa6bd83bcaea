"""Tells open requests and sockets what became of the key or the session that opened them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.principal import Principal, Standing
from gateway.users.authenticator import Authenticator, Credential

#: Seconds between looks; with the time for which a look-up is believed, nothing outlives its key by a second.
WATCH_SECONDS = 0.4


class CredentialWatch:
    """Asks about each credential once a round, however many requests and sockets it has opened."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._standings: dict[Credential, set[Standing]] = {}

    @contextmanager
    def standing(self, credential: Credential, principal: Principal) -> Iterator[Standing]:
        """Give the standing of who came in with a credential; it follows the credential while the context is open."""
        standing = Standing(principal)
        self._standings.setdefault(credential, set()).add(standing)
        try:
            yield standing
        finally:
            standings = self._standings[credential]
            standings.discard(standing)
            if not standings:
                del self._standings[credential]

    async def step(self) -> None:
        """Look once at every credential that has something open. While Redis is away, all of them stay.

        Raises:
            Exception: one could not be looked at; the others were.
        """
        credentials = tuple(self._standings)
        # All at once: thousands, one after the other, would take longer than a revoked key may live.
        found = await asyncio.gather(*map(self._authenticator.again, credentials), return_exceptions=True)
        for credential, principal in zip(credentials, found, strict=True):
            if isinstance(principal, BaseException):
                continue
            for standing in self._standings.get(credential, ()):
                if principal is None:
                    standing.ended.set()
                else:
                    standing.principal = principal
        for failure in found:
            if isinstance(failure, BaseException):
                raise failure
