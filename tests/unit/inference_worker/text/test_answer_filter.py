"""What a model writes although it is no part of its answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference_worker.text.answer_filter import AnswerFilter
from inference_worker.text.variant_text import VariantText
from shared.catalog import StreamRules, load_catalog
from shared.catalog.chat_form import STREAM_RULES_FILE
from shared.errors import VariantCorrupt
from shared.schemas.generation import EngineOptions, GenerationParams
from tests.helpers.messages import generation_request
from tests.helpers.tiny_checkpoints import write_tiny_tokenizer

RULES = StreamRules(drop=("[INST]", "[/INST]", "ab", "abcd"), replace={"[[训练时间]]": "2023年"})


def told(rules: StreamRules, *pieces: str) -> str:
    cuts = AnswerFilter(rules)
    return "".join([*map(cuts.push, pieces), cuts.flush()])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello [INST] there[/INST]!", "Hello  there!"),
        ("since [[训练时间]].", "since 2023年."),
        ("abcd abc ab a", " c  a"),
        ("[INS", "[INS"),
        ("[[INST]", "["),
        ("[IN[INST]ST]", "[INST]"),
        ("", ""),
    ],
)
def test_texts_are_cut_however_the_answer_comes(text: str, expected: str) -> None:
    assert told(RULES, text) == expected
    assert told(RULES, *text) == expected
    for at in range(len(text)):
        assert told(RULES, text[:at], text[at:]) == expected


def test_only_what_may_be_cut_is_held_back() -> None:
    cuts = AnswerFilter(RULES)
    assert cuts.push("well [IN") == "well "
    assert cuts.push("dex]") == "[INdex]"
    assert AnswerFilter(StreamRules()).push("[INST") == "[INST"


def test_an_answers_first_blanks_are_left_out_and_no_others() -> None:
    rules = StreamRules(strip_start=True, drop=("#",))
    assert told(rules, " ", "\n#", "  one ", "\n two ") == "one \n two "


@pytest.mark.parametrize(
    ("model", "written", "expected"),
    [
        ("youri-7b-chat", "システム: はい。", " はい。"),
        ("llama-2-7b-chat", "[/INST] Yes.", " Yes."),
        ("red-pajama-3b-chat", "<bot>: Yes, 1 < 2.", " Yes, 1 < 2."),
        ("chatglm3-6b", "\n 截至[[训练时间]]。", "截至2023年。"),
    ],
)
def test_the_rules_of_the_catalogue(model: str, written: str, expected: str) -> None:
    catalog = load_catalog()
    entry = catalog.find(model)
    assert entry is not None
    form = catalog.form(entry)
    rules = entry.stream if form is None else entry.stream.with_those_of(form.stream)
    assert told(rules, written) == expected


@pytest.mark.parametrize(
    ("options", "written", "shown"),
    [
        ({}, "  It[INST] is so.<e>More", "It is so."),
        ({}, "  It[INST] is so!More", "It is so"),
        ({}, "  It is [INS", "It is [INS"),
        # A text that is continued is no answer.
        ({"prompt": "Say"}, "  It[INST] is so.<e>", "  It[INST] is so.<e>"),
    ],
)
def test_a_variants_rules_hold_for_its_chats(
    tmp_path: Path, options: dict[str, object], written: str, shown: str
) -> None:
    write_tiny_tokenizer(tmp_path, 384)
    rules = StreamRules(stop=("<e>",), drop=("[INST]",), strip_start=True)
    (tmp_path / STREAM_RULES_FILE).write_text(rules.model_dump_json())
    text = VariantText.from_folder(tmp_path)
    for step in (1, 3, 100):
        request = generation_request(
            params=GenerationParams(stop=("!",)), options=EngineOptions.model_validate(options)
        )
        stream = text.stream(request, end_token_ids=())
        token_ids = text.tokenizer.encode(written)
        pieces = [stream.push(token_ids[at : at + step]) for at in range(0, len(token_ids), step)]
        assert "".join(part.text for piece in (*pieces, stream.flush()) for part in piece.parts) == shown


def test_rules_that_cannot_be_read_are_a_corrupt_variant(tmp_path: Path) -> None:
    write_tiny_tokenizer(tmp_path, 384)
    (tmp_path / STREAM_RULES_FILE).write_text('{"dorp": ["x"]}')
    with pytest.raises(VariantCorrupt, match="stream_rules"):
        VariantText.from_folder(tmp_path)
