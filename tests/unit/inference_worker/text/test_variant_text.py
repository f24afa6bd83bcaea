from __future__ import annotations

from typing import Any

import pytest

from inference_worker.text.answer_stream import AnswerPiece
from inference_worker.text.template_renderer import TemplateRenderer
from inference_worker.text.variant_text import VariantText
from shared.errors import ContextLengthExceeded, InvalidRequest
from shared.schemas.generation import EngineOptions, GenerationParams, GenerationRequest
from tests.helpers.messages import generation_request

TEXT = VariantText.byte_level()
EOS, IM_START = 2, 1


def request(stop: tuple[str, ...] = (), max_new_tokens: int = 50, **options: object) -> GenerationRequest:
    return generation_request(
        params=GenerationParams(stop=stop, max_new_tokens=max_new_tokens), options=EngineOptions.model_validate(options)
    )


def text_of(*pieces: AnswerPiece) -> str:
    return "".join(part.text for piece in pieces for part in piece.parts)


async def test_a_plain_prompt_is_taken_as_it_stands() -> None:
    fitted = await TEXT.fit(TemplateRenderer(), request(prompt="Once upon"), context_length=30)
    assert TEXT.tokenizer.decode(fitted.token_ids) == "Once upon"
    assert fitted.max_new_tokens == 30 - len(fitted.token_ids)


async def test_a_plain_prompt_must_fit_and_have_a_token() -> None:
    with pytest.raises(ContextLengthExceeded):
        await TEXT.fit(TemplateRenderer(), request(prompt="x" * 30), context_length=30)
    with pytest.raises(InvalidRequest):
        await TEXT.fit(TemplateRenderer(), request(prompt=""), context_length=30)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, "ab"),
        ({"skip_special_tokens": False}, "a<|im_start|>b"),
        ({"skip_special_tokens": False, "ignore_eos": True}, "a<|im_start|>b<|im_end|>"),
        ({"stop_token_ids": (IM_START,), "skip_special_tokens": False}, "ab"),
        ({"stop_token_ids": TEXT.tokenizer.encode("b")}, "a"),
        ({"stop_token_ids": TEXT.tokenizer.encode("b"), "include_stop_text": True}, "ab"),
    ],
)
def test_which_tokens_are_shown(options: dict[str, Any], shown: str) -> None:
    a, b = TEXT.tokenizer.encode("ab")
    stream = TEXT.stream(request(**options), end_token_ids={EOS})
    assert text_of(stream.push((a, IM_START, b, EOS)), stream.flush()) == shown


@pytest.mark.parametrize(("include", "shown"), [(False, "one "), (True, "one END")])
def test_a_stop_string_is_shown_when_asked_for(include: bool, shown: str) -> None:
    stream = TEXT.stream(request(("END",), include_stop_text=include), end_token_ids={EOS})
    piece = stream.push(TEXT.tokenizer.encode("one END two"))
    assert (text_of(piece), piece.stopped) == (shown, True)
