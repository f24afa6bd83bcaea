"""The chat page in a real Chromium, on a pool of real processes with the `sample` engine."""

import json

import pytest
import redis
from selenium.webdriver.common.keys import Keys

from shared import keys
from tests.helpers.browser import PHONE, Browser
from tests.helpers.page import ANSWER, Page
from tests.helpers.pool import Pool
from tests.helpers.reciters import HOSTILE, HOSTILE_NAME, MARKDOWN, SLOW
from tests.helpers.services import ADMIN_KEY

pytestmark = [pytest.mark.e2e, pytest.mark.connected]


def test_signing_in_with_a_wrong_and_a_right_key(page: Page, browser: Browser) -> None:
    browser.click("#leave")
    # A screenshot of a page that is just going away takes Chromium 10 s.
    browser.until(lambda: page.asks_for_key, what="signed out")
    browser.screenshot("sign-in-light")
    page.sign_in("wrong-key")
    browser.until(lambda: browser.text("#key-problem"), what="refusal told")
    assert page.asks_for_key
    page.sign_in(ADMIN_KEY)
    browser.until(lambda: page.signed_in, what="signed in")
    kept = browser.script("return JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert kept == '[{},{},""]', "no script can read the session"
    browser.open(page.gateway.url)
    browser.until(lambda: page.signed_in, what="still signed in after a reload")
    assert browser.text("#user-name") == "admin"


def test_models_are_grouped_by_language_and_examples_follow(page: Page, browser: Browser) -> None:
    groups = [group.get_attribute("label") or "" for group in browser.all("#model optgroup")]
    assert [group.split(" ")[0] for group in groups] == ["English", "Chinese", "Japanese", "Other"]
    page.choose("youri-7b-chat")
    browser.until(lambda: "素数" in browser.text("#examples"), what="Japanese examples")
    browser.screenshot("welcome-japanese-light")
    browser.all("#examples button")[2].click()
    assert "1とその数だけ" in page.wait_for_end()
    page.choose("slow", "int8")
    assert [option.text for option in browser.all("#variant option")] == ["default (int8)", "int4", "int8"]


def test_an_answer_streams_and_is_rendered(page: Page, browser: Browser) -> None:
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("Count the words")
    assert browser.text(f"{ANSWER} strong") == "short"
    assert browser.texts(f"{ANSWER} li") == ["count", "print"]
    assert browser.text(f"{ANSWER} pre") == "print(len(words))"
    assert browser.text(f"{ANSWER} .code-head span") == "python"
    assert browser.texts(f"{ANSWER} td") == ["x", "12"]
    assert "qwen2-0.5b-instruct:int4 · CPU" in browser.text(f"{ANSWER} .provenance")
    assert "A short list" in str(browser.script("return document.getElementById('spoken').textContent")).replace(
        "*", ""
    )
    browser.until(lambda: page.chat_titles[:1] == ["Count the words"], what="the chat listed")
    browser.screenshot("chat-light")
    browser.prefer("dark")
    browser.screenshot("chat-dark")


def test_copying(page: Page, browser: Browser) -> None:
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("Copy this")
    for selector in (f"{ANSWER} .copy", f"{ANSWER} .copy-code"):
        browser.click(selector)
        browser.until(lambda chosen=selector: browser.text(chosen) == "Copied", what="copied")  # type: ignore[misc]


def test_stop_ends_an_answer_and_keeps_its_text(page: Page, browser: Browser) -> None:
    page.choose("slow", "int4")
    page.ask("Go on for long")
    browser.until(lambda: len(page.answer) > 5, what="first words")
    browser.click("#stop")
    text = page.wait_for_end()
    assert browser.text(f"{ANSWER} .note") == "Stopped."
    assert 5 < len(text) < len(SLOW)


def test_a_chat_is_exported(page: Page, browser: Browser) -> None:
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("Taken: a/b *home*?")
    browser.click("#export")
    browser.screenshot("export-light")
    browser.click("[data-choice=markdown]")
    exported = browser.downloaded("Taken a b home.md")
    assert exported.startswith("# Taken: a/b *home*?")
    assert MARKDOWN in exported
    browser.click("#export")
    browser.click("[data-choice=json]")
    assert json.loads(browser.downloaded("Taken a b home.json"))["messages"][1]["content"] == MARKDOWN


def test_regenerating_and_editing_make_branches(page: Page, browser: Browser) -> None:
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("First question")
    browser.click(f"{ANSWER} .regenerate")
    browser.until(lambda: browser.text(f"{ANSWER} .branch-place") == "2 of 2", what="a second version")
    page.wait_for_end()
    browser.click(f"{ANSWER} .earlier")
    browser.until(lambda: browser.text(f"{ANSWER} .branch-place") == "1 of 2", what="the first version")
    browser.click("#turns .asked .edit")
    browser.type("#turns .asked textarea", "Second question")
    browser.click("#turns .asked .save")
    browser.until(lambda: browser.text("#turns .asked .branch-place") == "2 of 2", what="a second question")
    page.wait_for_end()
    assert browser.texts("#turns .asked .body") == ["Second question"]
    browser.click("#turns .asked .earlier")
    browser.until(lambda: browser.texts("#turns .asked .body") == ["First question"], what="the first question")
    assert [message["role"] for message in page.stored()].count("assistant") == 3
    # The chosen branch is the one that a later visit finds.
    browser.until(lambda: page.gateway_leaf() in [m["message_id"] for m in page.stored()[1:3]], what="branch stored")
    browser.driver.refresh()
    browser.until(lambda: browser.texts("#turns .asked .body") == ["First question"], what="the chosen branch again")


def test_chats_are_listed_searched_renamed_and_deleted(page: Page, browser: Browser) -> None:
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("Apples and pears")
    browser.click("#new-chat")
    page.ask_and_wait("Bicycles")
    page.chat_item("Apples").find_element("css selector", ".chat-name").click()
    browser.until(lambda: browser.texts("#turns .asked .body") == ["Apples and pears"], what="the chat opened")
    item = page.chat_item("Apples")
    item.find_element("css selector", ".rename").click()
    browser.one(".new-title").send_keys(Keys.CONTROL, "a")
    browser.one(".new-title").send_keys(HOSTILE_NAME, Keys.ENTER)
    browser.until(lambda: HOSTILE_NAME in page.chat_titles, what="the new title")
    browser.type("#chat-search", "bicyc")
    browser.until(lambda: page.chat_titles == ["Bicycles"], what="only what was searched for")
    browser.one("#chat-search").send_keys(Keys.CONTROL, "a", Keys.DELETE)
    page.chat_item(HOSTILE_NAME).find_element("css selector", ".delete").click()
    browser.click("#chat-list .confirm")
    browser.until(lambda: HOSTILE_NAME not in page.chat_titles, what="the chat gone")
    browser.until(lambda: not browser.all("#turns .turn"), what="the page empty")


def test_settings_reach_the_answer_and_stay_with_the_chat(page: Page, browser: Browser) -> None:
    page.choose("qwen2-0.5b-instruct")
    browser.click("#open-settings")
    ranges = {
        field.get_attribute("id"): [field.get_attribute(name) for name in ("min", "max", "step", "value")]
        for field in browser.all("#sliders input")
    }
    assert ranges["param-temperature"] == ["0", "1", "0.1", "0.1"]
    assert ranges["param-top_p"] == ["0", "1", "0.01", "1"]
    assert ranges["param-top_k"] == ["0", "200", "1", "50"]
    assert ranges["param-repetition_penalty"] == ["1", "2", "0.1", "1.1"]
    browser.type("#system", "You speak like a pirate.")
    page.set_slider("temperature", 0.7)
    page.set_slider("top_k", 7)
    browser.screenshot("settings-light")
    page.ask_and_wait("Hello")
    with page.gateway.client() as client:
        chat = client.get(f"/api/v1/chats/{page.chat_id}").json()
    assert chat["system"] == "You speak like a pirate."
    params = chat["messages"][-1]["provenance"]["params"]
    assert (params["temperature"], params["top_k"], params["max_new_tokens"]) == (0.7, 7, 256)
    browser.click("#new-chat")
    assert browser.one("#system").get_attribute("value") == ""
    page.chat_item("Hello").find_element("css selector", ".chat-name").click()
    browser.until(lambda: browser.one("#system").get_attribute("value"), what="the chat's own system prompt")
    assert browser.one("#param-top_k").get_attribute("value") == "7"
    browser.one("#system").send_keys(Keys.ESCAPE)
    browser.until(lambda: not browser.all("#settings")[0].is_displayed(), what="the settings closed")


def test_clearing_begins_anew_with_the_same_settings(page: Page, browser: Browser) -> None:
    browser.click("#open-settings")
    page.set_slider("top_k", 3)
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("To be cleared")
    browser.click("#clear")
    browser.click("dialog [data-choice='yes']")
    browser.until(lambda: not browser.all("#turns .turn"), what="the page empty")
    browser.until(lambda: "To be cleared" not in page.chat_titles, what="the chat gone")
    assert browser.one("#param-top_k").get_attribute("value") == "3"
    browser.click("#close-settings")


def test_an_answer_goes_on_while_another_chat_is_open(page: Page, browser: Browser) -> None:
    page.choose("slow", "int4")
    page.ask("Go on without me")
    browser.until(lambda: len(page.answer) > 20, what="first words")
    browser.click("#new-chat")
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("Meanwhile")
    assert browser.texts("#turns .asked .body") == ["Meanwhile"]
    page.chat_item("Go on without me").find_element("css selector", ".chat-name").click()
    browser.until(lambda: browser.texts("#turns .asked .body") == ["Go on without me"], what="the first chat")
    page.wait_for_end()
    page.assert_nothing_lost(SLOW)


def test_hostile_markdown_and_names_do_nothing(page: Page, browser: Browser, pool: Pool) -> None:
    with redis.Redis.from_url(pool.redis_url, decode_responses=True) as client:
        record = json.loads(str(client.hget(keys.VARIANTS, "hostile:int4")))
        record["model"] = HOSTILE_NAME
        client.hset(keys.VARIANTS, f"{HOSTILE_NAME}:int4", json.dumps(record))
        try:
            page.open_signed_in()
            browser.until(lambda: HOSTILE_NAME in browser.texts("#model option"), what="the hostile name, as text")
            page.choose(HOSTILE_NAME)
            assert HOSTILE_NAME in browser.text("#welcome-model")
        finally:
            client.hdel(keys.VARIANTS, f"{HOSTILE_NAME}:int4")
    page.ask("Who are you?")
    browser.until(lambda: "wrong" in str(browser.one("#status").get_attribute("class")), what="the refusal told")
    assert browser.one("#question").get_attribute("value") == "Who are you?", "a refused question is not lost"
    page.choose("hostile")
    text = page.ask_and_wait(HOSTILE)
    assert "<script>window.hit=1</script>" in text
    assert browser.all(f"{ANSWER} .body :is(script, img, svg)") == []
    links = [link.get_attribute("href") for link in browser.all(f"{ANSWER} .body a[href]")]
    assert links == ["https://example.org/"]
    for link in browser.all(f"{ANSWER} .body a:not([href])"):
        link.click()
    browser.screenshot("hostile-light")


def test_a_user_sees_no_administration_and_no_chats_of_others(page: Page, browser: Browser) -> None:
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("The admin's secret")
    with page.gateway.client() as client:
        created = client.post("/api/v1/keys", json={"user": "ada", "role": "user"}).json()
    browser.click("#leave")
    page.sign_in(created["key"])
    browser.until(lambda: browser.text("#user-name") == "ada", what="signed in as ada")
    assert page.chat_titles == []
    assert not browser.all("#open-admin")[0].is_displayed()
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("Hello from ada")
    browser.until(lambda: page.chat_titles == ["Hello from ada"], what="ada's own chat")
    browser.click("#leave")
    browser.until(lambda: page.asks_for_key, what="signed out")
    assert browser.text("#turns") == ""


def test_themes_are_chosen_and_kept(page: Page, browser: Browser) -> None:
    def background() -> object:
        return browser.script("return getComputedStyle(document.body).backgroundColor")

    light = background()
    browser.prefer("dark")
    dark = background()
    assert light != dark
    browser.click("#theme")
    assert background() == light
    browser.driver.refresh()
    browser.until(lambda: page.signed_in, what="the page")
    assert background() == light
    browser.click("#theme")
    browser.click("#theme")
    assert browser.script("return localStorage.getItem('ovchat.theme')") is None


def test_the_page_at_phone_width(page: Page, browser: Browser) -> None:
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("On the phone")
    browser.resize(PHONE)
    for theme in ("light", "dark"):
        browser.prefer(theme)
        browser.screenshot(f"chat-390-{theme}")
        assert browser.script("return document.documentElement.scrollWidth") == PHONE[0]
    assert not browser.all("#side")[0].is_displayed()
    browser.click("#open-side")
    assert browser.one("#open-side").get_attribute("aria-expanded") == "true"
    browser.screenshot("side-390-dark")
    browser.one("#close-side").send_keys(Keys.ESCAPE)
    browser.until(lambda: not browser.all("#side")[0].is_displayed(), what="the list closed")
    assert browser.script("return document.activeElement.id") == "open-side"
    browser.click("#open-settings")
    browser.screenshot("settings-390-dark")
    browser.click("#close-settings")
    browser.click("#open-side")
    browser.click("#new-chat")
    browser.screenshot("welcome-390-dark")


def test_the_page_by_keyboard_alone(page: Page, browser: Browser) -> None:
    """From the top of the page by Tab: everything that can be pressed has a name, and a question can be asked."""
    browser.script("document.querySelector('.skip').focus()")
    names = [browser.driver.switch_to.active_element.accessible_name]
    for _ in range(120):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        focused = browser.driver.switch_to.active_element
        names.append(focused.accessible_name)
        if focused.get_attribute("id") == "question":
            break
    assert names[0] == "Skip to the message box"
    assert names[-1] == "Message"
    assert "" not in names
    browser.driver.switch_to.active_element.send_keys("By hand", Keys.ENTER)
    page.wait_for_end()
    assert browser.script("return document.activeElement.id") == "question"
