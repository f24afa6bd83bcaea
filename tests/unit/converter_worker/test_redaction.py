"""No error tells a secret, whatever the library that raised it wrote."""

from pathlib import Path

import pytest

from converter_worker.redaction import HIDDEN, without_secrets
from converter_worker.stage_errors import platform_error
from converter_worker.stages.hub_errors import hub_error


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token hf_abcdefghijkl refused", f"token {HIDDEN} refused"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {HIDDEN}"),
        ("https://bob:secret@mirror/models", f"https://{HIDDEN}@mirror/models"),
        ("https://mirror/models", "https://mirror/models"),
    ],
)
def test_what_has_the_form_of_a_secret_is_hidden(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_a_mirrors_account_is_in_no_error() -> None:
    """The accident: the operator's password for a mirror is shown to everyone who sees the job."""
    address = "https://bob:secret@mirror.example"
    told = hub_error(ConnectionError(), "org/model", None, endpoint=address, has_token=False).message
    assert f"https://{HIDDEN}@mirror.example" in told
    told += platform_error(RuntimeError(f"cannot read {address}/x"), "export", Path("/nowhere")).message
    assert "secret" not in told
