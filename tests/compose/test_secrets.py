"""What no container may have written into its log by the end."""

from __future__ import annotations

import pytest

from tests.compose.compose_project import ComposeProject
from tests.compose.platform_client import MODEL, PlatformClient


@pytest.mark.usefixtures("converted")
async def test_no_log_tells_a_secret_or_what_was_said(project: ComposeProject, client: PlatformClient) -> None:
    made = client.post("/api/v1/keys", {"user": "bob", "name": "desk"})
    assert client.status_with_key("/api/v1/session", made["key"]) == 200
    client.sign_in()
    said = "What is the capital of Mongolia?"
    answer = await client.chat(MODEL, said, request_id="secret", max_new_tokens=16)
    logs = project.logs()
    assert '"request_proxied"' in logs, "these are the logs of what was done"
    secrets = {name: value for name, value in project.settings.items() if name.endswith(("PASSWORD", "KEY"))}
    secrets |= {"the first admin's key": client.key, "a user's key": made["key"], "prompt": said}
    assert [name for name, secret in secrets.items() if secret in logs] == []
    assert answer.text.strip()
    assert answer.text.strip() not in logs
