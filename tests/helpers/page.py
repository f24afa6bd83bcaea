"""The chat page as its reader uses it."""

import json

from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from tests.helpers.browser import DESKTOP, Browser
from tests.helpers.services import ADMIN_KEY, Gateway

ANSWER = "#turns .answer:last-child"


class ChatPage:
    """What is on the page that a browser has open."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    @property
    def signed_in(self) -> bool:
        return any(element.is_displayed() for element in self.browser.all("#question"))

    @property
    def asks_for_key(self) -> bool:
        return any(element.is_displayed() for element in self.browser.all("#key"))

    def sign_in(self, key: str) -> None:
        self.browser.type("#key", key)
        self.browser.click("#open")

    def choose(self, model: str, variant: str | None = None) -> None:
        self.browser.until(lambda: model in self.browser.texts("#model option"), what=f"{model} offered")
        Select(self.browser.one("#model")).select_by_value(model)
        if variant is not None:
            Select(self.browser.one("#variant")).select_by_value(variant)

    def ask(self, question: str) -> None:
        self.browser.type("#question", question)
        self.browser.one("#question").send_keys(Keys.ENTER)

    def ask_and_wait(self, question: str) -> str:
        answers = len(self.browser.all("#turns .answer"))
        self.ask(question)
        self.browser.until(lambda: len(self.browser.all("#turns .answer")) > answers, what="an answer begun")
        return self.wait_for_end()

    def wait_for_end(self) -> str:
        """Wait until the last answer has ended and is rendered; return what it says."""
        self.browser.until(self._ended, seconds=30, what="the answer's end")
        return self.answer

    def _ended(self) -> bool:
        last = self.browser.all(f"{ANSWER}:not(.running) .body:not([aria-busy])")
        return bool(last) and any(button.is_displayed() for button in self.browser.all("#send"))

    @property
    def answer(self) -> str:
        return self.browser.text(f"{ANSWER} .body")

    @property
    def status(self) -> str:
        return self.browser.text("#status")

    @property
    def chat_titles(self) -> list[str]:
        return self.browser.texts("#chat-list .chat-name")

    @property
    def chat_id(self) -> str:
        return self.browser.driver.current_url.partition("#")[2]

    def chat_item(self, title: str) -> WebElement:
        found: list[WebElement] = []

        def listed() -> bool:
            found[:] = [item for item in self.browser.all("#chat-list li") if title in item.text]
            return bool(found)

        self.browser.until(listed, what=f"chat {title!r} listed")
        return found[0]

    def open_admin(self, part: str) -> None:
        """Go to a part of the administration: `models`, `people` or `usage`."""
        self.browser.click("#open-admin")
        self.browser.click(f"#admin-pages [href='#admin/{part}']")

    def reload(self) -> None:
        """Load the page anew where it is."""
        self.browser.driver.refresh()
        self.browser.until(lambda: self.signed_in, what="the page again")

    def set_slider(self, name: str, value: float) -> None:
        code = "const f = document.getElementById(arguments[0]); f.value = arguments[1];"
        self.browser.script(f"{code} f.dispatchEvent(new Event('input'))", f"param-{name}", json.dumps(value))


class Page(ChatPage):
    """One browser on one gateway."""

    def __init__(self, browser: Browser, gateway: Gateway) -> None:
        super().__init__(browser)
        self.gateway = gateway

    def open_signed_in(self) -> None:
        """Begin anew: no chat is open, nothing is set."""
        self.browser.resize(DESKTOP)
        self.browser.open("about:blank")
        self.browser.open(self.gateway.url)
        self.browser.until(lambda: self.signed_in or self.asks_for_key, what="the page")
        if self.asks_for_key:
            self.sign_in(ADMIN_KEY)
        self.browser.until(lambda: self.browser.one("#question").is_enabled(), what="question box enabled")

    def stored(self) -> list[dict[str, object]]:
        """Return the messages that the gateway has stored of the open chat."""
        with self.gateway.client() as client:
            messages: list[dict[str, object]] = client.get(f"/api/v1/chats/{self.chat_id}").json()["messages"]
            return messages

    def gateway_leaf(self) -> str:
        """Return the message that the stored chat goes on from."""
        with self.gateway.client() as client:
            return str(client.get(f"/api/v1/chats/{self.chat_id}").json()["leaf_message_id"])

    def assert_nothing_lost(self, text: str) -> None:
        """Compare what is shown with what the model said and with what the finalizer stored."""
        assert self.answer == text
        self.browser.until(lambda: self.stored()[-1]["status"] == "done", what="the answer stored")
        assert self.stored()[-1]["content"] == text
