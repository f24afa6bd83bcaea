"""``/api/v1/keys``, ``/api/v1/users`` and ``/api/v1/audit``: admins only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from gateway.dependencies import AdminDep, StateDep
from shared.errors import InvalidRequest
from shared.schemas.users import AuditEvent, CreatedKey, KeyChange, KeyRecord, NewKey, UserRecord

router = APIRouter(prefix="/api/v1", tags=["users"])


class KeyList(BaseModel):
    """Every key, oldest first, revoked ones included."""

    data: list[KeyRecord]


class UserList(BaseModel):
    """Every user, oldest first."""

    data: list[UserRecord]


class AuditList(BaseModel):
    """What admins did, newest first."""

    data: list[AuditEvent]
    next_cursor: str | None


@router.get("/keys")
async def list_keys(state: StateDep, _: AdminDep) -> KeyList:
    """List the keys, without the keys themselves: only their hashes are kept."""
    return KeyList(data=await state.api_keys.all())


@router.post("/keys", status_code=201)
async def create_key(wish: NewKey, state: StateDep, admin: AdminDep) -> CreatedKey:
    """Make a key for a user, who begins to exist with the first one. The key is shown here and never again."""
    created = await state.api_keys.create(wish)
    await state.audit.record(admin, "key.created", created.key_id, f"{created.role} {created.user}")
    return created


@router.patch("/keys/{key_id}")
async def change_key(key_id: str, change: KeyChange, state: StateDep, admin: AdminDep) -> KeyRecord:
    """Change a key's limits: those that are named, null for the default. They hold within a second, in sockets too."""
    changes = change.limits.model_dump(exclude_unset=True)
    if not changes:
        raise InvalidRequest("Name a limit to change.", param="limits")
    record = await state.api_keys.change_limits(key_id, change.limits)
    detail = ", ".join(f"{limit}={'default' if value is None else value}" for limit, value in changes.items())
    await state.audit.record(admin, "key.limits_changed", key_id, detail)
    return record


@router.delete("/keys/{key_id}", status_code=204)
async def revoke_key(key_id: str, state: StateDep, admin: AdminDep) -> None:
    """Revoke a key: within a second it opens nothing, and its sessions and sockets end."""
    await state.api_keys.revoke(key_id)
    await state.audit.record(admin, "key.revoked", key_id)


@router.get("/users")
async def list_users(state: StateDep, _: AdminDep) -> UserList:
    """List the users."""
    return UserList(data=await state.api_keys.users())


@router.delete("/users/{user}", status_code=204)
async def erase_user(user: str, state: StateDep, admin: AdminDep) -> None:
    """Erase a user with all keys, sessions, chats and usage; what still runs for them is cancelled.

    The audit log keeps that it was done, and what the user did as an admin.
    """
    await state.erasure.erase(user)
    await state.audit.record(admin, "user.erased", user)


@router.get("/audit")
async def list_audit(
    state: StateDep,
    _: AdminDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(pattern=r"^[1-9][0-9]{0,14}-[0-9]{1,15}$")] = None,
) -> AuditList:
    """List what admins did, newest first; about ten thousand actions are kept."""
    page = await state.audit.page(limit, cursor)
    return AuditList(data=list(page.events), next_cursor=page.next_cursor)
