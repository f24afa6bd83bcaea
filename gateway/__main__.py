"""``python -m gateway``: settings, logs, application, server."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from gateway.app import create_app
from gateway.draining import DrainSignal
from gateway.open_files import raise_open_files
from gateway.server import bind, create_server
from shared.errors import PlatformError
from shared.log import configure_logging, get_logger
from shared.redis_trust import check_trust
from shared.settings import GatewaySettings, invalid_setting, refuse_unknown_names


def main() -> int:
    """Run a gateway until it is told to end; return the exit code."""
    try:
        refuse_unknown_names()
        settings = GatewaySettings()
        configure_logging("gateway", settings)
        check_trust(settings)
        draining = DrainSignal()
        app = create_app(settings, draining)
        listener = bind(settings)
    except ValidationError as error:
        sys.stderr.write(f"gateway: {invalid_setting(error).message}\n")
        return 2
    except PlatformError as error:
        sys.stderr.write(f"gateway: {error.message}\n")
        return 2
    host, port = listener.getsockname()[:2]
    get_logger(__name__).info("gateway_listening", host=host, port=port, open_files=raise_open_files())
    server = create_server(app, settings, draining)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        # uvicorn raises the signal again after a clean end.
        return 0
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
