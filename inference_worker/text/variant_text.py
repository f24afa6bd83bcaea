"""All that turns a variant's chats into token ids and back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from inference_worker.text.answer_filter import AnswerFilter
from inference_worker.text.answer_formats import create_splitter, ends_in_reasoning, markers
from inference_worker.text.answer_stream import AnswerStream
from inference_worker.text.chat_template import ChatTemplate
from inference_worker.text.context_budget import FittedPrompt, fit_context, fit_text
from inference_worker.text.template_renderer import TemplateRenderer
from inference_worker.text.text_stream import TextStream
from inference_worker.text.token_labels import TokenLabels
from inference_worker.text.tokenizer import Tokenizer
from inference_worker.variant_files import read_json
from shared.catalog.chat_form import NO_RULES, STREAM_RULES_FILE, StreamRules
from shared.errors import InvalidRequest, TemplateFailed, VariantCorrupt
from shared.schemas.generation import ChatTurn, GenerationRequest

#: Shorter prompts are tokenized faster than a thread is asked to.
_THREAD_CHARACTERS = 4000
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: Enough tokens to see an opened reasoning tag in.
_PROMPT_END_TOKENS = 16
#: Of the built-in tokenizer for the sample engine: the id of `<|im_end|>`, and those of the letters a to z.
BYTE_EOS_TOKEN_ID = 2
BYTE_LETTER_IDS = range(3 + ord("a") - ord("!"), 3 + ord("z") - ord("!") + 1)


@dataclass(frozen=True, slots=True)
class VariantText:
    """Tokenizer, chat template (None where the model has none), and what is cut from the answers of chats."""

    tokenizer: Tokenizer
    template: ChatTemplate | None
    rules: StreamRules = NO_RULES

    @classmethod
    def from_folder(cls, model_dir: Path) -> VariantText:
        """Raises VariantCorrupt when a file cannot be read."""
        tokenizer, rules = Tokenizer.from_folder(model_dir), _read_rules(model_dir)
        try:
            return cls(tokenizer, ChatTemplate.from_folder(model_dir), rules)
        except TemplateFailed:
            return cls(tokenizer, None, rules)

    @classmethod
    def byte_level(cls) -> VariantText:
        """One token a byte and ChatML, for the sample engine where no variant is stored."""
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocabulary = {token: at for at, token in enumerate([*special, *alphabet])}
        backend = tokenizers.Tokenizer(models.BPE(vocabulary, []))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        backend.add_special_tokens(special)
        return cls(Tokenizer(backend), ChatTemplate(_CHATML, {"eos_token": special[2]}))

    async def fit(self, renderer: TemplateRenderer, request: GenerationRequest, *, context_length: int) -> FittedPrompt:
        """The prompt of a chat or of a plain text.

        Raises:
            ContextLengthExceeded, TemplateFailed, TemplateTimeout: see there.
            InvalidRequest: the plain text has no token, or the template's variables are taken.
        """
        template, options, max_new_tokens = self.template, request.options, request.params.max_new_tokens
        if options.prompt is not None:
            token_ids = await self._encode(options.prompt, add_special_tokens=True)
            if not token_ids:
                raise InvalidRequest("The prompt is empty.", param="prompt")
            return fit_text(token_ids, context_length=context_length, max_new_tokens=max_new_tokens, param="prompt")
        if template is None:
            raise TemplateFailed("The model has no chat template.", param="model")

        async def encode(kept: Sequence[ChatTurn]) -> tuple[int, ...]:
            prompt = await template.render(renderer, kept, tools=options.tools, names=options.chat_template_kwargs)
            return await self._encode(prompt)

        if options.keep_all_turns:
            token_ids = await encode(request.messages)
            return fit_text(token_ids, context_length=context_length, max_new_tokens=max_new_tokens, param="messages")
        return await fit_context(request.messages, encode, context_length=context_length, max_new_tokens=max_new_tokens)

    def stream(
        self, request: GenerationRequest, *, end_token_ids: Collection[int], prompt_token_ids: Sequence[int] = ()
    ) -> AnswerStream:
        """A fresh way from token ids to what is told, for one answer. Raises InvalidRequest for an unknown format."""
        options = request.options
        hidden = set() if options.ignore_eos else set(end_token_ids)
        if not options.include_stop_text:
            hidden |= set(options.stop_token_ids)
        seen = markers(options)
        shown = {
            token_id
            for token_id, text in self.tokenizer.special_tokens.items()
            if text in seen or not options.skip_special_tokens
        }
        rules = self.rules if options.prompt is None else NO_RULES
        text = TextStream(
            self.tokenizer,
            end_token_ids=hidden,
            shown_token_ids=shown - hidden,
            stop_strings=(*request.params.stop, *rules.stop),
            include_stop_text=options.include_stop_text,
        )
        # A schema's grammar leaves no room for the end of reasoning that a prompt has opened.
        thinks = options.json_schema is None
        prompt_end = self.tokenizer.decode(prompt_token_ids[-_PROMPT_END_TOKENS:], special=True)
        channels = create_splitter(options, starts_in_reasoning=thinks and ends_in_reasoning(prompt_end))
        return AnswerStream(text, AnswerFilter(rules), channels, TokenLabels(self.tokenizer))

    async def _encode(self, text: str, *, add_special_tokens: bool = False) -> tuple[int, ...]:
        if len(text) < _THREAD_CHARACTERS:
            return self.tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return await asyncio.to_thread(self.tokenizer.encode, text, add_special_tokens=add_special_tokens)


def _read_rules(model_dir: Path) -> StreamRules:
    try:
        return StreamRules.model_validate(read_json(model_dir / STREAM_RULES_FILE))
    except ValueError as error:
        raise VariantCorrupt(f"{STREAM_RULES_FILE} of {model_dir.name} cannot be read: {error}") from error
