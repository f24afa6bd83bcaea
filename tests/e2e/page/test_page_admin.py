"""What an admin sees on the page: conversions with live progress, the pool, usage."""

import json
import time
from collections.abc import Iterator

import pytest
import redis
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from shared import keys
from shared.calibration import texts_name
from shared.conversion_job import event_fields, job_fields
from shared.errors import SourceNotFound
from shared.schemas.conversion import ConversionEvent, ConversionFigures, ConversionJob, ConversionPlan
from shared.schemas.models import Recipe, VariantRecord, VariantRequest, WeightFormat
from tests.helpers.accessibility import nameless, unreadable
from tests.helpers.browser import DESKTOP, PHONE, Browser
from tests.helpers.page import Page
from tests.helpers.pool import Pool
from tests.helpers.quality_card import a_card
from tests.helpers.reciters import HOSTILE_NAME
from tests.helpers.variants import publish_sample_variant

pytestmark = [pytest.mark.e2e, pytest.mark.connected]


@pytest.fixture
def state(pool: Pool) -> Iterator[redis.Redis]:
    """The Redis into which a converter would write its progress."""
    with redis.Redis.from_url(pool.redis_url) as client:
        yield client


#: How far a box is from being scrolled to its end.
_BELOW = "const box = document.querySelector(arguments[0]); return box.scrollHeight - box.scrollTop - box.clientHeight"


def tell(state: redis.Redis, event: ConversionEvent) -> None:
    """Tell a job's progress as a converter does."""
    for name in ("state", "stage", "progress"):
        state.hset(keys.conversion_job(event.conversion_id), name, json.dumps(getattr(event, name)))
    state.xadd(keys.conversion_events(event.conversion_id), {"e": event_fields(event)["e"]})


def test_the_pool_is_shown(page: Page, browser: Browser) -> None:
    page.choose("qwen2-0.5b-instruct")
    page.ask_and_wait("Warm up")
    browser.click("#open-admin")
    browser.until(lambda: "qwen2-0.5b-instruct:int4" in browser.text("#workers"), what="the loaded model")
    assert browser.text("#workers .state") == "ready"
    assert "0 of 64" in browser.text("#workers .load")
    browser.screenshot("admin-light")
    browser.click("#close-admin")
    assert browser.texts("#turns .asked .body") == ["Warm up"]


def test_a_conversion_is_started_followed_and_cancelled(page: Page, browser: Browser, state: redis.Redis) -> None:
    page.open_admin("models")
    browser.type("#source", "tiny-llama-1b-chat")
    browser.click("[value=int8]")
    browser.click("#convert-form [type=submit]")
    browser.until(lambda: "tiny-llama-1b-chat: int4" in browser.text("#conversions .job"), what="the job listed")
    assert browser.text("#conversions .state") == "queued"
    assert "waiting for a converter: none is running" in browser.text("#conversions .job")
    job_id = str(browser.one("#conversions .job").get_attribute("data-conversion"))
    tell(state, ConversionEvent(conversion_id=job_id, state="running", stage="compress", variant="int4", progress=0.4))
    browser.until(lambda: "compress int4 · 40 % in all" in browser.text("#conversions .job"), what="progress told")
    assert browser.script("return document.querySelector('#conversions progress').value") == 0.4
    figures = ConversionFigures(memory_bytes=4_100_000_000, disk_bytes=3_000_000_000, seconds=61.0)
    lines = ("a line of <b>nncf</b>",)
    for news in ({"predicted": figures}, {"log": lines}):
        event = ConversionEvent(conversion_id=job_id, state="running", stage="compress", variant="int4", progress=0.4)
        tell(state, event.model_copy(update=news))
    browser.until(lambda: "Foretold 4.1 GB of memory, 3.0 GB of disk, 61 s" in browser.text("#conversions .job"))
    browser.click("#conversions .job summary")
    log = "#conversions .job .log"
    assert browser.text(log) == "compress int4 | a line of <b>nncf</b>"

    def printed(*lines: str) -> None:
        tell(state, event.model_copy(update={"log": lines}))
        browser.until(lambda: lines[-1] in browser.text(log), what="more lines")

    printed(*(f"line {number}" for number in range(60)))
    printed("the newest line")
    assert abs(int(str(browser.script(_BELOW, log)))) <= 1, "it is in sight"
    browser.script("document.querySelector(arguments[0]).scrollTop = 0", log)
    printed("one that a reader of others does not see")
    assert browser.script("return document.querySelector(arguments[0]).scrollTop", log) == 0
    browser.until(lambda: "none is running" in browser.text("#conversions .job"), what="that nobody works on it")
    browser.prefer("dark")
    browser.screenshot("admin-dark")
    browser.resize(PHONE)
    browser.screenshot("admin-390-dark")
    assert browser.script("return document.documentElement.scrollWidth") == PHONE[0]
    tell(state, ConversionEvent(conversion_id=job_id, state="succeeded", progress=1.0))
    browser.until(lambda: browser.text("#conversions .state") == "succeeded", what="the end told")
    assert not browser.all("#conversions progress")[0].is_displayed()


def test_a_waiting_conversion_is_cancelled(page: Page, browser: Browser) -> None:
    page.open_admin("models")
    browser.type("#source", "zephyr-7b-beta")
    browser.click("#convert-form [type=submit]")
    browser.until(lambda: "zephyr-7b-beta" in browser.text("#conversions .job"), what="the job listed")
    browser.click("#conversions .job button")
    browser.until(lambda: browser.text("#conversions .state") == "cancelled", what="the job cancelled")


def test_a_refused_conversion_says_why(page: Page, browser: Browser) -> None:
    page.open_admin("models")
    browser.type("#source", "x" * 20)
    browser.type("#public-name", "Not A Name")
    browser.click("#convert-form [type=submit]")
    browser.until(lambda: "Lower-case letters" in browser.text("#public-name-problem"), what="the refusal told")
    assert "`" not in browser.text("#convert-form")
    assert browser.focused == "Public name"
    browser.type("#public-name", "")
    browser.type("#source", "No Such Model!")
    browser.click("#convert-form [type=submit]")
    browser.until(lambda: "cannot be a public name" in browser.text("#source-problem"), what="told at the model")
    assert browser.focused == "Model"
    browser.type("#public-name", "other")
    assert browser.all("#source-problem") == []


def test_a_recipe_is_chosen_in_the_advanced_part(page: Page, browser: Browser, state: redis.Redis) -> None:
    page.open_admin("models")
    assert not browser.all("#recipe")[0].is_displayed()
    browser.type("#source", "tiny-llama-1b-chat")
    browser.type("#public-name", "refined")
    browser.one("#advanced summary").send_keys(Keys.ENTER)
    for name, value in {"method": "awq", "dataset": "own", "backup-precision": "int8_sym", "sym": "symmetric"}.items():
        assert name != "dataset" or "by the weights alone" in browser.text("#recipe-note")
        Select(browser.one(f"#recipe-{name}")).select_by_value(value)
    browser.type("#recipe-texts", "The first text.\n\nAnd a second one,\nof two lines.")
    browser.type("#recipe-ratio", "0.8")
    browser.type("#recipe-group-size", "0")
    assert (unreadable(browser), nameless(browser)) == ([], [])
    browser.click("#convert-form [type=submit]")
    problem = "Group size is -1 (per channel) or a positive number of channels"
    browser.until(lambda: browser.text("#recipe-group-size-problem") == problem, what="the refusal told")
    assert browser.focused == "Group size"
    assert unreadable(browser) == []
    browser.screenshot("convert-light")
    browser.resize(PHONE)
    browser.screenshot("convert-390-light")
    assert browser.script("return document.documentElement.scrollWidth") == PHONE[0]
    browser.type("#recipe-group-size", "64")
    assert browser.all("#recipe-group-size-problem") == []
    browser.click("#convert-form [type=submit]")
    browser.until(lambda: "refined: int4-awq, int8" in browser.text("#conversions .job"), what="the job listed")
    assert browser.one("#recipe-group-size").get_attribute("value") == "64", "a job may fail for what the form says"
    job_id = str(browser.one("#conversions .job").get_attribute("data-conversion"))
    int4, int8 = json.loads(state.hget(keys.conversion_job(job_id), "plan") or b"")["variants"]
    texts = texts_name(("The first text.", "And a second one,\nof two lines."))
    asked = Recipe(sym=True, group_size=64, ratio=0.8, backup_precision="int8_sym", awq=True, dataset=texts)
    assert Recipe.model_validate(int4["recipe"]) == asked
    assert Recipe.model_validate(int8["recipe"]) == Recipe(sym=True)


def test_a_variant_gets_a_name_of_its_own(page: Page, browser: Browser, pool: Pool, state: redis.Redis) -> None:
    """A published int4 and one of another recipe stand side by side."""
    publish_sample_variant(pool.store_path, pool.redis_url, model="named", variant="int4")
    page.open_admin("models")
    browser.type("#source", "tiny/other-llama")
    browser.type("#public-name", "named")
    browser.click("[value=int8]")
    browser.click("#advanced summary")
    browser.type("#variant-name", "INT4")
    browser.click("#convert-form [type=submit]")
    browser.until(lambda: "Lower-case letters" in browser.text("#variant-name-problem"), what="the refusal told")
    assert browser.focused == "Variant name"
    record = VariantRecord.model_validate_json(state.hget(keys.VARIANTS, "named:int4") or b"")
    browser.type("#source", record.source_model)
    browser.type("#variant-name", "")
    browser.type("#recipe-group-size", "16")
    browser.click("#convert-form [type=submit]")
    browser.until(lambda: "is published with another" in browser.text("#variant-name-problem"), what="the name taken")
    browser.type("#variant-name", "int4-g16")
    browser.click("#convert-form [type=submit]")
    browser.until(lambda: "named: int4-g16" in browser.text("#conversions .job"), what="the job listed")
    job_id = str(browser.one("#conversions .job").get_attribute("data-conversion"))
    problem = SourceNotFound("It is not there: give a folder as source_model.", param="source_model").body()
    tell(state, ConversionEvent(conversion_id=job_id, state="failed", progress=0.0, error=problem))
    said = "It is not there: give a folder as the model."
    browser.until(lambda: browser.text("#source-problem") == said, what="told at the model")
    assert browser.one("#variant-name").get_attribute("value") == "int4-g16"
    browser.click("#ready-made")
    assert browser.all("#source-problem") == []
    assert browser.text("#convert-form [type=submit]") == "Import"
    assert not any(field.is_displayed() for field in browser.all("#recipe, #remote-code, #wanted-variants"))
    browser.screenshot("import-light")
    browser.click("#convert-form [type=submit]")
    browser.until(lambda: "named: int4-g16 (import)" in browser.text("#conversions .job"), what="the import listed")
    browser.click("#conversions .job button")
    browser.until(lambda: browser.text("#conversions .state") == "cancelled", what="the import cancelled")
    state.hdel(keys.VARIANTS, "named:int4")


def test_what_is_done_with_a_model_is_in_sight(page: Page, browser: Browser, pool: Pool, state: redis.Redis) -> None:
    """At each width, with long names and recipes."""
    model = "a-model-with-quite-a-long-name-1.7b-instruct"
    record = publish_sample_variant(pool.store_path, pool.redis_url, model=model, variant="int4")
    recipe = Recipe(sym=False, group_size=64, ratio=0.8, awq=True, scale_estimation=True, dataset="wikitext2")
    long = record.model_copy(update={"recipe": recipe})
    state.hset(keys.VARIANTS, long.key, long.model_dump_json())
    page.open_admin("models")
    button = f"[aria-label='Delete {model}:int4']"
    browser.one(button)
    for size in (DESKTOP, (1600, 900), (1920, 1080), (1024, 768), PHONE):
        browser.resize(size)
        beyond = """
            const right = (one) => document.querySelector(one).getBoundingClientRect().right;
            return right(arguments[0]) - right("#published .scroll")"""
        assert float(str(browser.script(beyond, button))) <= 0, size
    browser.resize(DESKTOP)
    wide = "const box = document.querySelector('#published .scroll'); return box.scrollWidth - box.clientWidth"
    assert browser.script(wide) == 0, "at 1280 nothing needs to be scrolled"
    browser.screenshot("published-light")
    state.hdel(keys.VARIANTS, long.key)


def test_a_hostile_conversion_is_shown_as_text(page: Page, browser: Browser, state: redis.Redis) -> None:
    plan = ConversionPlan(
        source_model=HOSTILE_NAME, model=HOSTILE_NAME, variants=(VariantRequest(name="int4", weight_format="int4"),)
    )
    now_ms = int(time.time() * 1000)
    job = ConversionJob(conversion_id="conv_hostile", plan=plan, state="cancelled", created_ms=now_ms)
    for name, value in job_fields(job).items():
        state.hset(keys.conversion_job(job.conversion_id), name, value)
    state.zadd(keys.CONVERSIONS, {job.conversion_id: now_ms})
    page.open_admin("models")
    browser.until(lambda: HOSTILE_NAME in browser.text("#conversions"), what="the name as text")
    assert browser.all("#conversions img") == []


def test_a_base_model_of_the_catalogue_is_marked(page: Page, browser: Browser) -> None:
    page.open_admin("models")
    browser.until(lambda: "by name" in browser.text("#source-note"), what="the catalogue")
    browser.type("#source", "mistral-7b")
    assert "base model" in browser.text("#source-note")
    browser.type("#source", "gemma-2b-it")
    assert "hub token" in browser.text("#source-note")
    assert "base model" not in browser.text("#source-note")


def test_the_variants_of_a_model_are_compared(page: Page, browser: Browser, pool: Pool, state: redis.Redis) -> None:
    agreements: dict[WeightFormat, float] = {"int8": 0.954, "int4": 0.477}
    for variant, agreement in agreements.items():
        record = publish_sample_variant(pool.store_path, pool.redis_url, model="measured", variant=variant)
        measured = record.model_copy(update={"quality": a_card(agreement)})
        state.hset(keys.VARIANTS, record.key, measured.model_dump_json())
    page.open_admin("models")
    browser.until(
        lambda: "95.4\u00a0%" in browser.text("#published").replace(" %", "\u00a0%"), what="the card in the table"
    )
    browser.click("[aria-label^='Compare measured:int8']")
    table = browser.text("dialog table").replace("\u00a0", " ")
    assert "95.4 %" in table
    assert "47.7 %" in table
    # Variants stand by name: int4's bar of agreement is half as long as int8's.
    bars = "[...document.querySelectorAll('dialog .plot')[1].querySelectorAll('rect')]"
    int4, int8 = (
        float(str(browser.script(f"return {bars}[{place}].getBoundingClientRect().width"))) for place in (0, 1)
    )
    assert int8 > 10
    assert int4 == pytest.approx(int8 / 2, rel=0.02)
    assert browser.focused == "Variants of measured"
    browser.screenshot("compare-light")
    browser.click("dialog [data-choice=done]")
    browser.resize(PHONE)
    browser.script("document.querySelector(`[aria-label^='Compare measured:int8']`).click()")
    assert browser.script("return document.querySelector('dialog').scrollTop") == 0
    wide = "const box = document.querySelector('dialog .scroll'); return box.scrollWidth - box.clientWidth"
    assert browser.script(wide) == 0
    browser.screenshot("compare-390-light")
    browser.press(Keys.ESCAPE)
    browser.resize(DESKTOP)
    for variant in agreements:
        state.hdel(keys.VARIANTS, f"measured:{variant}")


def test_a_variant_is_deleted_after_a_question(page: Page, browser: Browser, pool: Pool, state: redis.Redis) -> None:
    """A variant that a worker has loaded takes a second question; the row goes when the converter has done it."""
    publish_sample_variant(pool.store_path, pool.redis_url, model="doomed", variant="int4", replay_text="Soon gone.")
    publish_sample_variant(pool.store_path, pool.redis_url, model="doomed", variant="int8")
    page.open_signed_in()
    page.choose("doomed", "int4")
    page.ask_and_wait("Load it")
    page.open_admin("models")
    delete = "#published [aria-label='Delete doomed:{}']"
    browser.click(delete.format("int8"))
    browser.click("dialog [data-choice='']")
    browser.until(lambda: not browser.all("dialog"), what="nothing done")
    assert browser.focused == "Delete doomed:int8"
    browser.click(delete.format("int8"))
    browser.click("dialog [data-choice=yes]")
    browser.until(lambda: browser.texts("#published .state") == ["deleting"], what="the deletion asked for")
    state.hdel(keys.VARIANTS, "doomed:int8")
    browser.until(lambda: not browser.all("#published .state"), what="the variant gone")
    browser.click(delete.format("int4"))
    browser.click("dialog [data-choice=yes]")
    browser.until(lambda: "in use" in browser.text("dialog h2"), what="a second question")
    browser.screenshot("delete-light")
    browser.click("dialog [data-choice=yes]")
    browser.until(lambda: browser.texts("#published .state") == ["deleting"], what="the deletion asked for")
    state.hdel(keys.VARIANTS, "doomed:int4")
    browser.until(lambda: "doomed" not in browser.texts("#published strong"), what="the model gone")
    browser.click("#close-admin")
    browser.until(lambda: "doomed" not in browser.texts("#model option"), what="no longer offered")
