"""One table from error codes to HTTP statuses, one JSON body for every failure."""

from __future__ import annotations

import math
import re

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from shared.errors import (
    InternalError,
    InvalidRequest,
    PlatformError,
    QuotaExceeded,
    RedisFull,
    RedisUnavailable,
    Unavailable,
)
from shared.log import get_logger
from shared.redis_client import AWAY, is_full
from shared.schemas.complaint import complaint_of

_log = get_logger(__name__)

#: HTTP status of each error code.
STATUS_BY_CODE: dict[str, int] = {
    "internal_error": 500,
    "invalid_request": 400,
    "request_too_large": 413,
    "invalid_frame": 400,
    "context_length_exceeded": 400,
    "invalid_api_key": 401,
    "permission_denied": 403,
    "not_found": 404,
    "model_not_found": 404,
    "model_not_converted": 404,
    "variant_not_published": 404,
    "conversion_not_found": 404,
    "generation_not_found": 404,
    "chat_not_found": 404,
    "worker_not_found": 404,
    "store_run_not_found": 404,
    "journal_expired": 410,
    "conflict": 409,
    "variant_exists": 409,
    "name_taken": 409,
    "chat_busy": 409,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "source_not_found": 400,
    "source_gated": 403,
    "not_causal_lm": 400,
    "family_not_exported": 400,
    "remote_code_needed": 400,
    "source_corrupt": 400,
    "tokenizer_missing": 400,
    "recipe_unfit": 400,
    "calibration_unavailable": 400,
    "disk_full": 507,
    "out_of_memory": 507,
    "stage_crashed": 500,
    "stage_timed_out": 500,
    "verification_failed": 500,
    "store_unwritable": 500,
    "variant_corrupt": 500,
    "load_failed": 500,
    "template_failed": 400,
    "template_timeout": 500,
    "device_not_found": 503,
    "unavailable": 503,
    "overloaded": 503,
    "no_worker": 503,
    "worker_lost": 503,
    "kv_cache_exhausted": 503,
    "redis_unavailable": 503,
    "redis_full": 503,
    "store_unavailable": 503,
    "draining": 503,
    "cancelled": 409,
}

#: Seconds that a client shall wait before it tries a passing failure again, where the error names none.
DEFAULT_RETRY_AFTER_SECONDS = 2


def retry_after_seconds(error: PlatformError) -> int | None:
    """Return when the same may be asked again; None where that would change nothing."""
    if STATUS_BY_CODE[error.code] not in (429, 503):
        return None
    return math.ceil(error.retry_after_seconds or DEFAULT_RETRY_AFTER_SECONDS)


def error_response(error: PlatformError) -> JSONResponse:
    """Return the HTTP form of an error."""
    status = STATUS_BY_CODE[error.code]
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if (seconds := retry_after_seconds(error)) is not None:
        headers["Retry-After"] = str(seconds)
    if error.code == QuotaExceeded.code:
        # OpenAI's clients try every 429 again at once, but for this header.
        headers["x-should-retry"] = "false"
    return JSONResponse({"error": error.body().model_dump()}, status, headers)


def validation_error(error: ValidationError | RequestValidationError) -> InvalidRequest:
    """Return the most specific complaint about a payload, named by its field."""
    complaint = complaint_of(error.errors())
    return InvalidRequest(complaint.text, param=complaint.field or None)


def redis_error(error: BaseException) -> Unavailable:
    """Return the error of a request that needed Redis while it was away or full."""
    if is_full(error):
        return RedisFull(
            "The platform's Redis is full and takes nothing new. Delete chats, or users who have left, or ask an admin "
            "to raise its memory limit (REDIS_MAXMEMORY). Nothing was lost; what runs goes on after that."
        )
    return RedisUnavailable("The message queue does not answer. Nothing was lost; try again in a moment.")


_REASONS = {
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method."),
}


def _allowed_methods(app: FastAPI, path: str) -> list[str]:
    """Return the methods of every route at a path; the router itself names only those of the first that fits."""
    allowed: set[str] = set()
    for template, operations in app.openapi()["paths"].items():
        if re.fullmatch("[^/]+".join(re.escape(part) for part in re.split(r"\{[^}]*\}", template)), path):
            allowed.update(method.upper() for method in operations)
    return sorted(allowed) or ["GET"]


def install_exception_handlers(app: FastAPI) -> None:
    """Give every failure of the application the one error body."""

    @app.exception_handler(PlatformError)
    async def platform(_: Request, error: PlatformError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def payload(_: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(validation_error(error))

    @app.exception_handler(405)
    async def method(request: Request, _: Exception) -> JSONResponse:
        body = {"message": _REASONS[405][1], "type": "invalid_request_error", "param": None, "code": _REASONS[405][0]}
        return JSONResponse({"error": body}, 405, {"Allow": ", ".join(_allowed_methods(app, request.url.path))})

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        code, message = _REASONS.get(error.status_code, ("invalid_request", str(error.detail)))
        body = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        return JSONResponse({"error": body}, error.status_code, error.headers)

    async def redis_away(_: Request, error: Exception) -> JSONResponse:
        _log.warning("redis_unavailable", reason=type(error).__name__)
        return error_response(redis_error(error))

    for kind in AWAY:
        app.add_exception_handler(kind, redis_away)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        return error_response(InternalError("Something went wrong here; the gateway's log has the cause."))
