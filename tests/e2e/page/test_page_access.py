"""The page by keyboard, by ear, and to eyes that need contrast."""

from typing import cast

import pytest
from selenium.webdriver.common.keys import Keys

from tests.helpers.accessibility import nameless, unreadable
from tests.helpers.browser import Browser
from tests.helpers.page import ANSWER, Page
from tests.helpers.reciters import SLOW

pytestmark = [pytest.mark.e2e, pytest.mark.connected]

#: The parts of the administration, and what stands there once it is read.
PARTS = {
    "admin": "#workers .worker",
    "admin/models": "#published tbody tr",
    "admin/people": "#people .person",
    "admin/usage": "#usage tbody tr",
    "admin/audit": "#audit tbody tr",
}


def test_text_has_contrast_and_controls_have_names_in_both_themes(page: Page, browser: Browser) -> None:
    def assert_accessible(where: str) -> None:
        assert nameless(browser) == [], where
        for theme in ("light", "dark"):
            browser.prefer(theme)
            assert unreadable(browser) == [], f"{where}, {theme}"

    assert_accessible("welcome")
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("Readable?")
    browser.click("#open-settings")
    assert_accessible("chat with settings")
    browser.click("#close-settings")
    browser.click("#export")
    assert_accessible("dialog")
    browser.press(Keys.ESCAPE)
    browser.click("#open-admin")
    for part, content in PARTS.items():
        browser.click(f"#admin-pages [href='#{part}']")
        browser.one(content)
        assert_accessible(part)
    browser.click("#leave")
    browser.until(lambda: page.asks_for_key, what="signed out")
    assert_accessible("sign-in")


def test_dialogs_keep_the_keyboard_and_give_it_back(page: Page, browser: Browser) -> None:
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("Keep me")
    browser.one("#export").send_keys(Keys.ENTER)
    assert browser.focused == "Markdown"
    focus = "const d = document.querySelector('dialog'), a = document.activeElement;"
    for _ in range(5):
        browser.press(Keys.TAB)
        assert browser.script(f"{focus} return d.contains(a) || a === document.body"), (
            "the page behind a dialog takes no keys"
        )
    browser.press(Keys.ESCAPE)
    browser.until(lambda: not browser.all("dialog"), what="closed")
    assert browser.focused == "Export the chat"
    browser.one("#clear").send_keys(Keys.ENTER)
    assert browser.focused == "Cancel", "what does no harm comes first"
    browser.press(Keys.ENTER)
    browser.until(lambda: not browser.all("dialog"), what="closed")
    assert browser.focused == "Clear the chat"
    assert browser.texts("#turns .asked .body") == ["Keep me"]
    browser.one("#open-settings").send_keys(Keys.ENTER)
    assert browser.focused == "Settings"
    browser.press(Keys.TAB, Keys.ESCAPE)
    assert browser.focused == "Settings"
    assert browser.one("#open-settings").get_attribute("aria-expanded") == "false"


def test_the_list_of_chats_by_keyboard(page: Page, browser: Browser) -> None:
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("Old name")
    browser.click("#new-chat")
    page.chat_item("Old name").find_element("css selector", ".rename").send_keys(Keys.ENTER)
    assert browser.focused == "New title"
    browser.press(Keys.CONTROL + "a", "Renamed", Keys.ENTER)
    browser.until(lambda: browser.focused == "Rename Renamed", what="renamed, and the focus back")
    browser.press(Keys.TAB, Keys.ENTER)
    assert browser.focused == "Keep"
    browser.press(Keys.ENTER)
    assert browser.focused == "Delete Renamed"
    browser.press(Keys.ENTER)
    browser.press(Keys.SHIFT + Keys.TAB)
    assert browser.focused == "Delete"
    browser.press(Keys.ENTER)
    browser.until(lambda: "Renamed" not in page.chat_titles, what="deleted")
    browser.until(lambda: browser.focused == "New chat", what="the focus at the list's head")


def test_an_answer_is_read_out_once_and_not_word_by_word(page: Page, browser: Browser) -> None:
    browser.script(
        "window.heard = []; for (const e of document.querySelectorAll('[aria-live], [role=status], [role=alert]'))"
        "new MutationObserver(() => window.heard.push(e.textContent)).observe(e, {childList: true, subtree: true});"
    )
    page.choose("slow", "int4")
    page.ask_and_wait("Read to me")
    heard = [str(line) for line in cast(list[object], browser.script("return window.heard"))]
    assert heard.count(SLOW) == 1
    assert len(heard) < 10, heard
    assert browser.all("[aria-live] #turns, #turns[aria-live], #turns [aria-live]") == []


def test_a_long_chat_scrolls_inside_the_page_and_leads_back_to_its_end(page: Page, browser: Browser) -> None:
    page.choose("qwen2-0.5b-instruct")
    for question in ("One", "Two", "Three"):
        page.ask_and_wait(question)
    view = "const v = document.getElementById('chat-view'); "
    overflow = "return [v.scrollHeight > v.clientHeight, document.documentElement.scrollHeight > innerHeight]"
    assert browser.script(view + overflow) == [True, False]
    assert not browser.all("#to-end")[0].is_displayed()
    browser.script(view + "v.scrollTop = 0")
    browser.click("#to-end")
    browser.until(
        lambda: browser.script(view + "return v.scrollHeight - v.scrollTop - v.clientHeight < 2"), what="at the end"
    )
    assert browser.one(f"{ANSWER} .actions").is_displayed()
