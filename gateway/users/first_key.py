"""The first admin's key in Redis, where gateways with different data folders meet.

The key that one gateway made at its first start is the first for all: another gateway's own file then opens nothing,
which its log says. A key that the operator gives as ``OVCHAT_ADMIN_KEY`` takes the place of the one before, so this
is also the way to change it and the way back in. Revoked, it stays revoked, whatever is started.
"""

from __future__ import annotations

import time
from typing import cast

from gateway.admin_key import AdminKey
from gateway.principal import ADMIN_USER
from gateway.users.keys import digest_of
from shared.log import get_logger
from shared.redis_client import AsyncRedis
from shared.schemas.users import KeyRecord
from shared.scripts import load_script

_log = get_logger(__name__)

FIRST_KEY_ID = "first"


class FirstKey:
    """Registers this gateway's admin key as soon as Redis answers, and again where Redis has lost everything."""

    def __init__(self, state: AsyncRedis, admin_key: AdminKey) -> None:
        self._register = load_script(state, "register_first_key")
        self._digest = digest_of(admin_key.key)
        self._is_given = admin_key.is_given
        self._is_registered = False

    async def ensure(self) -> None:
        """Register the key, once."""
        if not self._is_registered:
            await self._register_now()

    async def ensure_again(self, digest: str) -> bool:
        """Register the key again where it is this one that was not found: Redis may have lost everything.

        Returns:
            Whether it was registered now, so that a look-up goes otherwise than before.
        """
        return digest == self._digest and await self._register_now()

    async def _register_now(self) -> bool:
        record = KeyRecord(
            key_id=FIRST_KEY_ID,
            user=ADMIN_USER,
            role="admin",
            name="first key",
            created_ms=int(time.time() * 1000),
        )
        # Only a start may replace another gateway's key: two with different given keys would else take turns.
        replace = self._is_given and not self._is_registered
        outcome = cast(
            bytes,
            await self._register(
                args=[self._digest, record.model_dump_json(exclude={"last_used_day"}), "1" if replace else "0"]
            ),
        )
        if outcome == b"other" and not self._is_registered:
            _log.warning(
                "first_key_is_another",
                remedy="use the key of the gateway that started first, or set OVCHAT_ADMIN_KEY on every gateway",
            )
        self._is_registered = True
        return outcome == b"registered"
