"""Reloads and restarts while an answer waits, is loaded for, or is written: nothing is lost, nothing is told twice."""

from typing import cast

import pytest

from tests.helpers.browser import Browser
from tests.helpers.page import ANSWER, Page
from tests.helpers.pool import Pool
from tests.helpers.reciters import SLOW
from tests.helpers.sockets import Socket
from tests.helpers.variants import publish_sample_variant

pytestmark = [pytest.mark.e2e, pytest.mark.connected]

#: Keeps what the line under the chat says, from the page's first moment on.
LISTEN = (
    "const line = document.getElementById('status'); window.told = [line.textContent];"
    "new MutationObserver(() => window.told.push(line.textContent)).observe(line, {childList: true});"
)


def told(browser: Browser) -> list[str]:
    return [str(line) for line in cast(list[object], browser.script("return window.told"))]


async def test_the_place_in_the_queue_and_loading_are_told(page: Page, browser: Browser) -> None:
    browser.script(LISTEN)
    page.choose("lazy")
    async with Socket(page.gateway.socket_url) as other:
        for _ in range(2):
            await other.chat("lazy", "Hurry")
            await other.receive_until("generation.queued")
        assert page.ask_and_wait("When?") == "At last."
        for _ in range(2):
            await other.receive_until("generation.finished")
    assert any("2 before you" in line for line in told(browser))
    assert any(line.startswith("Loading lazy:int4") for line in told(browser))
    assert page.status == ""


async def test_a_reload_while_waiting_tells_place_and_loading_again(page: Page, browser: Browser, pool: Pool) -> None:
    publish_sample_variant(pool.store_path, pool.redis_url, model="lazier", start_seconds=5, replay_text="At last.")
    page.open_signed_in()
    page.choose("lazier")
    async with Socket(page.gateway.socket_url) as other:
        await other.chat("lazier", "Hurry")
        await other.receive_until("generation.queued")
        page.ask("When?")
        browser.until(lambda: "1 before you" in page.status, what="the place told")
        page.reload()
        browser.script(LISTEN)
        browser.until(lambda: any("1 before you" in line for line in told(browser)), what="the place told again")
        browser.until(lambda: any("Loading lazier" in line for line in told(browser)), what="the loading told again")
        assert browser.one("#stop").is_displayed(), "what waits can be stopped after a reload too"
        browser.screenshot("queued-light")
        page.wait_for_end()
        await other.receive_until("generation.finished")
    page.assert_nothing_lost("At last.")
    assert browser.texts("#turns .asked .body") == ["When?"]


def test_a_gateway_restart_while_waiting_loses_nothing(page: Page, browser: Browser, pool: Pool) -> None:
    publish_sample_variant(pool.store_path, pool.redis_url, model="laziest", start_seconds=5, replay_text="Still here.")
    page.open_signed_in()
    page.choose("laziest")
    page.ask("When?")
    browser.until(lambda: "you are next" in page.status, what="the place told")
    pool.gateways[0].stop()
    browser.until(lambda: "lost" in page.status, what="the loss told")
    pool.gateways[0].start_ready()
    page.wait_for_end()
    page.assert_nothing_lost("Still here.")


def test_a_reload_in_the_middle_of_an_answer_loses_nothing(page: Page, browser: Browser) -> None:
    page.choose("slow", "int4")
    page.ask("Tell me much")
    browser.until(lambda: len(page.answer) > 20, what="first words")
    for _ in range(2):
        page.reload()
        browser.until(lambda: browser.all(f"{ANSWER}.running"), what="the answer goes on")
        browser.until(lambda: len(page.answer) > 20, what="the words again")
        assert SLOW.startswith(page.answer), "each word once and in order"
    page.wait_for_end()
    page.assert_nothing_lost(SLOW)


def test_a_gateway_restart_in_the_middle_of_an_answer_loses_nothing(page: Page, browser: Browser, pool: Pool) -> None:
    page.choose("slow", "int4")
    page.ask("Tell me more")
    browser.until(lambda: len(page.answer) > 20, what="first words")
    pool.gateways[0].stop()
    browser.until(lambda: "lost" in page.status, what="the loss told")
    pool.gateways[0].start_ready()
    page.wait_for_end()
    assert page.status == ""
    page.assert_nothing_lost(SLOW)
