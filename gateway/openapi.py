"""The served OpenAPI document: FastAPI's own, with the errors that every route may answer and the ways to sign in."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.authentication import OPEN_PATHS, SIGN_IN
from gateway.exception_handlers import STATUS_BY_CODE
from shared.errors import ErrorBody

_METHODS = frozenset({"get", "post", "put", "patch", "delete"})


class ErrorEnvelope(BaseModel):
    """What every answer that is not 2xx carries."""

    error: ErrorBody


def install_openapi(app: FastAPI) -> None:
    """Let the application describe itself so; the document is made when it is first asked for."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain())
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign] # FastAPI documents this way of extending it


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    _, errors = models_json_schema([(ErrorEnvelope, "serialization")], ref_template="#/components/schemas/{model}")
    schemas = components.setdefault("schemas", {})
    schemas.update(errors["$defs"])
    # A payload that is not understood is answered by 400 and the one error body, not by FastAPI's own.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    for path, operations in document["paths"].items():
        for method in _METHODS & operations.keys():
            responses: dict[str, Any] = operations[method]["responses"]
            responses.pop("422", None)
            for status, response in _error_responses().items():
                responses.setdefault(status, response)
            if path in OPEN_PATHS or (method.upper(), path) == SIGN_IN:
                operations[method]["security"] = []
    return document


def _error_responses() -> dict[str, Any]:
    """Return the one table of error answers: each status with the codes that it may stand for."""
    codes: dict[int, list[str]] = {}
    for code, status in STATUS_BY_CODE.items():
        codes.setdefault(status, []).append(f"`{code}`")
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorEnvelope"}}}
    return {str(status): {"description": ", ".join(codes[status]), "content": content} for status in sorted(codes)}
