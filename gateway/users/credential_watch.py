"""Tells open sockets that the key or the session which opened them is no longer good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.users.authenticator import Authenticator, Credential

#: Seconds between looks; with the time for which a look-up is believed, a socket outlives its key by less than one.
WATCH_SECONDS = 0.4


class CredentialWatch:
    """Asks about each credential once a round, however many sockets it has opened."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._listeners: dict[Credential, set[asyncio.Event]] = {}

    @contextmanager
    def ended(self, credential: Credential) -> Iterator[asyncio.Event]:
        """Give an event that is set once the credential is no longer good."""
        event = asyncio.Event()
        self._listeners.setdefault(credential, set()).add(event)
        try:
            yield event
        finally:
            listeners = self._listeners[credential]
            listeners.discard(event)
            if not listeners:
                del self._listeners[credential]

    async def step(self) -> None:
        """Look once at every credential that has a socket open. While Redis is away, all of them stay."""
        for credential in tuple(self._listeners):
            if not await self._authenticator.is_good(credential):
                for event in self._listeners.get(credential, ()):
                    event.set()
