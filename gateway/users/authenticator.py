"""From a key or a session's cookie to who asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.limits.limits import Limits
from gateway.principal import Principal
from gateway.users.failures import SignInFailures, too_many
from gateway.users.first_key import FirstKey
from gateway.users.keys import KEY_PREFIX, KeyStore, digest_of, new_key
from gateway.users.sessions import SessionStore
from shared.errors import InvalidApiKey
from shared.schemas.users import KeyRecord

_KEY_LENGTH = len(new_key())


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request shows: a key, or the cookie of a session."""

    kind: Literal["key", "session"]
    secret: str = field(repr=False)


class Authenticator:
    """Looks credentials up and counts those that are wrong."""

    def __init__(self, keys: KeyStore, sessions: SessionStore, failures: SignInFailures, first_key: FirstKey) -> None:
        self._keys = keys
        self._sessions = sessions
        self._failures = failures
        self._first_key = first_key

    async def by_key(self, key: str, address: str) -> Principal:
        """Return who has a key.

        An address that guesses is refused before the look-up, so that it learns nothing more. A key of the platform's
        own form cannot be guessed and is still looked up: one bad script does not lock a whole office out.

        Raises:
            InvalidApiKey: nobody.
            RateLimited: too many wrong keys came from this address.
        """
        cannot_be_guessed = key.startswith(KEY_PREFIX) and len(key) == _KEY_LENGTH
        if not cannot_be_guessed and await self._failures.is_spent(address):
            raise too_many()
        record = await self._find(digest_of(key))
        if record is None:
            if cannot_be_guessed and await self._failures.is_spent(address):
                raise too_many()
            await self._failures.count(address)
            raise InvalidApiKey("This key is not known here, or was revoked.")
        return _principal(record)

    async def by_session(self, token: str) -> Principal:
        """Return whose session this is.

        Raises:
            InvalidApiKey: it has ended, or its key was revoked.
        """
        key_digest = await self._sessions.key_digest(token)
        record = await self._find(key_digest) if key_digest is not None else None
        if record is None:
            raise InvalidApiKey("This session has ended. Sign in again.")
        return _principal(record)

    async def again(self, credential: Credential) -> Principal | None:
        """Return whom a key or a session that was good before stands for now; None where it is no longer good."""
        secret = credential.secret
        digest = digest_of(secret) if credential.kind == "key" else await self._sessions.key_digest(secret)
        record = await self._find(digest) if digest is not None else None
        return None if record is None else _principal(record)

    async def _find(self, digest: str) -> KeyRecord | None:
        await self._first_key.ensure()
        record = await self._keys.find(digest)
        if record is None and await self._first_key.ensure_again(digest):
            record = await self._keys.find(digest)
        return record


def _principal(record: KeyRecord) -> Principal:
    return Principal(record.user, record.role, record.key_id, Limits(**record.limits.model_dump()))
