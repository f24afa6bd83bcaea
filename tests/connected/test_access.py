"""Who may use which route: a table of every route, walked as nobody, as a user and as an admin.

A new route is not in the table and fails the first test until somebody has decided who may use it.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import httpx
import pytest
import redis

from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected

Visitor = Literal["anonymous", "wrong key", "metrics key", "user", "admin"]
METRICS_KEY = "a-key-for-prometheus"


class Access(NamedTuple):
    """What each visitor is answered to a request with ids that do not exist and without a body."""

    anonymous: int
    user: int
    admin: int


def everybody(status: int = 200) -> Access:
    return Access(status, status, status)


def signed_in(status: int = 200) -> Access:
    return Access(401, status, status)


def admins(status: int = 200) -> Access:
    return Access(401, 403, status)


#: 400: no body; 404: no such thing. Both mean that the visitor was let through.
TABLE: dict[tuple[str, str], Access] = {
    ("GET", "/livez"): everybody(),
    ("GET", "/readyz"): everybody(),
    ("GET", "/metrics"): signed_in(),
    ("POST", "/api/v1/session"): everybody(400),
    ("GET", "/api/v1/session"): signed_in(),
    ("DELETE", "/api/v1/session"): signed_in(204),
    ("GET", "/api/v1/catalog"): signed_in(),
    ("GET", "/api/v1/models"): signed_in(),
    ("DELETE", "/api/v1/models/{model}/{variant}"): admins(404),
    ("POST", "/api/v1/models/{model}/{variant}/quality"): admins(404),
    ("PUT", "/api/v1/models/{model}/default"): admins(400),
    ("PUT", "/api/v1/models/{model}/{variant}/placement"): admins(400),
    ("GET", "/api/v1/models/{model}/{variant}/engine"): admins(404),
    ("PUT", "/api/v1/models/{model}/{variant}/engine"): admins(400),
    ("PUT", "/api/v1/models/{model}/{variant}/tuning"): admins(400),
    ("POST", "/api/v1/conversions"): admins(400),
    ("POST", "/api/v1/imports"): admins(400),
    ("GET", "/api/v1/conversions"): admins(),
    ("GET", "/api/v1/converters"): admins(),
    ("GET", "/api/v1/conversions/{conversion_id}"): admins(404),
    ("DELETE", "/api/v1/conversions/{conversion_id}"): admins(404),
    ("GET", "/api/v1/conversions/{conversion_id}/events"): admins(404),
    ("POST", "/api/v1/store/gc"): admins(400),
    ("POST", "/api/v1/store/verify"): admins(400),
    ("GET", "/api/v1/store/runs/{run_id}"): admins(404),
    ("GET", "/api/v1/workers"): admins(),
    ("GET", "/api/v1/replicas"): admins(),
    ("POST", "/api/v1/replicas"): admins(400),
    ("DELETE", "/api/v1/replicas/{worker_id}/{model}/{variant}"): admins(404),
    ("POST", "/api/v1/workers/{worker_id}/drain"): admins(404),
    ("GET", "/api/v1/keys"): admins(),
    ("POST", "/api/v1/keys"): admins(400),
    ("PATCH", "/api/v1/keys/{key_id}"): admins(400),
    ("DELETE", "/api/v1/keys/{key_id}"): admins(404),
    ("GET", "/api/v1/users"): admins(),
    ("DELETE", "/api/v1/users/{user}"): admins(404),
    ("GET", "/api/v1/audit"): admins(),
    ("POST", "/api/v1/markdown"): signed_in(400),
    ("GET", "/api/v1/chats"): signed_in(),
    ("POST", "/api/v1/chats"): signed_in(400),
    ("GET", "/api/v1/chats/{chat_id}"): signed_in(404),
    ("PATCH", "/api/v1/chats/{chat_id}"): signed_in(400),
    ("DELETE", "/api/v1/chats/{chat_id}"): signed_in(404),
    ("GET", "/api/v1/chats/{chat_id}/export"): signed_in(404),
    ("GET", "/api/v1/usage"): signed_in(),
    ("GET", "/api/v1/asyncapi.json"): signed_in(),
    ("GET", "/v1/models"): signed_in(),
    ("GET", "/v1/models/{model_id}"): signed_in(404),
    ("POST", "/v1/chat/completions"): signed_in(400),
    ("POST", "/v1/completions"): signed_in(400),
}
#: Routes that the OpenAPI document does not name.
UNNAMED: dict[tuple[str, str], Access] = {
    ("GET", "/"): everybody(),
    ("GET", "/docs"): signed_in(),
    ("GET", "/openapi.json"): signed_in(),
    ("GET", "/api/v1/nothing"): signed_in(404),
    # A plain request to the socket's address.
    ("GET", "/api/v1/ws"): signed_in(404),
}


@pytest.fixture(scope="module")
def gateway(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("access")
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    publish_sample_variant(folder / "models", session_redis.url)
    environment = {
        "OVCHAT_REDIS_URL": session_redis.url,
        "OVCHAT_DATA_DIR": str(folder),
        "OVCHAT_METRICS_KEY": METRICS_KEY,
    }
    gateway = Gateway(environment, folder / "log").start_ready()
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def visitors(gateway: Gateway) -> Iterator[dict[Visitor, httpx.Client]]:
    with gateway.client() as admin:
        key = admin.post("/api/v1/keys", json={"user": "ann"}).json()["key"]
        with (
            gateway.client(key=None) as anonymous,
            gateway.client(key="wrong-key") as wrong,
            gateway.client(key=METRICS_KEY) as metrics,
            gateway.client(key=key) as user,
        ):
            yield {
                "anonymous": anonymous,
                "wrong key": wrong,
                "metrics key": metrics,
                "user": user,
                "admin": admin,
            }


@pytest.fixture(scope="module")
def served(gateway: Gateway) -> set[tuple[str, str]]:
    """The routes of the OpenAPI document."""
    with gateway.client() as admin:
        paths = admin.get("/openapi.json").json()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_the_table_names_every_route(served: set[tuple[str, str]]) -> None:
    assert served - TABLE.keys() == set(), "decide who may use these"
    assert TABLE.keys() - served == set(), "these are gone"


@pytest.mark.parametrize(("method", "path"), [*TABLE, *UNNAMED])
def test_a_route_lets_in_whom_it_should(visitors: dict[Visitor, httpx.Client], method: str, path: str) -> None:
    access = (TABLE | UNNAMED)[method, path]
    expected: dict[Visitor, int] = {
        "anonymous": access.anonymous,
        "wrong key": access.anonymous,
        "metrics key": 200 if path == "/metrics" else access.anonymous,
        "user": access.user,
        "admin": access.admin,
    }
    url = re.sub(r"\{\w+(:path)?\}", "x", path)
    answers = {visitor: client.request(method, url) for visitor, client in visitors.items()}
    assert {visitor: answer.status_code for visitor, answer in answers.items()} == expected
    for answer in answers.values():
        if answer.status_code >= 400:
            error = answer.json()["error"]
            assert set(error) == {"message", "type", "param", "code"}
            code = {401: "invalid_api_key", 403: "permission_denied"}.get(answer.status_code, error["code"])
            assert error["code"] == code
        if answer.status_code == 401:
            assert answer.headers["www-authenticate"] == "Bearer"
