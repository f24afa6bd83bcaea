"""What is refused instead of being silently ignored, and what is ignored and told."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from gateway.openai.sampling_fields import SamplingFields
from shared.errors import InvalidRequest
from shared.log import get_logger

_log = get_logger(__name__)

#: Fields that would change the answer as nothing here can, each with the values that change nothing.
_REFUSED: Mapping[str, tuple[object, ...]] = {
    "add_generation_prompt": (True,),
    "allowed_token_ids": (),
    "audio": (),
    "bad_words": ([],),
    "best_of": (),
    "cache_salt": (),
    "continue_final_message": (False,),
    "function_call": (),
    "functions": ([],),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "priority": (0,),
    "prompt_logprobs": (),
    "reasoning_effort": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "structured_outputs": (),
    "suffix": ("",),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
#: Fields that say something to OpenAI's own service and nothing about the answer.
_WITHOUT_EFFECT = frozenset(
    {"metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier"}
)


def refuse_unsupported(fields: SamplingFields) -> None:
    """Refuse what cannot be honoured; log each unknown field's name once.

    Raises:
        InvalidRequest: it names the field.
    """
    for name, value in (fields.model_extra or {}).items():
        if name == "best_of" and value == (fields.n or 1):
            continue
        if name in _REFUSED:
            if value is not None and value not in _REFUSED[name]:
                raise InvalidRequest(f"{name} cannot be honoured here. Leave it out.", param=name)
        elif name not in _WITHOUT_EFFECT:
            _tell_once(name[:64])
    if fields.stream_options is not None and not fields.stream:
        raise InvalidRequest("stream_options is for streams. Set stream to true.", param="stream_options")


@functools.lru_cache(maxsize=1000)
def _tell_once(name: str) -> None:
    _log.info("unknown_field_ignored", field=name)
