"""``ovchat tune``: find what makes a variant fastest on this machine."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client.exits import INTERRUPTED, USAGE, fail, told_failures

if TYPE_CHECKING:
    from gateway.client.tuning.session import TuningPlan, TuningSession
    from shared.schemas.engine_config import TuningMode


class Mode(StrEnum):
    """What is to be fast."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    BOTH = "both"


def tune(
    model: Annotated[str, typer.Argument(help="Model, or model:variant, as `ovchat models` lists it.")],
    device: Annotated[str, typer.Option(help="OpenVINO device, as of the workers: CPU, GPU, GPU.1.")] = "CPU",
    mode: Annotated[Mode, typer.Option(help="Fast for one chat, for many at once, or the best of each.")] = Mode.BOTH,
    seconds: Annotated[
        float, typer.Option(min=1, help="About how long; what is not measured by then is left out.")
    ] = 900,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of a candidate, each in turn with the default.")] = 3,
    only: Annotated[
        str | None, typer.Option(help="Comma-separated properties; all that are worth it if not given.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="The model store on this machine; OVCHAT_MODEL_STORE where not given.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Store the best for replicas on such hosts.")] = True,
) -> None:
    """Measure plugin properties and step sizes for a variant on this machine, and keep what is best.

    Two copies of the model are loaded at a time. Nothing else should run meanwhile, no worker either. Replicas on hosts
    of this kind use the best from their next load on. Ctrl-C prints what was measured and keeps nothing.
    """
    with told_failures():
        from gateway.client.tuning.candidates import TUNABLE

        names = tuple(name.strip() for name in (only or "").split(",") if name.strip())
        if unknown := sorted(set(names) - set(TUNABLE)):
            fail(f"--only: {', '.join(unknown)} cannot be tuned; these can: {', '.join(TUNABLE)}", code=USAGE)
        raise typer.Exit(asyncio.run(_tune(model, device, _modes(mode), seconds, rounds, names, store, keep=keep)))


def _modes(mode: Mode) -> tuple[TuningMode, ...]:
    match mode:
        case Mode.LATENCY:
            return ("latency",)
        case Mode.THROUGHPUT:
            return ("throughput",)
    return ("latency", "throughput")


async def _tune(
    model: str,
    device: str,
    modes: tuple[TuningMode, ...],
    seconds: float,
    rounds: int,
    only: tuple[str, ...],
    store: Path | None,
    *,
    keep: bool,
) -> int:
    from gateway.client.session import client_settings
    from gateway.client.tuning.session import TuningPlan, TuningSession
    from gateway.client.tuning.table import table_lines

    store = store or client_settings().store_path
    plan = TuningPlan(await _variant(model), device, modes, seconds, rounds, only, store.absolute())
    session = TuningSession(plan)
    interrupted = False
    try:
        await session.run()
    except asyncio.CancelledError:
        # Ctrl-C arrives as a cancellation, which the runner turns into KeyboardInterrupt unless it is handled here.
        interrupted = True
    print("\n".join(table_lines(session)), flush=True)
    if interrupted:
        print("broken off: nothing is kept")
        return INTERRUPTED
    if keep and session.default_rounds:
        await _keep(plan, session)
    return 0


async def _variant(model: str) -> str:
    """Return the published variant that is meant; asking for it also finds out whether this key may keep a tuning."""
    from gateway.client.session import http_client
    from shared.errors import ModelNotFound

    name, _, variant = model.partition(":")
    async with http_client() as client:
        if not variant:
            found = {record.model: record.default_variant for record in await client.models()}
            variant = found.get(name) or ""
            if not variant:
                raise ModelNotFound(f"There is no published model {name!r}; published: {', '.join(found) or 'none'}.")
        await client.engine(name, variant)
    return f"{name}:{variant}"


async def _keep(plan: TuningPlan, session: TuningSession) -> None:
    from datetime import UTC, datetime

    from gateway.client.session import http_client
    from shared.schemas.engine_config import EngineConfig, Tuning

    assert session.facts is not None
    model, _, variant = plan.variant.partition(":")
    async with http_client() as client:
        for mode in plan.modes:
            best = session.best(mode)
            tuning = Tuning(
                device=plan.device,
                host_kind=session.facts.host_kind,
                mode=mode,
                config=best.candidate.config if best is not None else EngineConfig(),
                figures=best.figures() if best is not None else None,
                measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            await client.store_tuning(model, variant, tuning)
            label = best.candidate.label if best is not None else "the default"
            print(f"kept for {mode} on {plan.device}, {tuning.host_kind}: {label}")
    print(f"replicas of {plan.variant} use it from their next load on")
