"""More workers and gateways on one host."""

from __future__ import annotations

import asyncio
import time

from tests.compose.compose_project import ComposeProject
from tests.compose.platform_client import MODEL, PlatformClient


def test_three_workers_hold_their_replicas_to_cores_of_their_own_where_there_are_enough(
    scaled: ComposeProject, client: PlatformClient
) -> None:
    workers = client.get("/api/v1/workers")["data"]
    assert len({worker["worker_id"] for worker in workers}) == 3
    assert len({worker["node"] for worker in workers}) == 3
    assert {worker["host_id"] for worker in workers} == {"compose"}, "they share one machine's memory and cores"
    held = [core for worker in workers for replica in worker["replicas"] for core in replica["cores"]]
    assert len(held) == len(set(held)), "no two replicas are held to the same core"
    # The newest one knew all of them when it loaded.
    cores, newest = len(workers[0]["cores"]), max(workers, key=lambda worker: worker["started_ms"])
    [replica] = newest["replicas"]
    assert int(replica["engine"]["INFERENCE_NUM_THREADS"]["value"]) in {max(1, cores // 3), cores // 3 + 1}


async def test_workers_share_the_chats(scaled: ComposeProject, client: PlatformClient) -> None:
    before = client.tokens_by_worker()
    questions = [f"Write two sentences about the number {number}." for number in range(12)]
    began = time.monotonic()
    answers = await asyncio.gather(
        *(client.chat(MODEL, text, request_id=f"compose-{number}") for number, text in enumerate(questions))
    )
    scaled.durations["12 chats on three workers"] = time.monotonic() - began
    assert all(answer.seqs == list(range(1, len(answer.seqs) + 1)) for answer in answers)
    assert {answer.worker_id for answer in answers} == set(before)

    expected = dict.fromkeys(before, 0)
    for answer in answers:
        expected[answer.worker_id] += answer.completion_tokens
    # The registry hears of tokens with the next heartbeat.
    deadline = time.monotonic() + 10
    while any((after := client.tokens_by_worker())[worker] < before[worker] + expected[worker] for worker in before):
        assert time.monotonic() < deadline, (before, expected, after)
        await asyncio.sleep(0.5)


async def test_two_gateways_share_requests_and_sockets(scaled: ComposeProject, client: PlatformClient) -> None:
    before = len(scaled.gateways_asked())
    # The proxy looks for gateways every 2 s.
    deadline = time.monotonic() + 30
    while len(set(scaled.gateways_asked()[before:])) < 2:
        assert time.monotonic() < deadline, scaled.gateways_asked()
        client.get("/api/v1/models")
    before = len(scaled.gateways_asked("/api/v1/ws"))
    answers = await asyncio.gather(
        *(client.chat(MODEL, f"Count to {number}.", request_id=f"two-gateways-{number}") for number in range(12))
    )
    assert all(answer.seqs == list(range(1, len(answer.seqs) + 1)) for answer in answers)
    assert len(set(scaled.gateways_asked("/api/v1/ws")[before:])) == 2

    # One is gone without a word: what is asked next finds the other.
    scaled.kill(scaled.containers("gateway")[-1])
    assert {client.status_without_key("/readyz") for _ in range(10)} == {200}
    assert "Paris" in (await client.chat(MODEL, "What is the capital of France?", request_id="one-gateway")).text
    scaled.bring_up()
