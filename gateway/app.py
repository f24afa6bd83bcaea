"""The gateway's ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import cast

from fastapi import FastAPI
from starlette.types import ASGIApp

from gateway.admin_key import load_admin_key
from gateway.authentication import KeyGuard, has_to_authenticate
from gateway.body_limit import BodyLimit
from gateway.catalog import endpoints as catalog
from gateway.chats import endpoints as chats
from gateway.conversions import endpoints as conversions
from gateway.converters import endpoints as converters
from gateway.draining import DrainSignal
from gateway.exception_handlers import install_exception_handlers
from gateway.generations.caller import Callers
from gateway.health import endpoints as health
from gateway.markdown import endpoints as markdown
from gateway.models import endpoints as models
from gateway.models import engine_endpoints as engines
from gateway.openai import endpoints as openai
from gateway.openai.request_id import RequestIds
from gateway.openapi import install_openapi
from gateway.page import install_page
from gateway.realtime import endpoints as realtime
from gateway.state import GatewayState, open_state
from gateway.store import endpoints as store
from gateway.usage import endpoints as usage
from gateway.users import endpoints as users
from gateway.users import session_endpoints as session
from gateway.workers import endpoints as workers
from shared.catalog import load_catalog
from shared.settings import GatewaySettings


def create_app(settings: GatewaySettings, draining: DrainSignal) -> ASGIApp:
    """Return the application, which lets nobody in without a key. Nothing connects before its lifespan starts.

    Raises:
        InvalidRequest: the settings would let everybody in, or a file of the catalogue is none.
    """
    is_on = has_to_authenticate(settings)
    admin_key = load_admin_key(settings)
    known_models = load_catalog(settings.catalog_dir)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_state(settings, draining, admin_key, known_models) as state:
            app.state.gateway = state
            yield

    app = FastAPI(title="ovchat", version=version("ovchat"), lifespan=lifespan, redoc_url=None)
    install_exception_handlers(app)
    for routes in (
        health,
        conversions,
        converters,
        models,
        engines,
        store,
        workers,
        usage,
        catalog,
        chats,
        realtime,
        markdown,
        openai,
        users,
        session,
    ):
        app.include_router(routes.router)

    app.include_router(conversions.imports)
    install_page(app)
    install_openapi(app)

    def state() -> GatewayState:
        return cast(GatewayState, app.state.gateway)

    limited = BodyLimit(app, settings.max_body_bytes)
    guarded = KeyGuard(
        limited,
        lambda: state().authenticator,
        lambda: state().credential_watch,
        is_on=is_on,
        metrics_key=settings.metrics_key,
    )
    return Callers(RequestIds(guarded)) if settings.otlp_endpoint else RequestIds(guarded)
