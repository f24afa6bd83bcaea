"""Ports of this machine: whether one can be listened on, and one that is free."""

from __future__ import annotations

import errno
import socket

from gateway.client.invocation import ovchat
from shared.errors import Conflict, InvalidRequest, PermissionDenied


def require_free_port(host: str, port: int) -> None:
    """Make sure that a server could listen there now.

    Raises:
        Conflict: something listens on the port.
        PermissionDenied: the port needs privileges.
        InvalidRequest: the host is no address of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise InvalidRequest(f"OVCHAT_HOST={host} is no address: {error.strerror}", param="OVCHAT_HOST") from error
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: a port whose old connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Conflict(
                    f"port {port} on {host} is in use; stop what listens there, or take another port: "
                    f"OVCHAT_PORT={port + 1 if port < 65535 else 8001} {ovchat('up')}"
                ) from error
            if error.errno == errno.EACCES:
                raise PermissionDenied(f"port {port} needs privileges; set OVCHAT_PORT to one above 1023") from error
            raise InvalidRequest(f"OVCHAT_HOST={host} cannot be listened on: {error.strerror}") from error


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nothing listens on; another program may take it before it is used."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
