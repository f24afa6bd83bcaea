"""Secrets are changed while the platform has chats and models: the old ones open nothing then, and nothing is lost."""

from __future__ import annotations

import secrets
import ssl
import time
from contextlib import closing
from pathlib import Path

from tests.compose.compose_project import ComposeProject
from tests.compose.conftest import free_port
from tests.compose.platform_client import PlatformClient


def test_the_password_of_redis_and_the_admins_key_are_changed(project: ComposeProject, client: PlatformClient) -> None:
    chats = client.get("/api/v1/chats")
    old_password = project.settings["OVCHAT_REDIS_PASSWORD"]
    project.settings |= {
        "OVCHAT_REDIS_PASSWORD": secrets.token_hex(24),
        "OVCHAT_ADMIN_KEY": f"rotated-{secrets.token_hex(24)}",
    }
    began = time.monotonic()
    try:
        project.bring_up(recreate=True, gateway=1, inference_cpu=1)
        project.durations["change of password and key"] = time.monotonic() - began

        refused = project.execute("redis", "env", f"REDISCLI_AUTH={old_password}", "redis-cli", "dbsize")
        assert "NOAUTH" in refused.stdout + refused.stderr
        assert client.status_with_key("/api/v1/chats", client.key) == 401
        port = int(project.settings["OVCHAT_PORT"])
        with closing(PlatformClient(port, project.settings["OVCHAT_ADMIN_KEY"])) as admin:
            assert admin.get("/api/v1/chats") == chats
            # It has the new password, else Redis would not know of it.
            assert [worker["host_id"] for worker in admin.get("/api/v1/workers")["data"]] == ["compose"]
    finally:
        # The other tests have the first key.
        project.settings["OVCHAT_ADMIN_KEY"] = client.key
        project.bring_up(recreate=True)


def test_a_users_key_is_changed_without_a_gap(client: PlatformClient) -> None:
    first, second = (client.post("/api/v1/keys", {"user": "ann"}) for _ in range(2))
    assert client.status_with_key("/api/v1/chats", first["key"]) == 200
    client.delete(f"/api/v1/keys/{first['key_id']}")
    deadline = time.monotonic() + 10
    while client.status_with_key("/api/v1/chats", first["key"]) != 401:
        assert time.monotonic() < deadline
    assert client.status_with_key("/api/v1/chats", second["key"]) == 200


def test_the_certificate_is_changed_while_the_proxy_serves(project: ComposeProject, tmp_path: Path) -> None:
    address = ("127.0.0.1", free_port())
    project.settings |= {"TLS_DIR": str(tmp_path), "HTTPS_PORT": str(address[1])}
    project.script("certificate", "localhost", "127.0.0.1")
    project.bring_up(proxy_tls=1)
    try:
        before = ssl.get_server_certificate(address)
        [container] = project.containers("proxy-tls")
        for file in ("tls.crt", "tls.key"):
            (tmp_path / file).unlink()
        project.script("certificate", "localhost", "127.0.0.1")
        project.run("kill", "-s", "HUP", "proxy-tls")
        deadline = time.monotonic() + 20
        while ssl.get_server_certificate(address) == before:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert project.containers("proxy-tls") == [container]
    finally:
        del project.scales["proxy-tls"]
        project.run("rm", "--stop", "--force", "proxy-tls")
