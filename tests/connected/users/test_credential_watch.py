"""Keys that end while thousands of others have something open on the same gateway."""

from contextlib import ExitStack

import pytest
from pydantic import ValidationError

from gateway.admin_key import AdminKey
from gateway.principal import Principal
from gateway.users.authenticator import Authenticator, Credential
from gateway.users.credential_watch import CredentialWatch
from gateway.users.failures import SignInFailures
from gateway.users.first_key import FirstKey
from gateway.users.keys import KeyStore, digest_of, new_key
from gateway.users.sessions import SessionStore
from shared import keys
from shared.redis_client import AsyncRedis
from shared.schemas.users import NewKey

pytestmark = pytest.mark.connected
USERS = 300


async def test_a_revoked_key_waits_for_no_other_key(transport: AsyncRedis) -> None:
    """The accident: five thousand users are looked at one after the other, which takes longer than the second within
    which a revoked key opens nothing, and one record that cannot be read hides all behind it."""
    store = KeyStore(transport)
    created = [await store.create(NewKey(user=f"user{number}")) for number in range(USERS)]
    first = FirstKey(transport, AdminKey(new_key(), is_given=False))
    await first.ensure()
    authenticator = Authenticator(KeyStore(transport), SessionStore(transport), SignInFailures(transport, 10), first)
    watch = CredentialWatch(authenticator)
    with ExitStack() as stack:
        standings = [
            stack.enter_context(watch.standing(Credential("key", one.key), Principal(one.user, "user", one.key_id)))
            for one in created
        ]
        await transport.hset(keys.API_KEYS, digest_of(created[0].key), '{"of": "a version to come"}')
        await store.revoke(created[-1].key_id)
        before = (await transport.info("stats"))["total_reads_processed"]
        with pytest.raises(ValidationError):
            await watch.step()
        reads = (await transport.info("stats"))["total_reads_processed"] - before
    await transport.delete(keys.API_KEYS)
    assert [standing.ended.is_set() for standing in standings] == [False] * (USERS - 1) + [True]
    assert reads < USERS / 10, "not a round trip for each"
