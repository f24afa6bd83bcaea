"""The fixed texts of the quality card as tokens: our own prose, talk and code, English but for two."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Changes with the texts or with how they are cut.
PROMPT_SET = "ovchat-1"
#: Of each text this many tokens are taken: at least 2,000 are predicted in all, and memory for logits is bounded.
TEXT_TOKENS = 176
_FILE = Path(__file__).with_name("quality_prompts.txt")


def quality_texts(tokenizer: "Tokenizer") -> list[list[int]]:
    """Return the token ids of each text."""
    texts = _FILE.read_text("utf-8").split("\n---\n")
    return [tokenizer.encode(text.strip()).ids[:TEXT_TOKENS] for text in texts]
