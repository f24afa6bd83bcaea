"""What an admin orders on the page: defaults, placements, replicas, limits; and where it is written down."""

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from tests.helpers.accessibility import nameless, unreadable
from tests.helpers.accounts import make_key
from tests.helpers.browser import DESKTOP, PHONE, Browser
from tests.helpers.page import Page
from tests.helpers.pool import Pool

pytestmark = [pytest.mark.e2e, pytest.mark.connected]


def press(browser: Browser, label: str) -> None:
    """Press a button by keyboard, by the name that a screen reader tells."""
    browser.one(f"[aria-label='{label}']").send_keys(Keys.ENTER)


def show(browser: Browser, name: str) -> None:
    """Look at what is shown in both themes and on a phone."""
    assert nameless(browser) == [], name
    for theme in ("dark", "light"):
        browser.prefer(theme)
        assert unreadable(browser) == [], (name, theme)
        browser.screenshot(f"{name}-{theme}")
    browser.resize(PHONE)
    browser.screenshot(f"{name}-390-light")
    assert browser.script("return document.documentElement.scrollWidth") == PHONE[0]
    browser.resize(DESKTOP)


def audited(browser: Browser) -> list[str]:
    return [" ".join(row.split()) for row in browser.texts("#audit tbody tr")]


def test_a_variant_is_made_the_default_and_kept_loaded(page: Page, browser: Browser) -> None:
    page.open_admin("models")
    press(browser, "Manage slow:int4")
    assert browser.focused == "Always the default of slow"
    browser.press(Keys.SPACE, Keys.TAB, Keys.CONTROL + "a", "2000", Keys.ENTER)
    assert browser.text("dialog h2") == "Manage slow:int4", "no pool has so many"
    browser.press(Keys.CONTROL + "a", "1", Keys.TAB, Keys.SPACE)
    show(browser, "manage")
    browser.press(Keys.ENTER)
    browser.until(lambda: not browser.all("dialog"), what="saved")
    tags = "#published tr:has([aria-label='Manage slow:int4']) .tag"
    browser.until(lambda: browser.texts(tags) == ["default", "kept on 1", "pinned"], what="told in the table")
    browser.until(lambda: browser.focused == "Manage slow:int4", what="the focus back")
    show(browser, "models")
    browser.click("#admin-pages [href='#admin']")
    browser.until(lambda: "pinned" in browser.text("#workers"), what="loaded without a question, and pinned")
    browser.click("#close-admin")
    page.choose("slow")
    browser.until(lambda: browser.texts("#variant option")[0] == "default (int4)", what="the default in the chat, too")

    page.open_admin("models")
    press(browser, "Manage slow:int4")
    browser.press(Keys.SPACE, Keys.TAB, Keys.CONTROL + "a", "0", Keys.TAB, Keys.SPACE, Keys.ENTER)
    browser.until(lambda: browser.texts(tags) == [], what="all of it taken back")
    assert "default" in browser.text("#published tr:has([aria-label='Manage slow:int8']) .tag")


def test_replicas_are_loaded_and_ended_and_a_worker_drained(page: Page, browser: Browser, pool: Pool) -> None:
    guest = pool.worker()
    newest = "#workers .worker:last-child"
    browser.click("#open-admin")
    browser.until(lambda: "youri-7b-chat:int4" in browser.texts("#load-variant option"), what="models to load")
    browser.until(lambda: len(browser.texts("#load-worker option")) == 3, what="workers to load it")
    Select(browser.one("#load-variant")).select_by_value("youri-7b-chat:int4")
    Select(browser.one("#load-worker")).select_by_index(2)
    browser.one("#load-form [type=submit]").send_keys(Keys.ENTER)
    browser.until(lambda: "youri-7b-chat:int4 is being loaded" in browser.text("#load-told"), what="the order told")
    browser.one(f"{newest} [aria-label^='End youri-7b-chat:int4 on CPU']")
    show(browser, "workers")
    browser.one(f"{newest} [aria-label^='End']").send_keys(Keys.ENTER)
    browser.until(lambda: not browser.all(f"{newest} table"), what="ended")
    browser.until(lambda: browser.focused == "Workers", what="the focus at the head of what is left")
    browser.one(f"{newest} [aria-label^='Drain']").send_keys(Keys.ENTER)
    assert browser.focused == "Cancel"
    show(browser, "drain")
    browser.press(Keys.TAB, Keys.ENTER)
    browser.until(lambda: browser.text(f"{newest} .state") == "draining", what="drained")
    assert not browser.all(f"{newest} [aria-label^='Drain']")
    guest.stop()


def test_a_key_s_limits_are_changed_and_the_audit_log_tells_it(page: Page, browser: Browser) -> None:
    make_key(page.gateway, "turing")
    page.open_admin("people")
    browser.one("[data-user=turing] .limit").send_keys(Keys.ENTER)
    assert browser.focused == "Answers at once"
    browser.press("4", Keys.TAB, Keys.TAB, "0")
    show(browser, "limits")
    browser.press(Keys.ENTER)
    browser.until(lambda: "4 at once, any tokens a day" in browser.text("[data-user=turing]"), what="changed")
    browser.until(lambda: browser.focused.startswith("Change the limits of"), what="the focus back")
    show(browser, "people")
    browser.click("#admin-pages [href='#admin/audit']")
    change = "key.limits_changed"
    browser.until(lambda: change in (audited(browser) or [""])[0], what="the change on top")
    assert "max_concurrent=4, tokens_per_day=0" in audited(browser)[0]
    show(browser, "audit")
    for number in range(50):
        make_key(page.gateway, f"crowd-{number}")
    browser.click("#admin-pages [href='#admin/usage']")
    browser.click("#admin-pages [href='#admin/audit']")
    browser.until(lambda: len(audited(browser)) == 50, what="a page of the newest")
    browser.one("#more-audit").send_keys(Keys.ENTER)
    browser.until(lambda: any(change in row for row in audited(browser)), what="older ones")
