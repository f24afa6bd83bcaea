"""The catalogue's files, and those that operators add."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.catalog import DEFAULT_INT4_RECIPE, StreamRules, load_catalog
from shared.errors import InvalidRequest

MINE = """
[[models]]
id = "mine"
languages = ["en"]
source_model = "Me/Mine-7B"
family = "llama"
"""


def test_every_name_of_a_model_finds_it() -> None:
    catalog = load_catalog()
    for entry in catalog.entries:
        hub_id = entry.source_model
        names = (entry.id, *entry.aliases, hub_id, hub_id.lower(), hub_id.rsplit("/", 1)[-1].lower())
        assert {name: catalog.find(name) for name in names} == dict.fromkeys(names, entry)
    assert catalog.find("nobody/nothing") is None


def test_a_published_model_is_known_by_its_source_or_by_its_name() -> None:
    catalog = load_catalog()
    youri = catalog.find("youri-7b-chat")
    assert catalog.find_published("rinna/youri-7b-chat", "ours") is youri
    assert catalog.find_published("/checkpoints/y", "youri-7b-chat") is youri
    assert catalog.find_published("/checkpoints/y", "ours") is None


def test_every_chat_model_has_a_licence_and_an_estimate() -> None:
    for entry in load_catalog().entries:
        assert entry.licence
        assert entry.conversion_memory_bytes is not None
        sizes = [entry.weights_bytes(weight_format) for weight_format in ("fp16", "int8", "int4")]
        assert sizes == sorted(sizes, key=lambda size: -(size or 0))


def test_the_estimate_of_the_demo_model_is_near_what_was_measured() -> None:
    demo = load_catalog().find("smollm2-135m-instruct")
    assert demo is not None
    # 269, 135 and 86 MB: in 4 bits its embeddings, a fifth of it, stay in 8.
    assert demo.weights_bytes("fp16") == pytest.approx(269e6, rel=0.02)
    assert demo.weights_bytes("int8") == pytest.approx(135e6, rel=0.02)
    assert demo.conversion_memory_bytes == pytest.approx(1.25e9, rel=0.25)


def test_the_smallest_stands_first(tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text(MINE)
    entries = load_catalog(tmp_path).entries
    assert (entries[0].id, entries[-1].id) == ("smollm2-135m-instruct", "mine")


def test_a_gated_model_names_the_page_of_its_licence() -> None:
    catalog = load_catalog()
    gates = {entry.id: entry.gate for entry in catalog.entries}
    assert gates["gemma-2b-it"] == "https://huggingface.co/google/gemma-2b-it"
    assert gates["zephyr-7b-beta"] is None


def test_a_folder_adds_models_and_forms(tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text(
        MINE
        + 'form = "own"\nstream = { drop = ["#"] }\n[forms.own]\nturn = "Q{user}A{assistant}"\ncurrent = "Q{user}A"\n'
    )
    (tmp_path / "notes.txt").write_text("not read")
    catalog = load_catalog(tmp_path)
    found = catalog.find("me/mine-7b")
    assert found is not None
    assert (found.id, found.int4, found.stream) == ("mine", DEFAULT_INT4_RECIPE, StreamRules(drop=("#",)))
    form = catalog.form(found)
    assert form is not None
    assert form.current == "Q{user}A"
    assert catalog.find("smollm2-135m-instruct") is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINE + 'langages = ["en"]', r"more\.toml, model mine: langages: Extra inputs"),
        (MINE.replace('["en"]', '["en", "tlh"]'), r"more\.toml, model mine: languages\.1: .*'en', 'zh' or 'ja'"),
        (MINE.replace("family", "famly"), r"model mine: family: Field required; famly: Extra inputs"),
        (MINE.replace('id = "mine"', ""), r"more\.toml, model number 1: id: Field required"),
        (MINE + MINE, r"model mine: id: mine is taken by mine of more\.toml"),
        (MINE + 'aliases = ["mistral-7b"]', r"model mine: aliases: mistral-7b is taken by mistral-7b of mistral\.toml"),
        (MINE + 'form = "none"', r"more\.toml, model mine: form: there is no form none"),
        (MINE + "int4 = { group_size = 0 }", r"more\.toml, model mine: int4\.group_size: group_size is -1"),
        (MINE + "runtime = { GPU = { CACHE_DIR = 'x' } }", r"more\.toml, model mine: runtime: .*CACHE_DIR"),
        (MINE + "gated = 1", r"more\.toml, model mine: gated: "),
        ("[forms.chatml]\nturn = '{user}{assistant}'\ncurrent = '{user}'", r"form chatml: another form has this name"),
        ("[forms.x]\nturn = '{user}'\ncurrent = '{user}'", r"more\.toml, form x: turn names"),
        ("[model]\nid = 'x'", r"more\.toml has model; it may have"),
        ("[models]\nid = 'x'", r"more\.toml: models are written as \[\[models\]\]"),
        ("models = [", r"more\.toml cannot be read"),
    ],
)
def test_a_bad_file_is_named_with_entry_and_field(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text(text)
    with pytest.raises(InvalidRequest, match=message):
        load_catalog(tmp_path)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="nowhere does not exist"):
        load_catalog(tmp_path / "nowhere")
