"""The first admin's key, and a gateway without keys."""

from pathlib import Path

import pytest
import redis
import websockets

from tests.helpers.accounts import make_key, run_ovchat, status
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import ADMIN_KEY, Gateway, wait_until

pytestmark = pytest.mark.connected


def test_two_first_starts_make_one_first_key(tmp_path: Path) -> None:
    """The accident: two gateways with folders of their own start together on an empty Redis and let two keys in."""
    server = RedisServer(tmp_path / "redis").start()
    folders = [tmp_path / name for name in ("one", "two")]
    started = []
    try:
        for folder in folders:
            folder.mkdir()
            environment = {"OVCHAT_REDIS_URL": server.url, "OVCHAT_DATA_DIR": str(folder)}
            started.append(Gateway(environment, folder / "log", gives_admin_key=False).start())
        for one in started:
            wait_until(one.is_ready, what="gateway ready")
        made = [(folder / "admin.key").read_text().strip() for folder in folders]
        assert len(set(made)) == 2
        answers = [[status(one, key) for one in started] for key in made]
        assert sorted(answers) == [[200, 200], [401, 401]]
        for one, answer in zip(started, answers, strict=True):
            wait_until(lambda one=one, answer=answer: ("first_key_is_another" in one.output) == (answer[0] == 401))  # type: ignore[misc]
            assert not any(key in one.output for key in made)
        # The operator's own key takes the first one's place: the way to change it, and the way back in.
        given = Gateway({"OVCHAT_REDIS_URL": server.url, "OVCHAT_DATA_DIR": str(folders[0])}, tmp_path / "given.log")
        started.append(given)
        given.start_ready()
        wait_until(lambda: status(started[0], ADMIN_KEY) == 200)
        assert [status(given, key) for key in made] == [401, 401]
    finally:
        for one in started:
            one.stop()
        server.stop()


def test_the_first_key_is_shown_once(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis").start()
    data = tmp_path / "data"
    environment = {"OVCHAT_REDIS_URL": server.url, "OVCHAT_DATA_DIR": str(data)}
    gateway = Gateway(environment, tmp_path / "log", gives_admin_key=False).start_ready()
    try:
        here = {"OVCHAT_DATA_DIR": str(data), "OVCHAT_PORT": str(gateway.port)}
        shown = run_ovchat("keys", "first", **here)
        assert status(gateway, shown.stdout.strip()) == 200
        again = run_ovchat("keys", "first", **here)
        assert (again.returncode, again.stdout) == (1, "")
        assert shown.stdout.strip() not in again.stderr + gateway.output
    finally:
        gateway.stop()
        server.stop()


def test_the_first_key_may_be_revoked_but_not_the_last_way_in(tmp_path: Path) -> None:
    """The accident: an admin revokes the only admin's key, or a restart brings a revoked key back to life."""
    server = RedisServer(tmp_path / "redis").start()
    environment = {"OVCHAT_REDIS_URL": server.url, "OVCHAT_DATA_DIR": str(tmp_path)}
    gateway = Gateway(environment, tmp_path / "log").start_ready()
    try:
        make_key(gateway, "eve")
        with gateway.client() as admin:
            for path in ("/api/v1/keys/first", "/api/v1/users/admin"):
                refused = admin.delete(path)
                assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
        other = make_key(gateway, "fay", role="admin")["key"]
        with gateway.client(key=other) as admin:
            assert admin.delete("/api/v1/keys/first").status_code == 204
        assert status(gateway, ADMIN_KEY) == 401
        gateway.stop()
        gateway.start_ready()
        assert (status(gateway, ADMIN_KEY), status(gateway, other)) == (401, 200)
    finally:
        gateway.stop()
        server.stop()


def test_redis_that_lost_everything_knows_the_first_key_again(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis").start()
    gateway = Gateway(
        {"OVCHAT_REDIS_URL": server.url, "OVCHAT_DATA_DIR": str(tmp_path)}, tmp_path / "log"
    ).start_ready()
    try:
        assert status(gateway, ADMIN_KEY) == 200
        with redis.Redis.from_url(server.url) as database:
            database.flushall()
        wait_until(lambda: status(gateway, ADMIN_KEY) == 200)
    finally:
        gateway.stop()
        server.stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example"])
def test_no_authentication_is_refused_where_others_can_come(tmp_path: Path, host: str) -> None:
    """The accident: a switch for one's own machine opens the platform to the network."""
    environment = {"OVCHAT_AUTH": "off", "OVCHAT_HOST": host, "OVCHAT_DATA_DIR": str(tmp_path)}
    gateway = Gateway(environment, tmp_path / "log").start()
    assert gateway.process is not None
    assert gateway.process.wait(20) == 2
    assert "OVCHAT_AUTH=off" in gateway.output


async def test_without_authentication_this_machine_is_the_admin(session_redis: RedisServer, tmp_path: Path) -> None:
    """Other sites that the person visits are not: neither by their origin nor by a name that leads here."""
    environment = {"OVCHAT_AUTH": "off", "OVCHAT_REDIS_URL": session_redis.url, "OVCHAT_DATA_DIR": str(tmp_path)}
    gateway = Gateway(environment, tmp_path / "log").start_ready()
    try:
        with gateway.client(key=None) as client:
            assert client.get("/api/v1/session").json() == {"user": "admin", "role": "admin"}
            assert client.get("/api/v1/keys").status_code == 200
            assert client.get("/api/v1/keys", headers={"Origin": "http://evil.example"}).status_code == 403
            assert client.get("/api/v1/keys", headers={"Host": f"evil.example:{gateway.port}"}).status_code == 403
        async with websockets.connect(gateway.socket_url, origin=gateway.url) as socket:  # type: ignore[arg-type]
            assert "session.ready" in str(await socket.recv())
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(gateway.socket_url, origin="http://evil.example")  # type: ignore[arg-type]
    finally:
        gateway.stop()
