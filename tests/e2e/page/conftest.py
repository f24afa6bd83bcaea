"""The page in a Chromium, on a pool with the `sample` engine: one of each for this folder, for both start slowly."""

from collections.abc import Iterator

import pytest

from tests.helpers.browser import Browser, require_chromium
from tests.helpers.page import Page
from tests.helpers.pool import Pool
from tests.helpers.reciters import publish_reciters
from tests.helpers.redis_server import RedisServer

#: What Chromium itself writes of a request that was refused or found no gateway.
NETWORK_COMPLAINTS = ("Failed to load resource", "WebSocket connection to")


@pytest.fixture(scope="package")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """A gateway, a worker, and models that recite, on a Redis of their own: they live longer than one file's tests."""
    require_chromium()
    with RedisServer(tmp_path_factory.mktemp("page-redis")) as server:
        pool = Pool(tmp_path_factory.mktemp("page"), server.url)
        try:
            publish_reciters(pool)
            pool.gateway()
            pool.worker({"OVCHAT_MAX_REPLICAS": "8", "OVCHAT_DRAIN_GRACE_SECONDS": "5"})
            yield pool
        finally:
            pool.stop()


@pytest.fixture(scope="package")
def browser(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests of this folder; each begins with a page of its own."""
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(browser: Browser, pool: Pool) -> Iterator[Page]:
    """The page, signed in, on a new chat. Nothing that the page does may break its own policy or throw."""
    browser.prefer("light")
    page = Page(browser, pool.gateways[0])
    page.open_signed_in()
    browser.complaints()
    yield page
    assert [line for line in browser.complaints() if not any(words in line for words in NETWORK_COMPLAINTS)] == []
    assert browser.script("return window.hit ?? null") is None
