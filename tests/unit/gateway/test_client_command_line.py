from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from gateway.client.address import GatewayAddress, address_of, key_of
from gateway.client.terminal import printable
from shared.errors import InvalidApiKey, InvalidRequest
from shared.settings import ClientSettings


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from gateway.client.command_line import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_lists_the_commands_and_version_is_the_distribution_s() -> None:
    outcome = _run("--help")
    assert outcome.returncode == 0
    for command in ("up", "convert", "conversions", "models", "workers", "chat", "chats", "keys", "doctor"):
        assert f"│ {command} " in outcome.stdout
    assert _run("--version").stdout == f"ovchat {version('ovchat')}\n"


def test_starting_the_command_line_imports_nothing_large() -> None:
    """Half a second of imports before every `--help` is what makes a command line feel slow."""
    large = ("pydantic", "httpx", "websockets", "rich", "redis", "fastapi", "openvino", "torch")
    program = f"import sys, gateway.client.command_line; print([name for name in {large!r} if name in sys.modules])"
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"port": 9000, "host": "0.0.0.0"}, "http://127.0.0.1:9000"),
        ({"host": "::"}, "http://[::1]:8000"),
        ({"url": "https://chat.example/"}, "https://chat.example"),
    ],
)
def test_the_address_follows_the_gateway_s_settings(settings: dict[str, object], url: str) -> None:
    assert address_of(ClientSettings.model_validate(settings)).url == url


def test_an_address_that_is_none_is_refused() -> None:
    for text in ("127.0.0.1:8000", "ftp://host", "http://"):
        with pytest.raises(InvalidRequest, match="is no address of a gateway"):
            GatewayAddress(text)


def test_the_socket_and_the_proxy_follow_the_address() -> None:
    assert GatewayAddress("https://chat.example").websocket_url == "wss://chat.example/api/v1/ws"
    assert not GatewayAddress("https://chat.example").is_loopback
    assert all(GatewayAddress(f"http://{host}:1").is_loopback for host in ("localhost", "127.0.0.1", "[::1]"))


def test_the_key_is_the_given_one_else_the_admin_s() -> None:
    assert key_of(ClientSettings.model_validate({"api_key": "mine", "admin_key": "admin"})) == "mine"
    assert key_of(ClientSettings.model_validate({"admin_key": "admin"})) == "admin"
    for broken in ("a b", "line\n", "schlüssel"):
        with pytest.raises(InvalidApiKey, match="characters that no key has"):
            key_of(ClientSettings.model_validate({"api_key": broken}))


def test_an_answer_cannot_steer_the_terminal() -> None:
    """The accident: a model writes an escape sequence that changes the title or the clipboard of its reader."""
    assert printable("a\x1b]52;c;Zm9v\x07b\tc\nd\x9b2J") == "a]52;c;Zm9vb\tc\nd2J"
