"""Quality cards on a real Redis and in real stage children, of models small enough to be worked out by numpy."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import redis
from tokenizers import Tokenizer

from converter_worker import card_maker
from converter_worker.activity import Activity
from converter_worker.card_maker import MAX_ATTEMPTS, CardMaker
from converter_worker.cost_model import STANDING_BYTES
from converter_worker.job_store import JobStore
from converter_worker.memory_gate import MemoryGate
from converter_worker.quality_queue import LEASE_MS, QualityQueue
from converter_worker.reference_shelf import Label, ReferenceShelf
from converter_worker.stages import quality_texts
from converter_worker.variant_index import VariantIndex
from shared import keys
from shared.model_store import STAGING_NAME, ModelStore
from shared.redis_client import create_sync_redis
from shared.schemas.models import VariantRecord
from shared.settings import ConverterSettings
from tests.helpers.bigram_variant import bigram_tables, publish_bigram, write_bigram_ir
from tests.helpers.services import wait_until

pytestmark = [pytest.mark.connected, pytest.mark.timeout(120)]

TEXTS = Path(quality_texts.__file__).with_name("quality_prompts.txt")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def state(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def new_maker(redis_url: str, store: ModelStore, tmp_path: Path) -> Iterator[Callable[..., CardMaker]]:
    """Makes card makers, each as a converter of its own has one."""
    clients = []
    makers = []

    def make(worker_id: str = "w_1", *, memory_bytes: int | None = None, **settings: object) -> CardMaker:
        client = create_sync_redis(f"test-{worker_id}", redis_url)
        clients.append(client)
        maker = CardMaker(
            ConverterSettings.model_validate({"data_dir": tmp_path, "redis_url": redis_url, **settings}),
            store,
            VariantIndex(client, store),
            JobStore(client, worker_id, 2.0),
            QualityQueue(client, worker_id),
            Activity(),
            MemoryGate(memory_bytes),
            worker_id,
            threading.Event(),
        )
        makers.append(maker)
        return maker

    yield make
    for maker in makers:
        maker.close()
    for client in clients:
        client.close()


def expected_figures(tokenizer_file: Path, noise: float) -> tuple[float, float, float]:
    """Return agreement, divergence and perplexity ratio, in one go over all tokens and with scipy-like formulas."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    texts = [
        tokenizer.encode(text.strip()).ids[: quality_texts.TEXT_TOKENS]
        for text in TEXTS.read_text("utf-8").split("\n---\n")
    ]
    before = np.concatenate([ids[:-1] for ids in texts])
    after = np.concatenate([ids[1:] for ids in texts])
    reference, other = (
        (embedding.astype(float) @ head)[before] for embedding, head in map(bigram_tables, (0.0, noise))
    )
    p, q = (np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True) for rows in (reference, other))
    at = np.arange(len(after))
    return (
        float((p.argmax(axis=1) == q.argmax(axis=1)).mean()),
        float((p * np.log(p / q)).sum(axis=1).mean()),
        float(np.exp(np.log(p[at, after] / q[at, after]).mean())),
    )


def test_cards_are_made_of_what_can_be_compared(
    new_maker: Callable[..., CardMaker], store: ModelStore, state: redis.Redis
) -> None:
    for name, weight_format, noise in (("fp16", "fp16", 0.0), ("int8", "int8", 0.02), ("int4", "int4", 0.2)):
        publish_bigram(store, name, weight_format, noise)  # type: ignore[arg-type]
    assert new_maker().make_all()
    cards = {manifest.variant: manifest.quality for manifest in store.manifests()}
    for name, noise in (("fp16", 0.0), ("int8", 0.02), ("int4", 0.2)):
        card = cards[name]
        assert card is not None
        agreement, divergence, ratio = expected_figures(store.variant_dir("bigram", name) / "tokenizer.json", noise)
        assert card.tokens >= 2000
        assert card.top1_agreement == pytest.approx(agreement, abs=0.001)
        assert card.kl_divergence == pytest.approx(divergence, rel=0.01, abs=1e-9)
        assert card.perplexity_ratio == pytest.approx(ratio, rel=0.001)
        assert card.tokens_per_second > 0
        assert card.compression_rate == 1.0
    records = {name: VariantRecord.model_validate_json(raw) for name, raw in state.hgetall(keys.VARIANTS).items()}
    assert {record.quality for record in records.values()} == set(cards.values())
    assert not state.exists(keys.QUALITY_LEASE, keys.QUALITY_ATTEMPTS)
    assert [path.name for path in (store.path / STAGING_NAME).iterdir()] == ["conv_bigram"]


def test_a_job_without_fp16_leaves_its_base_until_the_card_is_made(
    new_maker: Callable[..., CardMaker], store: ModelStore, tmp_path: Path
) -> None:
    manifest = publish_bigram(store, "int4", "int4", 0.2)
    maker = new_maker()
    assert maker.make_all()
    assert store.manifest("bigram", "int4").quality is None
    write_bigram_ir(tmp_path / "base", 0.0)
    shelf = ReferenceShelf(store)
    shelf.put(Label.of(manifest), tmp_path / "base", store.staging_dir("conv_bigram"))
    # The accident: a converter that makes no cards by itself cleared away what another one needed.
    assert new_maker("w_2", quality_cards=False).make_all()
    assert shelf.find(manifest, []) is not None
    assert maker.make_all()
    assert store.manifest("bigram", "int4").quality is not None
    assert shelf.find(manifest, []) is None


def test_a_base_that_no_card_needs_goes_once_nobody_makes_cards(
    new_maker: Callable[..., CardMaker], store: ModelStore, state: redis.Redis, tmp_path: Path
) -> None:
    """It was removed while another converter, which had the lease, read it; and must not stay for ever either."""
    manifest = publish_bigram(store, "int4", "int4", 0.2)
    write_bigram_ir(tmp_path / "base", 0.0)
    shelf = ReferenceShelf(store)
    shelf.put(Label.of(manifest), tmp_path / "base", store.staging_dir("conv_bigram"))
    store.delete("bigram", "int4")
    maker = new_maker()
    state.set(keys.QUALITY_LEASE, "another", px=60_000)
    maker.make_all()
    assert shelf.find(manifest, []) is not None
    state.delete(keys.QUALITY_LEASE)
    maker.make_all()
    assert shelf.find(manifest, []) is None
    assert not state.exists(keys.QUALITY_LEASE)


def test_a_lease_that_ran_out_is_taken_again_or_anothers(state: redis.Redis) -> None:
    """A converter that stood still went on without a lease: another took it, and cleared the first one's work away."""
    one, other = QualityQueue(state, "w_1"), QualityQueue(state, "w_2")
    assert one.take()
    state.delete(keys.QUALITY_LEASE)
    assert one.renew()
    assert not other.take()
    state.delete(keys.QUALITY_LEASE)
    assert other.take()
    assert not one.renew()
    one.give_back()
    assert state.get(keys.QUALITY_LEASE) == b"w_2"
    assert 0 < state.pttl(keys.QUALITY_LEASE) <= LEASE_MS


def test_what_an_admin_asks_for_and_cannot_be_measured_says_why(
    new_maker: Callable[..., CardMaker], store: ModelStore, state: redis.Redis
) -> None:
    publish_bigram(store, "int4", "int4", 0.2)
    state.sadd(keys.QUALITY_WANTED, "bigram:int4")
    assert not new_maker(quality_cards=False).make_all()
    assert not state.exists(keys.QUALITY_WANTED)
    assert "convert bigram to fp16 too" in (store.manifest("bigram", "int4").quality_problem or "")


def test_a_card_that_is_larger_than_the_converter_is_not_begun(
    new_maker: Callable[..., CardMaker], store: ModelStore
) -> None:
    """A comparison beyond the container's limit would have the kernel end the converter."""
    publish_bigram(store, "fp16", "fp16", 0.0)
    maker = new_maker(memory_bytes=STANDING_BYTES + 100_000_000)
    assert [maker.make_all() for _ in range(MAX_ATTEMPTS)] == [False] * MAX_ATTEMPTS
    assert "this converter has 0.1 GB" in (store.manifest("bigram", "fp16").quality_problem or "")


def test_a_killed_card_is_made_again(new_maker: Callable[..., CardMaker], store: ModelStore) -> None:
    """The kernel ends the child for want of memory: the variant would stay without a card for good."""
    maker = new_maker()
    child, outcome = _begin_card(maker, store)
    assert maker.memory.busy == 1, "its memory is given out as a stage's is"
    os.kill(child, signal.SIGKILL)
    assert outcome() is False
    assert maker.memory.busy == 0
    assert store.manifest("bigram", "fp16").quality is None
    assert maker.make_all()
    assert store.manifest("bigram", "fp16").quality is not None


def test_a_conversion_stops_the_card_and_the_card_comes_afterwards(
    new_maker: Callable[..., CardMaker], store: ModelStore, state: redis.Redis
) -> None:
    """A conversion that arrives while a card is made would have to share the cores and the memory with it."""
    maker, other = new_maker("w_1"), new_maker("w_2")
    child, outcome = _begin_card(maker, store)
    assert other.make_all(), "one converter at a time makes cards"
    with maker.activity.converting():
        outcome()
        assert not psutil.pid_exists(child)
        assert maker.make_all()
        assert store.manifest("bigram", "fp16").quality is None
    assert state.hget(keys.QUALITY_ATTEMPTS, "bigram:fp16") == b"0"
    assert other.make_all()
    assert store.manifest("bigram", "fp16").quality is not None


def test_a_converter_that_lost_the_lease_stops_and_leaves_the_others_work(
    new_maker: Callable[..., CardMaker], store: ModelStore, state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood still for longer than its lease, and on its way out cleared away what the new holder worked with."""
    monkeypatch.setattr(card_maker, "GIVE_WAY_SECONDS", 0.0)
    child, outcome = _begin_card(new_maker(), store)
    theirs = store.staging_dir("quality_w_2")
    state.set(keys.QUALITY_LEASE, "w_2", px=60_000)
    outcome()
    assert not psutil.pid_exists(child)
    assert theirs.is_dir()
    assert store.manifest("bigram", "fp16").quality is None


def test_the_deletion_of_a_variant_ends_its_card(
    new_maker: Callable[..., CardMaker], store: ModelStore, state: redis.Redis
) -> None:
    """The card would bring the deleted variant back into the index."""
    maker = new_maker()
    _, outcome = _begin_card(maker, store)
    store.delete("bigram", "fp16")
    outcome()
    assert state.hlen(keys.VARIANTS) == 0
    assert maker.make_all()
    assert list(store.manifests()) == []


def _begin_card(maker: CardMaker, store: ModelStore) -> tuple[int, Callable[[], bool | None]]:
    """Publish a variant and begin its card; return the child's process id and what waits for the maker's answer.

    The child imports for a while before it measures.
    """
    publish_bigram(store, "fp16", "fp16", 0.0)
    outcomes: list[bool] = []
    thread = threading.Thread(target=lambda: outcomes.append(maker.make_all()))
    thread.start()

    def wait() -> bool | None:
        thread.join(30)
        return outcomes[0] if outcomes else None

    found: list[int] = []

    def look() -> bool:
        runner = maker._runner
        found.extend([runner.child_pid] if runner is not None and runner.child_pid is not None else [])
        return bool(found)

    wait_until(look, what="the card's child")
    return found[0], wait
