"""Keeps the services running: restarts what dies, and stops all of them in the reverse order of their start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from deploy.local.log_files import LONGEST_BYTES, shorten
from deploy.local.service import Service, ServiceCommand
from deploy.local.terminal import say, warn
from shared.errors import Unavailable

Result = TypeVar("Result")


@dataclass(frozen=True)
class SupervisionRule:
    """How a service that dies is started again, and how long its log may get.

    Attributes:
        first_pause_seconds: before the first restart; each further one waits twice as long.
        longest_pause_seconds: where the doubling ends.
        steady_seconds: a service that ran so long starts again with the first pause.
        tries_before_ready: deaths while the platform comes up after which it is given up.
        log_look_seconds: between looks at the logs' lengths.
        longest_log_bytes: a log that is longer is moved aside.
    """

    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0
    steady_seconds: float = 60.0
    tries_before_ready: int = 2
    log_look_seconds: float = 60.0
    longest_log_bytes: int = LONGEST_BYTES


class Supervisor:
    """``async with Supervisor() as supervisor``; leaving it stops everything that was started in it."""

    def __init__(self, rule: SupervisionRule | None = None) -> None:
        self.services: list[Service] = []
        self._rule = rule or SupervisionRule()
        self._watches: list[asyncio.Task[None]] = []
        self._waiting: set[asyncio.Future[Any]] = set()
        self._failure: Unavailable | None = None
        self._ready = False
        self._killed = False

    async def __aenter__(self) -> Self:
        self._watches.append(asyncio.create_task(self._keep_logs_short()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second Ctrl-C must not leave a process behind, so the stopping cannot be cancelled; kill() hastens it.
        await asyncio.shield(asyncio.create_task(self._stop()))

    async def start(self, command: ServiceCommand) -> Service:
        """Start a service and watch over it.

        Raises:
            Unavailable: it cannot be started at all.
        """
        service = Service(command)
        try:
            await service.start()
        except OSError as error:
            raise Unavailable(f"{command.name} cannot be started: {error}") from error
        self.services.append(service)
        self._watches.append(asyncio.create_task(self._watch(service)))
        return service

    async def until(self, wanted: Awaitable[Result]) -> Result:
        """Wait for something that the services bring about.

        Raises:
            Unavailable: a service died too often meanwhile, or cannot be started.
        """
        waiting = asyncio.ensure_future(wanted)
        self._waiting.add(waiting)
        try:
            if self._failure is None:
                return await waiting
        except asyncio.CancelledError:
            if self._failure is None:
                raise
        finally:
            waiting.cancel()
            self._waiting.discard(waiting)
        raise self._failure

    def platform_is_ready(self) -> None:
        """From here on a service that dies is always started again."""
        self._ready = True

    def kill(self) -> None:
        """End every process at once."""
        self._killed = True
        for service in self.services:
            service.kill()

    async def _watch(self, service: Service) -> None:
        loop = asyncio.get_running_loop()
        pause_seconds, deaths = self._rule.first_pause_seconds, 0
        name = service.command.name
        while True:
            began = loop.time()
            how = await service.wait()
            deaths += 1
            if loop.time() - began > self._rule.steady_seconds:
                pause_seconds, deaths = self._rule.first_pause_seconds, 1
            said = service.last_words()
            warn(f"{name} {how}" + (f": {said}" if said else "") + f"  (log: {service.command.log})")
            if not self._ready and deaths >= self._rule.tries_before_ready:
                self._give_up(f"{name} does not start; its log is {service.command.log}")
                return
            warn(f"{name} is started again in {pause_seconds:g} s")
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, self._rule.longest_pause_seconds)
            try:
                await service.start()
            except OSError as error:
                self._give_up(f"{name} cannot be started: {error}")
                return

    async def _keep_logs_short(self) -> None:
        while True:
            await asyncio.sleep(self._rule.log_look_seconds)
            for service in self.services:
                try:
                    await asyncio.to_thread(shorten, service.command.log, longest_bytes=self._rule.longest_log_bytes)
                except OSError as error:
                    warn(f"{service.command.log} cannot be moved aside: {error}")

    def _give_up(self, message: str) -> None:
        self._failure = Unavailable(message)
        for waiting in self._waiting:
            waiting.cancel()

    async def _stop(self) -> None:
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        for service in reversed(self.services):
            in_time = await service.stop()
            if in_time or self._killed:
                say(f"✔ {service.command.name} stopped")
            else:
                warn(f"{service.command.name} did not stop within {service.command.grace_seconds:g} s and was killed")
