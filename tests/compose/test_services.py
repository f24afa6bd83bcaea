"""The composed platform as it was started: what runs, as whom, and what can be reached from where."""

from __future__ import annotations

from tests.compose.compose_project import SERVICES, ComposeProject
from tests.compose.platform_client import PlatformClient


def test_every_service_runs_and_is_healthy(project: ComposeProject) -> None:
    assert project.health() == [(service, "healthy") for service in sorted(SERVICES)]


def test_no_process_runs_as_root(project: ComposeProject) -> None:
    processes = project.processes()
    assert len({process.container for process in processes}) == len(SERVICES)
    assert [process for process in processes if process.uid == 0] == []


def test_only_the_proxy_is_published(project: ComposeProject) -> None:
    bindings = {service: project.run("ps", service).stdout.count("->") for service in SERVICES}
    assert bindings == {"redis": 0, "proxy": 1, "gateway": 0, "converter": 0, "inference-cpu": 0}


def test_redis_asks_for_its_password_and_shows_it_in_no_argument_and_no_log(project: ComposeProject) -> None:
    refused = project.execute("redis", "env", "--unset=REDISCLI_AUTH", "redis-cli", "dbsize")
    assert "NOAUTH" in refused.stdout
    settings = project.execute("redis", "redis-cli", "config", "get", "maxmemory*").stdout.split()
    assert settings[settings.index("maxmemory") + 1] == str(1 << 30)
    assert settings[settings.index("maxmemory-policy") + 1] == "noeviction"
    password = project.settings["OVCHAT_REDIS_PASSWORD"]
    assert [process for process in project.processes() if password in process.command] == []
    assert password not in project.logs()


def test_the_proxy_reaches_the_gateways_and_not_redis(project: ComposeProject) -> None:
    assert project.execute("proxy", "getent", "hosts", "gateway").returncode == 0
    assert project.execute("proxy", "getent", "hosts", "redis", check=False).returncode != 0
    # Nor by its address: the name is only what the engine does not tell.
    [address] = project.addresses("redis")
    tried = project.execute("proxy", "curl", "--silent", "--max-time", "3", f"telnet://{address}:6379", check=False)
    assert tried.returncode in (7, 28), "connected"


def test_the_proxy_tells_the_gateways_who_asks_and_keeps_their_limit(client: PlatformClient) -> None:
    # A socket by the page's cookie is only opened where Origin and Host agree: Host comes through with its port.
    assert client.socket_status_of_a_page() == 101
    assert client.socket_status_of_a_page(origin="http://elsewhere.example") == 403
    too_large = client.post_bytes("/api/v1/conversions", (8 << 20) + 1)
    assert too_large.status_code == 413
    assert too_large.json()["error"]["code"] == "request_too_large"


def test_the_key_is_the_owners_alone_and_guards_the_api(project: ComposeProject, client: PlatformClient) -> None:
    assert project.execute("gateway", "stat", "-c", "%a %u", "/data/admin.key").stdout.split() == ["600", "10001"]
    key = project.execute("gateway", "cat", "/data/admin.key").stdout
    assert project.execute("gateway", "ovchat", "keys", "first").stdout == key
    again = project.execute("gateway", "ovchat", "keys", "first", check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert client.status_without_key("/api/v1/models") == 401
    assert client.status_without_key("/readyz") == 200
