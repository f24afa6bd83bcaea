"""Users, their keys and what they used, on the page."""

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from tests.helpers.accounts import make_key, status
from tests.helpers.browser import PHONE, Browser
from tests.helpers.page import Page

pytestmark = [pytest.mark.e2e, pytest.mark.connected]


def test_a_key_is_made_shown_once_and_revoked(page: Page, browser: Browser) -> None:
    page.open_admin("people")
    browser.type("#key-user", "grace")
    browser.type("#key-name", "laptop")
    browser.click("#key-wish summary")
    browser.type("#limit-max_concurrent", "3")
    browser.click("#key-wish [type=submit]")
    key = str(browser.one("dialog .secret").get_attribute("value"))
    browser.click("dialog .copy-secret")
    browser.until(lambda: browser.text("dialog .copy-secret") == "Copied", what="copied")
    browser.screenshot("new-key-light")
    assert status(page.gateway, key) == 200
    browser.click("dialog [data-choice=done]")
    browser.until(lambda: "3 at once" in browser.text("[data-user=grace]"), what="the key listed")
    assert key not in str(browser.script("return document.documentElement.outerHTML")), "shown once"
    browser.screenshot("people-light")
    browser.click("[data-user=grace] .revoke")
    assert browser.focused == "Cancel"
    browser.press(Keys.TAB, Keys.ENTER)
    browser.until(lambda: "revoked" in browser.text("[data-user=grace]"), what="the key revoked")
    browser.until(lambda: status(page.gateway, key) == 401, what="refused")


def test_a_refused_key_says_why(page: Page, browser: Browser) -> None:
    page.open_admin("people")
    browser.until(lambda: browser.all("[data-user=admin] .revoke"), what="the admin's own key")
    browser.click("[data-user=admin] .revoke")
    browser.click("dialog [data-choice=yes]")
    browser.until(lambda: "last admin" in browser.text("#people-problem"), what="the refusal told")


def test_a_user_is_erased_by_keyboard_once_the_name_is_typed(page: Page, browser: Browser) -> None:
    key = make_key(page.gateway, "hopper")["key"]
    page.open_admin("people")
    browser.until(lambda: browser.all("[data-user=hopper]"), what="the user listed")
    browser.one("[data-user=hopper] .erase").send_keys(Keys.ENTER)
    assert browser.focused == "Type hopper to go on"
    browser.press("hoppe", Keys.ENTER)
    assert browser.text("dialog h2") == "Erase hopper?", "not before the whole name is there"
    browser.press(Keys.ESCAPE)
    browser.until(lambda: not browser.all("dialog"), what="closed")
    assert browser.focused == "Erase the user hopper"
    assert status(page.gateway, key) == 200
    browser.press(Keys.ENTER)
    browser.press("hopper")
    browser.screenshot("erase-light")
    browser.press(Keys.ENTER)
    browser.until(lambda: not browser.all("[data-user=hopper]"), what="the user gone")
    assert browser.focused == "Users and keys"
    browser.until(lambda: status(page.gateway, key) == 401, what="refused")


def test_usage_is_told_by_user_and_day_and_each_sees_their_own(page: Page, browser: Browser) -> None:
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("For the bill")
    ada = make_key(page.gateway, "ada")["key"]
    ask = {"model": "qwen2-0.5b-instruct", "messages": [{"role": "user", "content": "Hello"}]}
    with page.gateway.client(key=ada) as client:
        assert client.post("/v1/chat/completions", json=ask).status_code == httpx.codes.OK

    def rows() -> list[str]:
        return browser.texts("#usage table:first-of-type tbody td:first-child")

    page.open_admin("usage")
    browser.until(lambda: {"admin", "ada"} <= set(rows()), what="both users")
    browser.screenshot("usage-light")
    browser.resize(PHONE)
    browser.prefer("dark")
    browser.screenshot("usage-390-dark")
    assert browser.script("return document.documentElement.scrollWidth") == PHONE[0]
    browser.click("#open-side")
    browser.click("#leave")
    page.sign_in(ada)
    browser.click("#open-side")
    browser.click("#open-usage")
    browser.until(rows, what="her own usage")
    assert "admin" not in browser.text("#usage")
    assert not browser.all("#admin-pages")[0].is_displayed()
    browser.script("location.hash = '#admin/people'")
    browser.until(lambda: "not there" in page.status, what="no such part for her")
    browser.click("#open-side")
    browser.click("#leave")
