"""All that turns a variant's chats into token ids and back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from inference_worker.text.chat_template import ChatTemplate
from inference_worker.text.context_budget import FittedPrompt, fit_context
from inference_worker.text.template_renderer import TemplateRenderer
from inference_worker.text.text_stream import TextStream
from inference_worker.text.tokenizer import Tokenizer
from shared.errors import TemplateFailed
from shared.schemas.generation import ChatTurn

#: Shorter prompts are tokenized faster than a thread is asked to.
_THREAD_CHARACTERS = 4000
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: Of the built-in tokenizer for the sample engine: the id of `<|im_end|>`, and those of the letters a to z.
BYTE_EOS_TOKEN_ID = 2
BYTE_LETTER_IDS = range(3 + ord("a") - ord("!"), 3 + ord("z") - ord("!") + 1)


@dataclass(frozen=True, slots=True)
class VariantText:
    """Tokenizer and chat template; the template is None where the model has none."""

    tokenizer: Tokenizer
    template: ChatTemplate | None

    @classmethod
    def from_folder(cls, model_dir: Path) -> VariantText:
        """Raises VariantCorrupt when a file cannot be read."""
        tokenizer = Tokenizer.from_folder(model_dir)
        try:
            return cls(tokenizer, ChatTemplate.from_folder(model_dir))
        except TemplateFailed:
            return cls(tokenizer, None)

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

    async def fit(
        self, renderer: TemplateRenderer, messages: Sequence[ChatTurn], *, context_length: int, max_new_tokens: int
    ) -> FittedPrompt:
        """The prompt of a chat. Raises ContextLengthExceeded, TemplateFailed and TemplateTimeout."""
        template = self.template
        if template is None:
            raise TemplateFailed("The model has no chat template.", param="model")

        async def encode(kept: Sequence[ChatTurn]) -> tuple[int, ...]:
            prompt = await template.render(renderer, kept)
            if len(prompt) < _THREAD_CHARACTERS:
                return self.tokenizer.encode(prompt)
            return await asyncio.to_thread(self.tokenizer.encode, prompt)

        return await fit_context(messages, encode, context_length=context_length, max_new_tokens=max_new_tokens)

    def stream(self, *, end_token_ids: Collection[int], stop_strings: Sequence[str]) -> TextStream:
        """A fresh way from token ids to text for one answer."""
        return TextStream(self.tokenizer, end_token_ids=end_token_ids, stop_strings=stop_strings)
