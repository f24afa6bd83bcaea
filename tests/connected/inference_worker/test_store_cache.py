"""Variants that are fetched from a `store` service: whole or not there, once a host, and never more than fit."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from inference_worker.load_plan import sample_options
from inference_worker.store_cache.cached_store import CachedStore
from inference_worker.store_cache.store_client import StoreClient
from inference_worker.store_cache.supply import CacheSupply
from shared.errors import DiskFull, LoadFailed, StoreUnavailable, VariantCorrupt, VariantNotPublished
from shared.model_store import ModelStore
from shared.schemas.workers import LoadVariant
from tests.helpers.store_server import KEY, StoreServer
from tests.helpers.worker_client import (
    LONG,
    VARIANT,
    StartWorker,
    WorkerClient,
    assert_well_formed,
    publish_sample_variant,
)

pytestmark = pytest.mark.connected

MIB = 1 << 20
WEIGHTS = os.urandom(3 * MIB)
BIN = "demo/int8/openvino_model.bin"
Supply = Callable[..., CacheSupply]


@pytest.fixture
def platform(tmp_path: Path) -> ModelStore:
    """The platform's store, with one variant."""
    store = ModelStore(tmp_path / "platform")
    publish_sample_variant(store.path, weights=WEIGHTS)
    return store


@pytest.fixture
def server(platform: ModelStore) -> Iterator[StoreServer]:
    with StoreServer(platform.path) as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def new_supply(server: StoreServer, cache: Path) -> Supply:
    def make(limit_bytes: int | None = None, *, folder: Path = cache, key: str = KEY) -> CacheSupply:
        return CacheSupply(CachedStore(folder, StoreClient(server.url, key)), limit_bytes)

    return make


def hold(supply: CacheSupply, *variants: str) -> ExitStack:
    return supply.hold_now(variants or (VARIANT,), lambda share: None, threading.Event())


def names(folder: Path) -> list[str]:
    return [":".join(name) for name in ModelStore(folder).names()]


def left_overs(cache: Path) -> list[str]:
    return [path.name for path in (cache / ".staging").glob("*")]


def test_a_variant_is_fetched_once_and_whole(new_supply: Supply, server: StoreServer, cache: Path) -> None:
    with hold(new_supply()):
        ModelStore(cache).check("demo", "int8", hashes=True)
    asked = len(server.files())
    with hold(new_supply()):
        assert len(server.files()) == asked
    assert left_overs(cache) == []


def test_what_is_planned_with_needs_no_weights(new_supply: Supply, server: StoreServer, cache: Path) -> None:
    store = new_supply().published
    assert store.manifest("demo", "int8").weights_bytes
    assert sample_options(store, VARIANT) == {}
    assert store.read_file("demo", "int8", "no_such.json") is None
    assert server.files() == ["demo/int8/sample_engine.json"]
    assert names(cache) == []


def test_a_connection_that_breaks_again_and_again_goes_on_where_it_was(
    new_supply: Supply, server: StoreServer, cache: Path
) -> None:
    server.cut_after_bytes = MIB
    with hold(new_supply()):
        ModelStore(cache).check("demo", "int8", hashes=True)
    assert [wanted for path, wanted in server.requests if path == BIN] == ["", f"bytes={MIB}-", f"bytes={2 * MIB}-"]


def test_a_file_that_differs_is_fetched_anew_once(new_supply: Supply, server: StoreServer, cache: Path) -> None:
    server.spoilt = {BIN: 1}
    with hold(new_supply()):
        ModelStore(cache).check("demo", "int8", hashes=True)
    assert server.files().count(BIN) == 2


def test_a_file_that_differs_twice_is_an_error_and_leaves_nothing(
    new_supply: Supply, server: StoreServer, cache: Path
) -> None:
    server.spoilt = {BIN: 2}
    with pytest.raises(VariantCorrupt, match=r"openvino_model.bin of demo:int8 came twice .* `ovchat models verify`"):
        hold(new_supply())
    assert (names(cache), left_overs(cache)) == ([], [])
    hold(new_supply()).close()


def test_what_was_fetched_is_served_while_the_store_is_away(
    new_supply: Supply, server: StoreServer, cache: Path
) -> None:
    hold(new_supply()).close()
    server.status = 502
    supply = new_supply()
    hold(supply).close()
    supply.sweep()
    assert names(cache) == [VARIANT]
    with pytest.raises(StoreUnavailable, match=r"answers 502"):
        hold(supply, "other:int8")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_an_error_and_the_cache_stays_as_it_was(
    new_supply: Supply, platform: ModelStore, server: StoreServer, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this machine does not let us mount a file system")
    try:
        supply = new_supply(folder=disk)
        publish_sample_variant(platform.path, "large:int8", weights=WEIGHTS)
        with hold(supply):
            with pytest.raises(DiskFull, match=r"no room for large:int8 .* in use"):
                hold(supply, "large:int8")
            assert (names(disk), left_overs(disk)) == ([VARIANT], [])
        # Nobody uses the other one any more.
        hold(supply, "large:int8").close()
        assert names(disk) == ["large:int8"]
        # There was room when it began.
        supply.files.delete("large", "int8")
        server.hold_after_bytes = 2 * MIB
        with ThreadPoolExecutor(1) as thread:
            fetched = thread.submit(hold, supply)
            assert server.held.wait(10)
            with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
                while filler.write(bytes(MIB // 8)):
                    pass
            server.go_on.set()
            with pytest.raises(DiskFull, match=r"became full while demo:int8 was fetched"):
                fetched.result(20)
        assert (names(disk), left_overs(disk)) == ([], [])
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_what_was_not_used_for_longest_makes_room(new_supply: Supply, platform: ModelStore, cache: Path) -> None:
    for number in range(4):
        publish_sample_variant(platform.path, f"m{number}:int8", weights=WEIGHTS[:MIB])
    size_bytes = sum(file.size_bytes for file in platform.manifest("m0", "int8").files.values())
    supply = new_supply(3 * size_bytes + MIB // 2)
    used = hold(supply, "m0:int8")
    for variant in ("m1:int8", "m2:int8", "m1:int8"):
        hold(supply, variant).close()
    hold(supply, "m3:int8").close()
    assert names(cache) == ["m0:int8", "m1:int8", "m3:int8"]
    with hold(supply, "m1:int8", "m3:int8"), pytest.raises(DiskFull, match=r"OVCHAT_STORE_CACHE_BYTES"):
        hold(supply, "m2:int8")
    assert names(cache) == ["m0:int8", "m1:int8", "m3:int8"]
    used.close()
    with pytest.raises(LoadFailed, match=r"demo:int8 is .* GB and this worker's cache may have"):
        hold(new_supply(MIB))


def test_what_is_deleted_in_the_store_is_dropped_once_nobody_uses_it(
    new_supply: Supply, platform: ModelStore, cache: Path
) -> None:
    supply = new_supply()
    with hold(supply):
        platform.delete("demo", "int8")
        with pytest.raises(VariantNotPublished):
            supply.published.manifest("demo", "int8")
        assert names(cache) == [VARIANT]
    supply.sweep()
    assert names(cache) == []


def test_a_variant_that_was_converted_anew_is_fetched_anew(
    new_supply: Supply, platform: ModelStore, cache: Path
) -> None:
    hold(new_supply()).close()
    platform.delete("demo", "int8")
    publish_sample_variant(platform.path, weights=WEIGHTS[::-1], created_at="2026-02-02T00:00:00Z")
    with hold(new_supply()):
        assert ModelStore(cache).manifest("demo", "int8") == platform.manifest("demo", "int8")
        assert (cache / BIN).read_bytes() == WEIGHTS[::-1]


def test_many_who_want_the_same_fetch_it_once(new_supply: Supply, server: StoreServer, cache: Path) -> None:
    """The accident: two write one file at a time, and the one that is ready first removes what the other writes."""
    server.hold_after_bytes = MIB
    with ThreadPoolExecutor(4) as threads:
        holds = [threads.submit(hold, new_supply()) for _ in range(4)]
        assert server.held.wait(10)
        assert [one.done() for one in holds] == [False] * 4
        server.go_on.set()
        held = [one.result(20) for one in holds]
    assert server.files().count(BIN) == 1
    ModelStore(cache).check("demo", "int8", hashes=True)
    for one in held:
        one.close()


def settings_of(server: StoreServer, cache: Path, **more: object) -> dict[str, object]:
    return {"store_url": server.url, "store_key": KEY, "model_store": cache, **more}


async def test_a_worker_that_is_killed_in_mid_fetch_goes_on_and_serves(
    start_worker: StartWorker, client: WorkerClient, server: StoreServer, cache: Path
) -> None:
    server.hold_after_bytes = 2 * MIB
    worker = start_worker(**settings_of(server, cache, preload_models=VARIANT))
    await client.until(
        lambda workers: any(0.3 < (replica.load_progress or 0) < 0.8 for w in workers for replica in w.info.replicas)
    )
    assert names(cache) == []
    worker.kill()
    server.hold_after_bytes = None
    server.go_on.set()
    start_worker(**settings_of(server, cache, preload_models=VARIANT))
    await client.until(lambda workers: any(VARIANT in worker.free_slots for worker in workers))
    assert [wanted for path, wanted in server.requests if path == BIN] == ["", f"bytes={2 * MIB}-"]
    entries = await client.ended(await client.ask(params=LONG.model_copy(update={"max_new_tokens": 5})))
    assert_well_formed(entries)
    ModelStore(cache).check("demo", "int8", hashes=True)


async def test_two_workers_of_a_host_fetch_once(
    start_worker: StartWorker, client: WorkerClient, server: StoreServer, cache: Path
) -> None:
    for _ in range(2):
        start_worker(**settings_of(server, cache, preload_models=VARIANT))
    await client.until(lambda workers: sum(VARIANT in worker.free_slots for worker in workers) == 2)
    assert server.files().count(BIN) == 1


async def test_a_wrong_key_says_what_to_set(
    start_worker: StartWorker, client: WorkerClient, server: StoreServer, cache: Path
) -> None:
    start_worker(**settings_of(server, cache, store_key="wrong"))
    await client.until(bool)
    [worker] = await client.registry.workers()
    await client.registry.send(worker.info.worker_id, LoadVariant(variant=VARIANT))
    error = await client.load_failure()
    assert "does not take this worker's key. Set OVCHAT_STORE_KEY" in error.message
    assert server.requests == []


def test_a_worker_with_an_address_and_no_key_does_not_start(
    start_worker: StartWorker, server: StoreServer, cache: Path
) -> None:
    worker = start_worker(store_url=server.url, model_store=cache)
    assert worker.process is not None
    assert worker.process.wait(20) == 2
    assert "OVCHAT_STORE_URL needs OVCHAT_STORE_KEY" in worker.output
