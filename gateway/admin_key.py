"""The admin's API key: given by the operator, or made once in a file that only its owner reads."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from gateway.users.keys import new_key
from shared.errors import InternalError, InvalidRequest
from shared.settings import GatewaySettings

ADMIN_KEY_FILE = "admin.key"
#: A shorter key that an operator chose is refused.
MIN_KEY_LENGTH = 8


@dataclass(frozen=True, slots=True)
class AdminKey:
    """The key of this gateway, and whether the operator gave it."""

    key: str
    is_given: bool


def admin_key_path(settings: GatewaySettings) -> Path:
    """Return where the key stands that was made at first start."""
    return settings.data_dir / ADMIN_KEY_FILE


def load_admin_key(settings: GatewaySettings) -> AdminKey:
    """Return the admin's key; where none is given and none was made, make one.

    The file is created exclusively and with its content by a hard link, so that of two gateways that start together
    one makes the key and both use it.

    Raises:
        InvalidRequest: the given key is too short.
        InternalError: the data folder cannot be written.
    """
    if settings.admin_key is not None:
        key = settings.admin_key.get_secret_value()
        if len(key) < MIN_KEY_LENGTH:
            raise InvalidRequest(f"OVCHAT_ADMIN_KEY needs at least {MIN_KEY_LENGTH} characters.", param="admin_key")
        return AdminKey(key, is_given=True)
    path = admin_key_path(settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        return AdminKey(path.read_text("utf-8").strip(), is_given=False)
    except OSError as error:
        raise InternalError(
            f"Cannot keep the admin key in {path}: {error.strerror}. Set OVCHAT_ADMIN_KEY or OVCHAT_DATA_DIR."
        ) from error


def _make(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(new_key() + "\n")
        # Where another gateway was first, its key is the one.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
