"""The bare engine: ``ContinuousBatchingPipeline.generate`` over all prompts at once, with the library's scheduler."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from inference_worker.bench.peer import BenchPeer
from inference_worker.text.template_renderer import TemplateRenderer
from inference_worker.text.variant_text import VariantText
from inference_worker.variant_files import read_model_limits
from shared.errors import TemplateFailed
from shared.schemas.bench import PeerChat, PeerFigures, PeerRound
from shared.schemas.generation import ChatTurn

_CACHE_GIB = 2


class InProcessEngine(BenchPeer):
    """Prompts become tokens before the time counts: it is the engine that is measured."""

    def __init__(self, model_dir: Path, device: str) -> None:
        import openvino_genai

        self.versions = {name: version(name) for name in ("openvino-genai", "openvino")}
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = _CACHE_GIB
        self._pipeline: Any = openvino_genai.ContinuousBatchingPipeline(str(model_dir), scheduler, device, {})
        self._text = VariantText.from_folder(model_dir)
        self._end_token_ids = set(read_model_limits(model_dir).eos_token_ids)
        self._renderer = TemplateRenderer()

    async def run(self, asked: PeerRound) -> PeerFigures:
        import numpy as np
        import openvino
        import openvino_genai

        ids = [await self._token_ids(chat) for chat in asked.chats]
        prompts = [openvino.Tensor(np.asarray([token_ids])) for token_ids in ids]
        config = openvino_genai.GenerationConfig(max_new_tokens=asked.max_new_tokens)
        config.stop_token_ids = self._end_token_ids
        arrivals: list[float] = []

        class Arrivals(openvino_genai.StreamerBase):  # type: ignore[misc]
            """Notes when each token comes."""

            def write(self, token: object) -> Any:
                arrivals.append(time.perf_counter())
                return openvino_genai.StreamingStatus.RUNNING

            def end(self) -> None:
                pass

        begun = time.perf_counter()
        # The library streams one prompt only.
        streamed = (Arrivals(),) if len(prompts) == 1 else ()
        results = self._pipeline.generate(prompts, [config] * len(prompts), *streamed)
        seconds = time.perf_counter() - begun
        return PeerFigures(
            seconds=seconds,
            tokens=sum(len(result.m_generation_ids[0]) for result in results),
            prompt_tokens=tuple(len(token_ids) for token_ids in ids),
            first_token_ms=tuple(1000 * (at - begun) for at in arrivals[:1]),
            per_token_ms=(1000 * (arrivals[-1] - arrivals[0]) / (len(arrivals) - 1),) if len(arrivals) > 1 else (),
        )

    async def _token_ids(self, chat: PeerChat) -> tuple[int, ...]:
        if self._text.template is None:
            raise TemplateFailed("The model has no chat template.", param="model")
        turns = [ChatTurn(role="system", content=chat.system)] if chat.system is not None else []
        turns.append(ChatTurn(role="user", content=chat.content))
        return self._text.tokenizer.encode(await self._text.template.render(self._renderer, turns))
