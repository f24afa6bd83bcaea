"""``ovchat bench``: load on the gateway, and its figures."""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client.exits import FAILURE, INTERRUPTED, USAGE, fail, told_failures

if TYPE_CHECKING:
    from gateway.client.bench.comparison import Comparison
    from gateway.client.bench.load import Load
    from gateway.client.bench.peer_process import PeerProcess
    from gateway.client.bench.plan import BenchPlan
    from gateway.client.bench.report import BenchReport


class Api(StrEnum):
    """Which interface is asked."""

    WS = "ws"
    OPENAI = "openai"


def bench(
    model: Annotated[str, typer.Argument(help="Model, or model:variant, as `ovchat models` lists it.")],
    api: Annotated[Api, typer.Option(help="WebSocket, or OpenAI's interface with server-sent events.")] = Api.WS,
    concurrency: Annotated[
        str | None, typer.Option(help="Closed loop: clients that wait for their answers; a step each. Default 1,8,32.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="Open loop instead: requests a second that wait for nobody; 4,8 is two steps.")
    ] = None,
    requests: Annotated[
        int | None, typer.Option(min=1, help="Requests of a step. Default 4 for each client, 10 s of an open loop.")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds in which a step sends; what is open then is waited for.")
    ] = None,
    prompt_tokens: Annotated[int | None, typer.Option(min=1, help="About how long the made-up prompts are.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="Ask the lines of this file instead.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 64,
    warmup: Annotated[int, typer.Option(min=0, help="Requests before the first step that do not count.")] = 1,
    sockets: Annotated[int, typer.Option(min=1, help="Open loop over WebSocket: sockets that share it.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the open loop's arrivals.")] = 0,
    compare: Annotated[
        str | None, typer.Option(help="Also run the prompts through optimum, in-process or both, on this machine.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="With --compare: rounds, the platform and each other in turn.")
    ] = 3,
    store: Annotated[
        Path | None, typer.Option(help="With --compare: the model store; OVCHAT_MODEL_STORE where not given.")
    ] = None,
    device: Annotated[str, typer.Option(help="With --compare: the device of what is compared.")] = "CPU",
    json_: Annotated[
        Path | None, typer.Option("--json", help="Write the report here as JSON, too; - prints it instead.")
    ] = None,
) -> None:
    """Measure how the platform answers under load: times to the first token and between tokens, tokens per second.

    Latencies count from when a request was to be sent. Ctrl-C ends the measurement and prints what it has.
    """
    with told_failures():
        from gateway.client.bench.load_shapes import Bound
        from gateway.client.bench.plan import BenchPlan, new_run, parsed_numbers, parsed_peers
        from shared.errors import InvalidRequest

        for first, second, clash in (
            ("--rate", "--concurrency", rate is not None and concurrency is not None),
            ("--rate", "--compare", rate is not None and compare is not None),
            ("--requests", "--compare", requests is not None and compare is not None),
            ("--duration", "--compare", duration is not None and compare is not None),
            ("--prompts", "--prompt-tokens", prompts is not None and prompt_tokens is not None),
        ):
            if clash:
                fail(f"{first} and {second} do not go together", code=USAGE)
        try:
            clients = parsed_numbers(concurrency or "1,8,32", "--concurrency")
            if any(count != int(count) for count in clients):
                fail("--concurrency counts clients: whole numbers", code=USAGE)
            plan = BenchPlan(
                model=model,
                api=api.value,
                concurrency=tuple(int(count) for count in clients),
                rates=parsed_numbers(rate, "--rate") if rate is not None else (),
                bound=Bound(requests, duration),
                sockets=sockets,
                max_new_tokens=max_new_tokens,
                warmup=warmup,
                prompt_tokens=prompt_tokens,
                prompts_file=prompts,
                seed=seed,
                peers=parsed_peers(compare) if compare is not None else (),
                rounds=rounds,
                run=new_run(),
            )
        except InvalidRequest as error:
            fail(error.message, code=USAGE)
        raise typer.Exit(asyncio.run(_bench(plan, json_, store, device)))


async def _bench(plan: BenchPlan, json_file: Path | None, store: Path | None, device: str) -> int:
    from gateway.client.address import address_of, key_of
    from gateway.client.bench.driver import Driver, Wish
    from gateway.client.bench.load import Load
    from gateway.client.bench.openai_driver import OpenAIDriver
    from gateway.client.bench.websocket_driver import WebSocketDriver
    from gateway.client.session import client_settings

    settings = client_settings()
    store = store or settings.store_path
    url, key = address_of(settings).url, key_of(settings)
    driver: Driver = WebSocketDriver(url, key) if plan.api == "ws" else OpenAIDriver(url, key)
    load = Load(driver, plan.prompts(), Wish(plan.model, plan.max_new_tokens))
    comparisons: list[Comparison] = []
    interrupted = False
    try:
        try:
            if plan.peers:
                await _compare(plan, load, comparisons, peers=await _peers(plan, url, key, store, device))
            else:
                await _measure(plan, load)
        finally:
            await driver.close()
    except asyncio.CancelledError:
        # Ctrl-C arrives as a cancellation, which the runner turns into KeyboardInterrupt unless it is handled here.
        interrupted = True
    report = _report(plan, url, load, comparisons, interrupted=interrupted)
    _print(report, json_file)
    await _forget(url, key, driver.chat_ids)
    if interrupted:
        return INTERRUPTED
    return 0 if any(step.finished for step in report.steps) else FAILURE


async def _measure(plan: BenchPlan, load: Load) -> None:
    await _prepare(plan, load)
    for step in plan.steps():
        await load.run(step)


async def _prepare(plan: BenchPlan, load: Load) -> None:
    if plan.prompt_tokens is not None:
        await load.lengthen_prompts(plan.run, plan.prompt_tokens)
    if plan.warmup:
        await load.warm_up(plan.warmup)


async def _peers(plan: BenchPlan, url: str, key: str, store: Path, device: str) -> list[PeerProcess]:
    from gateway.client.bench.peer_process import PeerProcess
    from gateway.client.http_client import HttpClient

    model, _, variant = plan.model.partition(":")
    if not variant:
        async with HttpClient(url, key) as client:
            found = {record.model: record.default_variant for record in await client.models()}
        # Of a model that is not there the load says so itself.
        variant = found.get(model) or "int4"
    return [PeerProcess(name, store=store, model=model, variant=variant, device=device) for name in plan.peers]


async def _compare(plan: BenchPlan, load: Load, comparisons: list[Comparison], *, peers: list[PeerProcess]) -> None:
    from contextlib import AsyncExitStack

    from gateway.client.bench.comparison import Comparison

    async with AsyncExitStack() as stack:
        for peer in peers:
            print(f"loading {peer.name}", file=sys.stderr, flush=True)
            await stack.enter_async_context(peer)
        await _prepare(plan, load)
        steps = plan.steps()
        for peer in peers:
            warmers = [load.prompts.question(number) for number in range(steps[0].shape.places)]
            await peer.run(warmers, max_new_tokens=2)
        for step in steps:
            comparisons.append(Comparison(step, peers))
            await comparisons[-1].run(load, rounds=plan.rounds, max_new_tokens=plan.max_new_tokens)


def _report(plan: BenchPlan, url: str, load: Load, comparisons: list[Comparison], *, interrupted: bool) -> BenchReport:
    from datetime import UTC, datetime
    from importlib.metadata import version

    from gateway.client.bench.report import BenchReport

    return BenchReport(
        made_at=datetime.now(UTC),
        ovchat_version=version("ovchat"),
        url=url,
        model=plan.model,
        api=plan.api,
        max_new_tokens=plan.max_new_tokens,
        prompts=plan.prompts_label(),
        interrupted=interrupted,
        steps=load.reports(),
        comparisons=tuple(comparison.report() for comparison in comparisons if comparison.served),
    )


def _print(report: BenchReport, json_file: Path | None) -> None:
    from gateway.client.bench.tables import report_lines

    if json_file == Path("-"):
        print(report.model_dump_json(indent=1))
        return
    print("\n".join(report_lines(report)), flush=True)
    if json_file is not None:
        try:
            json_file.write_text(report.model_dump_json(indent=1) + "\n", "utf-8")
        except OSError as error:
            fail(f"{json_file} cannot be written: {error.strerror or error}")
        print(f"written to {json_file}", file=sys.stderr)


async def _forget(url: str, key: str, chat_ids: list[str]) -> None:
    """Delete the chats that the load has made in this user's list."""
    from gateway.client.http_client import HttpClient
    from shared.errors import PlatformError

    at_once = asyncio.Semaphore(8)
    async with HttpClient(url, key) as client:

        async def forget(chat_id: str) -> bool:
            async with at_once:
                try:
                    await client.delete_chat(chat_id)
                except PlatformError:
                    return False
                return True

        left = (await asyncio.gather(*(forget(chat_id) for chat_id in chat_ids))).count(False)
    if left:
        print(f"ovchat: {left} chats of this load could not be deleted", file=sys.stderr)
