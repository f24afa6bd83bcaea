"""Renders templates in a child process with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import orjson

from shared.errors import TemplateFailed, TemplateTimeout

_LINE_LIMIT_BYTES = 1 << 26


class TemplateRenderer:
    """One child for all models of an agent. It is started when first needed and again after a template hung."""

    def __init__(self, *, time_limit_seconds: float = 5.0, start_limit_seconds: float = 30.0) -> None:
        self._time_limit_seconds = time_limit_seconds
        self._start_limit_seconds = start_limit_seconds
        self._child: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Start the child ahead of the first use."""
        async with self._lock:
            await self._ready_child()

    async def render(self, template: str, context: dict[str, Any]) -> str:
        """Render `template`.

        Raises:
            TemplateTimeout: it took longer than the time limit.
            TemplateFailed: the template refused the messages, is malformed, or ended the child.
        """
        async with self._lock:
            child = await self._ready_child()
            try:
                async with asyncio.timeout(self._time_limit_seconds):
                    answer = await self._exchange(child, {"template": template, "context": context})
            except TimeoutError:
                await self._end_child()
                limit = self._time_limit_seconds
                raise TemplateTimeout(f"The model's chat template ran longer than {limit:g} s.") from None
            except (OSError, ValueError) as error:
                await self._end_child()
                raise TemplateFailed("The model's chat template ended its renderer.") from error
            except BaseException:
                # A caller that was cancelled leaves an answer under way that the next one must not get.
                await self._end_child()
                raise
        if "error" in answer:
            raise TemplateFailed(f"The model's chat template failed: {answer['error']}", param="messages")
        return str(answer["text"])

    async def stop(self) -> None:
        """End the child; idempotent."""
        async with self._lock:
            await self._end_child()

    async def _ready_child(self) -> asyncio.subprocess.Process:
        if self._child is None or self._child.returncode is not None:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "inference_worker.text.template_child",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_LINE_LIMIT_BYTES,
            )
            # Starting Python is not the template's time, so the child answers once before it counts.
            try:
                async with asyncio.timeout(self._start_limit_seconds):
                    await self._exchange(self._child, {"template": "", "context": {}})
            except BaseException:
                await self._end_child()
                raise
        return self._child

    @staticmethod
    async def _exchange(child: asyncio.subprocess.Process, request: dict[str, Any]) -> dict[str, Any]:
        if child.stdin is None or child.stdout is None:
            raise ValueError("the renderer has no pipes")
        child.stdin.write(orjson.dumps(request) + b"\n")
        await child.stdin.drain()
        line = await child.stdout.readline()
        if not line:
            raise ValueError("the renderer is gone")
        answer = orjson.loads(line)
        if not isinstance(answer, dict):
            raise ValueError("the renderer gave no object")
        return answer

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        if child.stdin is not None:
            child.stdin.close()
