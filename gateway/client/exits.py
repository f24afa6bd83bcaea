"""How a command ends: an expected failure becomes one line and an exit code, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

FAILURE = 1
USAGE = 2
INTERRUPTED = 130


@contextmanager
def told_failures() -> Iterator[None]:
    """Print a :class:`PlatformError` and exit with 1; exit with 130 on Ctrl-C, quietly where the reader has gone."""
    from pydantic import ValidationError

    from shared.errors import InvalidApiKey, PlatformError
    from shared.schemas.complaint import complaint_of

    try:
        yield
    except InvalidApiKey as error:
        # Without a parameter it is the gateway's word about the key that it was sent.
        fail(error.message if error.param else f"{error.message.rstrip('.')} ({_asked()})")
    except PlatformError as error:
        fail(error.message)
    except ValidationError as error:
        fail(complaint_of(error.errors()).text, code=USAGE)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _asked() -> str:
    from gateway.client.address import address_of, key_source
    from gateway.client.session import client_settings

    settings = client_settings()
    return f"asked at {address_of(settings).url} with the key of {key_source(settings)}"


def fail(message: str, *, code: int = FAILURE) -> NoReturn:
    """Say what went wrong on standard error and end the command."""
    print(f"ovchat: {message}", file=sys.stderr)
    raise typer.Exit(code)
