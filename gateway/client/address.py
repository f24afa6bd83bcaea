"""Where the gateway is and which key opens it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.client.invocation import ovchat
from shared.errors import InvalidApiKey, InvalidRequest
from shared.settings import ClientSettings


@dataclass(frozen=True)
class GatewayAddress:
    """The base address of a gateway, ``http://host:port`` without a slash at the end."""

    url: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidRequest(f"{self.url!r} is no address of a gateway; one looks like http://127.0.0.1:8000")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    @property
    def websocket_url(self) -> str:
        """The address of the chat socket."""
        return f"ws{self.url.removeprefix('http')}/api/v1/ws"

    @property
    def is_loopback(self) -> bool:
        """Whether the gateway is on this machine; a proxy of the environment must not be asked for it then."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def unreachable(self) -> str:
        """What to say when nobody answers."""
        return f"no gateway at {self.url}; start one with `{ovchat('up')}`"


def address_of(settings: ClientSettings) -> GatewayAddress:
    """Return the address that is set, else the one that a gateway with the same settings listens on."""
    if settings.url:
        return GatewayAddress(settings.url)
    # A gateway that listens everywhere is reached on the loopback address.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    return GatewayAddress(f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}")


def key_of(settings: ClientSettings) -> str:
    """Return the key that is set, else the admin's.

    Raises:
        InvalidApiKey: there is none; the message says where one is looked for.
    """
    for key in (settings.api_key, settings.admin_key):
        if key is not None and key.get_secret_value():
            return _sendable(key.get_secret_value(), "the API key of the environment")
    path = (settings.data_dir / "admin.key").absolute()
    try:
        return _sendable(path.read_text("utf-8").strip(), f"the API key in {path}")
    except OSError as error:
        reason = "is not there" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise InvalidApiKey(
            f"no API key: OVCHAT_API_KEY is not set and {path} {reason} "
            "(a gateway makes it at its first start). Run this from the folder that the platform was started in, "
            "or set OVCHAT_DATA_DIR to its data folder",
            param="OVCHAT_API_KEY",
        ) from error


def key_source(settings: ClientSettings) -> str:
    """Say where :func:`key_of` finds the key."""
    for name, key in (("OVCHAT_API_KEY", settings.api_key), ("OVCHAT_ADMIN_KEY", settings.admin_key)):
        if key is not None and key.get_secret_value():
            return name
    return str((settings.data_dir / "admin.key").absolute())


def _sendable(key: str, what: str) -> str:
    if not (key.isascii() and key.isprintable() and key and " " not in key):
        raise InvalidApiKey(f"{what} has characters that no key has", param="OVCHAT_API_KEY")
    return key
