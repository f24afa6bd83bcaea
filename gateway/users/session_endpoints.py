"""``/api/v1/session``: the page signs in with a key and is given a cookie for it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import Field

from gateway.authentication import SESSION_COOKIE, address_of
from gateway.dependencies import PrincipalDep, StateDep
from gateway.users.keys import digest_of
from gateway.users.sessions import SESSION_SECONDS
from shared.schemas.common import Message, StrictMessage
from shared.schemas.users import Role

router = APIRouter(prefix="/api/v1/session", tags=["session"])


class SignIn(StrictMessage):
    """A key to sign in with."""

    key: str = Field(min_length=1, max_length=1000)


class SessionView(Message):
    """Who is signed in."""

    user: str
    role: Role


@router.post("")
async def sign_in(wish: SignIn, request: Request, response: Response, state: StateDep) -> SessionView:
    """Begin a session of seven days; it ends early with its key."""
    key = wish.key.strip()
    principal = await state.authenticator.by_key(key, address_of(request.scope))
    token = await state.sessions.create(principal.user, digest_of(key))
    response.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=SESSION_SECONDS,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    response.headers["Cache-Control"] = "no-store"
    return SessionView(user=principal.user, role=principal.role)


@router.get("")
async def who_is_signed_in(principal: PrincipalDep) -> SessionView:
    """Say who asks."""
    return SessionView(user=principal.user, role=principal.role)


@router.delete("", status_code=204)
async def sign_out(request: Request, response: Response, principal: PrincipalDep, state: StateDep) -> None:
    """End the session of the cookie, if there is one."""
    token = request.cookies.get(SESSION_COOKIE)
    if token is not None:
        await state.sessions.end(principal.user, token)
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
