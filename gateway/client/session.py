"""What a command needs to talk to its gateway, from the settings of the environment."""

from __future__ import annotations

from pydantic import ValidationError

from gateway.client.address import address_of, key_of
from gateway.client.connection import Connection
from gateway.client.http_client import HttpClient
from shared.settings import ClientSettings, invalid_setting, refuse_unknown_names


def client_settings() -> ClientSettings:
    """Return the settings of the environment, refused where one is misspelt."""
    refuse_unknown_names()
    try:
        return ClientSettings()
    except ValidationError as error:
        raise invalid_setting(error) from error


def http_client() -> HttpClient:
    """Return a client of the gateway that the settings name; nothing connects yet."""
    settings = client_settings()
    return HttpClient(address_of(settings).url, key_of(settings))


def connection() -> Connection:
    """Return a chat socket to the gateway that the settings name; it connects on entering."""
    settings = client_settings()
    return Connection(address_of(settings).url, key_of(settings))
