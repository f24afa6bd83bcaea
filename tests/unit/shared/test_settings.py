"""Settings: a misspelt one is refused, every one is documented."""

import ssl
from pathlib import Path

import pytest
from kombu.connection import Connection
from pydantic import ValidationError

from shared.errors import InvalidRequest
from shared.settings import SERVICES, CommonSettings, GatewaySettings, known_names, refuse_unknown_names


def test_a_name_that_no_service_knows_is_refused() -> None:
    refuse_unknown_names({"OVCHAT_PORT": "1", "PATH": "/bin"})
    with pytest.raises(InvalidRequest, match=r"OVCHAT_PROT.*OVCHAT_PORT"):
        refuse_unknown_names({"OVCHAT_PROT": "1"})


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_is_described_where_it_is_first_defined(service: type[CommonSettings]) -> None:
    described = {name for one in SERVICES for name, field in one.model_fields.items() if field.description is not None}
    assert set(service.model_fields) <= described


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVCHAT_PORT", "1234")
    monkeypatch.setenv("OVCHAT_REDIS_URL", "redis://elsewhere/3")
    settings = GatewaySettings()
    assert settings.port == 1234
    assert settings.transport_url == "redis://elsewhere/3"
    assert "OVCHAT_PORT" in known_names()


def test_redis_over_tls_is_checked_by_every_client(tmp_path: Path) -> None:
    """Celery's transport believes any certificate where the address does not say otherwise."""
    certificates = tmp_path / "ca.crt"
    certificates.touch()
    url = "rediss://:p%40ss@redis.example.org:6380/0"
    settings = CommonSettings(redis_url=url, ca_file=certificates)
    expected = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": str(certificates)}
    broker = Connection(settings.transport_url)  # type: ignore[no-untyped-call]
    assert (broker.ssl, broker.password) == (expected, "p@ss")
    assert settings.state_url == settings.transport_url
    # An address that passed through here once, as from `ovchat up` to its services, stays as it is.
    assert CommonSettings(redis_url=settings.state_url).state_url == settings.state_url
    with pytest.raises(ValidationError, match="does not point to a file"):
        CommonSettings(ca_file=tmp_path / "missing.crt")


def test_a_secret_is_not_shown() -> None:
    settings = GatewaySettings.model_validate({"admin_key": "very-secret"})
    assert "very-secret" not in repr(settings)
