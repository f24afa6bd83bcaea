"""A gateway's part towards inference workers, by the shared modules alone."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from shared import keys
from shared.errors import ErrorBody
from shared.journal import TERMINAL_KINDS, Journal, JournalEntry
from shared.model_store import ModelStore
from shared.redis_client import AsyncRedis
from shared.registry import RegisteredWorker, Registry
from shared.schemas.generation import EngineOptions, GenerationParams
from shared.schemas.models import Manifest, Recipe
from shared.schemas.workers import LoadVariant
from shared.waiting_queue import WaitingQueue
from tests.helpers.messages import generation_request
from tests.helpers.services import Service
from tests.helpers.tiny_checkpoints import write_tiny_tokenizer

VARIANT = "demo:int8"
CREATED_AT = "2026-01-01T00:00:00Z"
LONG = GenerationParams(temperature=0, max_new_tokens=2000)
StartWorker = Callable[..., Service]


def publish_sample_variant(
    store_path: Path, variant: str = VARIANT, *, weights: bytes = b"", created_at: str = CREATED_AT, **options: object
) -> Path:
    """Publish a variant with a tiny tokenizer for the sample engine; return its folder."""
    model, _, name = variant.partition(":")
    store = ModelStore(store_path)
    staged = store.staging_dir(f"test-{model}-{name}") / name
    staged.mkdir(parents=True)
    write_tiny_tokenizer(staged, 384)
    config = {"max_position_embeddings": 2048, "vocab_size": 384, "eos_token_id": 2}
    (staged / "config.json").write_bytes(orjson.dumps(config))
    (staged / "sample_engine.json").write_bytes(orjson.dumps(options))
    if weights:
        (staged / "openvino_model.bin").write_bytes(weights)
    manifest = Manifest(
        model=model,
        variant=name,
        weight_format="int8",
        recipe=Recipe(),
        source_model="test",
        model_type="llama",
        context_length=2048,
        stack="test",
        versions={},
        created_at=created_at,
        files={},
        weights_bytes=1,
    )
    store.publish(staged, manifest)
    return store.variant_dir(model, name)


class WorkerClient:
    """Queues generations, waits for workers, reads journals."""

    def __init__(self, transport: AsyncRedis) -> None:
        self.redis = transport
        self.queue = WaitingQueue(transport)
        self.registry = Registry(transport)
        self.journal = Journal(transport)
        self._number = 0

    async def until(self, condition: Callable[[list[RegisteredWorker]], bool], *, seconds: float = 20) -> None:
        """Return once the registry's workers fulfil a condition."""
        async with asyncio.timeout(seconds):
            while not condition(list(await self.registry.workers())):  # noqa: ASYNC110 - it polls another process.
                await asyncio.sleep(0.01)

    async def ready_worker(self, variant: str = VARIANT) -> str:
        """Return a worker that has the variant ready, after telling one to load it."""
        await self.until(bool)
        worker_id = (await self.registry.workers())[0].info.worker_id
        await self.registry.send(worker_id, LoadVariant(variant=variant))
        await self.until(lambda workers: any(variant in worker.free_slots for worker in workers))
        return worker_id

    async def ask(
        self,
        content: str = "hi",
        *,
        variant: str = VARIANT,
        params: GenerationParams | None = None,
        options: EngineOptions | None = None,
        place: bool = True,
    ) -> str:
        """Queue a generation, and have a ready worker take it; return its id."""
        self._number += 1
        generation_id = f"gen_{self._number}"
        request = generation_request(
            generation_id,
            variant=variant,
            content=content,
            params=params or GenerationParams(temperature=0, max_new_tokens=20),
            options=options,
        )
        await self.queue.enqueue(request, "gw", 10_000)
        if place:
            await self.place(variant)
        return generation_id

    async def place(self, variant: str = VARIANT) -> None:
        """Let every worker that has the variant ready take what waits."""
        for worker in await self.registry.workers():
            if variant in worker.free_slots:
                await self.queue.take(worker.info.worker_id, variant)

    async def entries_until(
        self, generation_id: str, condition: Callable[[tuple[JournalEntry, ...]], bool], *, seconds: float = 20
    ) -> tuple[JournalEntry, ...]:
        """Return a journal once it fulfils a condition."""
        entries: tuple[JournalEntry, ...] = ()
        try:
            async with asyncio.timeout(seconds):
                while not condition(entries := await self.journal.read(generation_id)):  # noqa: ASYNC110 - it polls another process.
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"{generation_id} has {[entry.kind for entry in entries]}") from None
        return entries

    async def ended(self, generation_id: str, *, seconds: float = 20) -> tuple[JournalEntry, ...]:
        """Return the whole journal of a generation that ends."""
        return await self.entries_until(
            generation_id, lambda entries: bool(entries) and entries[-1].kind in TERMINAL_KINDS, seconds=seconds
        )

    async def load_failure(self, variant: str = VARIANT) -> ErrorBody:
        """Return why a variant could not be loaded, once it is known."""
        async with asyncio.timeout(20):
            while (raw := await self.redis.get(keys.load_failure(variant))) is None:  # noqa: ASYNC110 - it polls another process.
                await asyncio.sleep(0.01)
        return ErrorBody.model_validate_json(raw)


def text_of(entries: tuple[JournalEntry, ...]) -> str:
    """Return the answer that a client shows."""
    return "".join(orjson.loads(entry.frame)["text"] for entry in entries if entry.kind == "delta")


def tokens_of(entries: Sequence[JournalEntry]) -> list[int]:
    """Return all journaled token ids."""
    return [token_id for entry in entries for token_id in entry.token_ids]


def assert_well_formed(entries: tuple[JournalEntry, ...]) -> None:
    """Started first, deltas numbered from 1 without gap or repeat, one end that names the last."""
    assert entries[0].kind == "started"
    assert sum(entry.kind == "started" for entry in entries) == 1
    assert [entry.kind for entry in entries if entry.kind in TERMINAL_KINDS] == [entries[-1].kind]
    seqs = [orjson.loads(entry.frame)["seq"] for entry in entries if entry.kind == "delta"]
    assert seqs == list(range(1, len(seqs) + 1))
    assert entries[-1].seq == len(seqs)
