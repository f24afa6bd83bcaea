"""The proxy with a certificate: a socket, and the page in a browser."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.compose.compose_project import ComposeProject
from tests.compose.conftest import free_port
from tests.compose.platform_client import MODEL, PlatformClient
from tests.helpers.browser import Browser, require_chromium
from tests.helpers.page import ChatPage

#: Of a certificate on standard input: the SHA-256 of its public key, as Chromium wants it.
KEY_DIGEST = "openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"


def letters(text: str) -> str:
    """Return what Markdown, its rendering and its numbering leave as it is."""
    return "".join(filter(str.isalpha, text))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certs") / "tls.crt"


@pytest.fixture(scope="module")
def secured(
    project: ComposeProject, client: PlatformClient, converted: dict[str, object], certificate: Path
) -> Iterator[PlatformClient]:
    """A client through `proxy-tls`, which trusts the certificate that the operator's script made."""
    port = free_port()
    project.settings |= {"TLS_DIR": str(certificate.parent), "HTTPS_PORT": str(port)}
    project.script("certificate", "localhost", "127.0.0.1")
    project.bring_up(proxy_tls=1)
    with closing(PlatformClient(port, client.key, certificate=certificate)) as secured:
        yield secured
    del project.scales["proxy-tls"]
    project.run("rm", "--stop", "--force", "proxy-tls")


@pytest.fixture
def browser(certificate: Path, secured: PlatformClient, tmp_path: Path) -> Iterator[Browser]:
    """A Chromium that takes this one certificate as if an authority had signed it, and no other such."""
    require_chromium()
    text = certificate.read_text()
    digest = subprocess.run(["sh", "-c", KEY_DIGEST], input=text, capture_output=True, text=True, check=True)
    browser = Browser(tmp_path, f"--ignore-certificate-errors-spki-list={digest.stdout.strip()}")
    yield browser
    browser.close()


async def test_a_chat_streams_through_the_proxy_with_a_certificate(
    client: PlatformClient, secured: PlatformClient
) -> None:
    answer = await secured.chat(MODEL, "What is the capital of France?", request_id="through-tls")
    assert "Paris" in answer.text
    # The gateway heard that the visitor came by https, and the proxy does not believe a visitor who says so.
    assert "; Secure" in secured.sign_in()["set-cookie"]
    assert "; Secure" not in client.sign_in({"X-Forwarded-Proto": "https"})["set-cookie"]
    assert secured.socket_status_of_a_page() == 101


def test_the_page_chats_through_the_proxy_with_a_certificate(browser: Browser, secured: PlatformClient) -> None:
    page = ChatPage(browser)
    browser.open(secured.http_url)
    browser.until(lambda: page.asks_for_key, what="the page")
    assert all("401" in line for line in browser.complaints()), "nobody is signed in yet"
    page.sign_in(secured.key)
    browser.until(lambda: page.signed_in, what="signed in")
    assert browser.script("return [location.protocol, isSecureContext]") == ["https:", True]
    assert [cookie["secure"] and cookie["httpOnly"] for cookie in browser.driver.get_cookies()] == [True]
    page.choose(MODEL)
    page.ask("Write four sentences about the sea.")
    browser.until(lambda: page.answer, what="the first words")
    begun = page.answer
    text = page.wait_for_end()
    assert len(begun) < len(text), "it came in pieces"
    stored = secured.ended_chat(page.chat_id)["messages"][-1]
    assert letters(text) == letters(stored["content"])
    browser.screenshot("compose-tls")
    assert browser.complaints() == []
