"""What the catalogue knows of a model's chats, written in the form that inference reads.

Inference knows the variant's folder only: a chat form becomes the tokenizer's chat template, stop tokens are told by
their ids, and what is to be cut from answers stands in ``stream_rules.json``.
"""

from pathlib import Path
from typing import Any

from converter_worker.stages.contract import StageMessage
from shared.catalog.chat_form import STREAM_RULES_FILE, ChatForm, StreamRules
from shared.catalog.form_template import form_template
from shared.errors import TokenizerMissing


class ChatFacts(StageMessage):
    """`form` is taken where the tokenizer has no template; `stop_tokens` and `stream` hold whatever it has."""

    form: ChatForm | None = None
    stop_tokens: tuple[str, ...] = ()
    stream: StreamRules = StreamRules()


def write_chat_files(tokenizer: Any, facts: ChatFacts, output_dir: Path) -> tuple[int, ...]:
    """Give the tokenizer a template where it lacks one, write the rules, and return the ids that end an answer.

    Raises:
        TokenizerMissing: the form names a token that the tokenizer does not have.
    """
    form, rules = facts.form, facts.stream
    stops = _known_ids(tokenizer, (*(form.stop_tokens if form else ()), *facts.stop_tokens))
    if form is not None and not _has_template(tokenizer):
        tokens = {name: _as_text(tokenizer, token_id) for name, token_id in form.tokens.items()}
        tokenizer.chat_template = form_template(form, prefix=_text_prefix(tokenizer), tokens=tokens)
        rules = rules.with_those_of(form.stream)
        stops += form.stop_token_ids
    if rules != StreamRules():
        (output_dir / STREAM_RULES_FILE).write_text(rules.model_dump_json(), "utf-8")
    return tuple(dict.fromkeys(stops))


def _has_template(tokenizer: Any) -> bool:
    template = tokenizer.chat_template
    return bool(template.get("default") if isinstance(template, dict) else template)


def _known_ids(tokenizer: Any, tokens: tuple[str, ...]) -> tuple[int, ...]:
    vocabulary = tokenizer.get_vocab()
    return tuple(vocabulary[token] for token in tokens if token in vocabulary)


def _text_prefix(tokenizer: Any) -> str:
    """Return the text of the tokens that the tokenizer puts before every text."""
    bare: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    full: list[int] = tokenizer("a")["input_ids"]
    places = (at for at in range(len(full) - len(bare) + 1) if full[at : at + len(bare)] == bare)
    return "".join(_as_text(tokenizer, token_id) for token_id in full[: next(places, 0)])


def _as_text(tokenizer: Any, token_id: int) -> str:
    """Return a text that is this one token, which the tokenizer is told to see as one where it does not."""
    from transformers import AddedToken

    text = tokenizer.convert_ids_to_tokens(token_id) if token_id < len(tokenizer) else None
    if text is not None and tokenizer(text, add_special_tokens=False)["input_ids"] != [token_id]:
        tokenizer.add_tokens([AddedToken(text, special=True, normalized=False)])
    if text is None or tokenizer(text, add_special_tokens=False)["input_ids"] != [token_id]:
        raise TokenizerMissing(f"The model's chats need the token {token_id}, which its tokenizer does not have.")
    return str(text)
