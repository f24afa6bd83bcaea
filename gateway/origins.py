"""Where a browser's request comes from, as its ``Origin`` and ``Host`` headers tell."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers


def comes_from_elsewhere(headers: Headers) -> bool:
    """Whether a request names an origin that is not the address it was sent to; a proxy must pass ``Host`` on."""
    origin = headers.get("origin")
    if origin is None:
        return False
    # The scheme is not compared: behind a proxy that speaks TLS this side is plain.
    _, _, place = origin.partition("://")
    return place.lower() != headers.get("host", "").lower()


def is_loopback(host: str) -> bool:
    """Whether a host's name or address means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def names_loopback(headers: Headers) -> bool:
    """Whether a request was sent to this machine by a name of it, and not by one that another site made for it."""
    try:
        return is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or "")
    except ValueError:
        return False
