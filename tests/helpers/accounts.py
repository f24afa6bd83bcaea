"""Keys, sign-ins and the command line, as tests of users need them."""

import subprocess
from typing import Any

import httpx

from tests.helpers.command_line import clean_environment, ovchat
from tests.helpers.services import Gateway

#: What the page says with each change.
CSRF = {"X-Requested-With": "ovchat"}


def make_key(gateway: Gateway, user: str, **fields: object) -> dict[str, Any]:
    with gateway.client() as admin:
        response = admin.post("/api/v1/keys", json={"user": user, **fields})
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


def status(gateway: Gateway, key: str, path: str = "/api/v1/session") -> int:
    with gateway.client(key=key) as client:
        return client.get(path).status_code


def sign_in(client: httpx.Client, key: str) -> httpx.Response:
    return client.post("/api/v1/session", json={"key": key})


def run_ovchat(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return ovchat(clean_environment() | environment, *arguments)
