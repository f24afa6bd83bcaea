"""Every route against the served OpenAPI document, with an admin's and a user's key and schemathesis' own checks."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from tests.helpers.pool import Pool
from tests.helpers.services import Gateway
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
CONFIG = Path(__file__).parent / "schemathesis.toml"
HOOKS = Path(__file__).parent / "contract_hooks.py"
#: What takes away the worker that answers, or the key that it is asked with, is asked last.
DEADLY = (
    "POST /api/v1/workers/{worker_id}/drain",
    "DELETE /api/v1/keys/{key_id}",
    "DELETE /api/v1/users/{user}",
)


@pytest.fixture(scope="module", autouse=True)
def model(pool: Pool) -> None:
    """The model that ``schemathesis.toml`` names: it answers in few words, calls tools and has room for any prompt."""
    publish_sample_variant(
        pool.store_path,
        pool.redis_url,
        model="says",
        model_type="qwen2",
        context_length=8192,
        replay_text="one two three",
        tokens_per_second=20_000,
    )


def made_key(gateway: Gateway, role: Literal["admin", "user"]) -> str:
    with gateway.client() as client:
        made = client.post("/api/v1/keys", json={"user": f"contract-{role}", "role": role, "name": "contract"})
    return str(made.raise_for_status().json()["key"])


def hold_to_the_document(gateway: Gateway, folder: Path, key: str, *selection: str) -> None:
    outcome = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"),
            f"{gateway.url}/openapi.json",
            *("--header", f"Authorization: Bearer {key}"),
            *("--phases", "examples,coverage,fuzzing,stateful", "--seed", "1", "--continue-on-failure"),
            *("--no-color", "--warnings", "off", *selection),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)},
    )
    assert outcome.returncode == 0, outcome.stdout[-8000:] + outcome.stderr[-2000:]


def test_the_document_says_how_to_sign_in_and_how_errors_read(gateway: Gateway) -> None:
    with gateway.client() as client:
        document = client.get("/openapi.json").json()
        allowed = client.put("/api/v1/chats/x").headers["allow"]
    assert document["security"] == [{"key": []}]
    assert document["paths"]["/livez"]["get"]["security"] == []
    assert "security" not in document["paths"]["/api/v1/chats"]["get"]
    assert allowed == "DELETE, GET, PATCH"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert {"400", "401", "403", "404", "429", "500", "503"} <= operation["responses"].keys(), (method, path)
            assert "422" not in operation["responses"]


@pytest.mark.parametrize("role", ["admin", "user"])
@pytest.mark.timeout(180)
def test_no_route_answers_what_its_document_does_not_say(
    pool: Pool, gateway: Gateway, role: Literal["admin", "user"]
) -> None:
    """No 5xx, no undocumented status, content type or body; what the schema refuses is refused, and the reverse.

    Single requests, then chains of them: what one answers is what the next asks for.
    """
    left_out = [part for name in DEADLY for part in ("--exclude-name", name)]
    answered = gateway.output.count("completion_admitted")
    hold_to_the_document(gateway, pool.folder, made_key(gateway, role), *left_out)
    assert gateway.output.count("completion_admitted") > answered, "no good request came as far as a worker"


@pytest.mark.timeout(180)
def test_keys_and_users_are_taken_away_as_documented(pool: Pool, gateway: Gateway) -> None:
    """The last test here: no key of this pool may be good after it."""
    selection = [part for name in DEADLY for part in ("--include-name", name)]
    hold_to_the_document(gateway, pool.folder, made_key(gateway, "admin"), *selection)
