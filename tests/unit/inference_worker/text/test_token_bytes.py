from __future__ import annotations

import pytest

from inference_worker.text.tokenizer import Tokenizer
from tests.unit.inference_worker.text.tokenizers_for_tests import byte_fallback, byte_level


@pytest.mark.parametrize("tokenizer", [byte_level(), byte_fallback()])
def test_the_bytes_of_split_characters_join_to_the_text(tokenizer: Tokenizer) -> None:
    token_ids = [token_id for token_id in tokenizer.encode("😀é") if "\ufffd" in tokenizer.decode([token_id])]
    assert token_ids
    assert b"".join(tokenizer.token_bytes(token_id) or b"" for token_id in token_ids) in "😀é".encode()


def test_an_unknown_token_has_no_bytes() -> None:
    assert byte_level().token_bytes(10**9) is None
