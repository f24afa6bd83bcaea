"""The tutorial's pipeline: optimum-intel's causal model with a streamer in a thread, one chat after the other."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any

from inference_worker.bench.peer import BenchPeer
from shared.schemas.bench import PeerChat, PeerFigures, PeerRound

_STREAM_SECONDS = 600.0


class TutorialPipeline(BenchPeer):
    """Everything that the tutorial does for an answer counts, its tokenizer too."""

    def __init__(self, model_dir: Path, device: str) -> None:
        from optimum.intel import OVModelForCausalLM
        from transformers import AutoTokenizer

        self.versions = {name: version(name) for name in ("optimum-intel", "transformers", "openvino")}
        self._tokenizer: Any = AutoTokenizer.from_pretrained(str(model_dir))
        settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "CACHE_DIR": ""}
        self._model: Any = OVModelForCausalLM.from_pretrained(str(model_dir), device=device, ov_config=settings)

    async def run(self, asked: PeerRound) -> PeerFigures:
        begun = time.perf_counter()
        answers = [self._answer(chat, asked.max_new_tokens) for chat in asked.chats]
        return PeerFigures(
            seconds=time.perf_counter() - begun,
            tokens=sum(tokens for tokens, _, _, _ in answers),
            prompt_tokens=tuple(prompt for _, prompt, _, _ in answers),
            first_token_ms=tuple(first for _, _, first, _ in answers),
            per_token_ms=tuple(rest / (tokens - 1) for tokens, _, _, rest in answers if tokens > 1),
        )

    def _answer(self, chat: PeerChat, max_new_tokens: int) -> tuple[int, int, float, float]:
        """Return tokens made, tokens of the prompt, and the milliseconds to the first text and from it to the end."""
        from transformers import TextIteratorStreamer

        begun = time.perf_counter()
        system = [] if chat.system is None else [{"role": "system", "content": chat.system}]
        messages = [*system, {"role": "user", "content": chat.content}]
        inputs = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        streamer: Any = TextIteratorStreamer(
            self._tokenizer, timeout=_STREAM_SECONDS, skip_prompt=True, skip_special_tokens=True
        )
        made: list[Any] = []

        def generate() -> None:
            made.append(
                self._model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, streamer=streamer)
            )

        thread = Thread(target=generate)
        thread.start()
        first_at = None
        for text in streamer:
            if text and first_at is None:
                first_at = time.perf_counter()
        thread.join()
        ended = time.perf_counter()
        first_at = first_at or ended
        prompt_tokens = int(inputs["input_ids"].shape[1])
        tokens = int(made[0].shape[1]) - prompt_tokens
        return tokens, prompt_tokens, 1000 * (first_at - begun), 1000 * (ended - first_at)
