"""``ovchat up``: Redis, gateway, converter and inference worker as processes of this one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from deploy.local.demo_conversion import convert_demo_model
from deploy.local.instance_lock import InstanceLock
from deploy.local.log_files import rotate
from deploy.local.ports import free_port, require_free_port
from deploy.local.redis_server import embedded_redis, find_redis_server, until_redis_answers, without_password
from deploy.local.service import ServiceCommand
from deploy.local.supervision import Supervisor
from deploy.local.terminal import Step, say, warn
from gateway.client.address import GatewayAddress, address_of, key_of
from gateway.client.http_client import HttpClient
from gateway.client.invocation import ovchat
from shared.catalog import DEMO_MODEL
from shared.errors import RedisUnavailable
from shared.redis_trust import check_trust
from shared.settings import (
    ClientSettings,
    ConverterSettings,
    GatewaySettings,
    InferenceSettings,
    LauncherSettings,
    invalid_setting,
    refuse_unknown_names,
)

_REDIS_LIMIT_SECONDS = 30.0
_POLL_SECONDS = 0.1
#: The services' own graces are for hosts with users on them; whoever presses Ctrl-C in a terminal waits.
_TERMINAL_GRACES = {"OVCHAT_DRAIN_GRACE_SECONDS": "3", "OVCHAT_SHUTDOWN_GRACE_SECONDS": "3"}


@dataclass(frozen=True)
class Plan:
    """What is started, all choices made."""

    data_dir: Path
    host: str
    port: int
    redis_url: str | None
    demo: bool

    @property
    def logs(self) -> Path:
        """Folder of the services' logs."""
        return self.data_dir / "logs"


def launch() -> int:
    """Run the platform until it is told to stop; return the exit code.

    Raises:
        PlatformError: something is missing or taken; nothing was started, or all of it is stopped again.
    """
    refuse_unknown_names()
    gateway, launcher = _settings()
    plan = Plan(
        # The services get it absolute, whatever folder they look at it from.
        data_dir=launcher.data_dir.absolute(),
        host=gateway.host,
        port=gateway.port or free_port(),
        redis_url=launcher.state_url if "redis_url" in launcher.model_fields_set else None,
        demo=launcher.demo,
    )
    with InstanceLock(plan.data_dir):
        require_free_port(plan.host, plan.port)
        if plan.redis_url is None:
            find_redis_server()
        else:
            check_trust(launcher)
        return asyncio.run(_run(plan))


def _settings() -> tuple[GatewaySettings, LauncherSettings]:
    try:
        # Read here only so that a bad value of theirs is said before anything starts.
        ConverterSettings(), InferenceSettings()
        return GatewaySettings(), LauncherSettings()
    except ValidationError as error:
        raise invalid_setting(error) from error


async def _run(plan: Plan) -> int:
    loop = asyncio.get_running_loop()
    async with Supervisor() as supervisor:
        serving = asyncio.create_task(_serve(plan, supervisor))
        stops = 0

        def stop() -> None:
            nonlocal stops
            stops += 1
            if stops == 1:
                say("\nstopping; Ctrl-C again kills at once")
                serving.cancel()
            else:
                supervisor.kill()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop)
        try:
            await serving
        except asyncio.CancelledError:
            return 0
    return 0


async def _serve(plan: Plan, supervisor: Supervisor) -> None:
    began_ms = int(time.time() * 1000)
    environment = {**_TERMINAL_GRACES, **os.environ}
    environment |= {
        "OVCHAT_DATA_DIR": str(plan.data_dir),
        "OVCHAT_PORT": str(plan.port),
        "OVCHAT_REDIS_URL": await _redis(plan, supervisor),
        "PYTHONUNBUFFERED": "1",
    }
    if plan.demo:
        # The first question then need not wait for the model.
        environment.setdefault("OVCHAT_PRELOAD_MODELS", f"{DEMO_MODEL}:int4")
    for module in ("gateway", "converter_worker", "inference_worker"):
        await supervisor.start(_python_service(module, environment, plan))
    settings = ClientSettings(data_dir=plan.data_dir, host=plan.host, port=plan.port)
    address = address_of(settings.model_copy(update={"url": None}))
    with Step("gateway") as step:
        await supervisor.until(_until_ready(address))
        step.detail = address.url
    # The gateway makes the key at its first start, so it is there now.
    async with HttpClient(address.url, key_of(settings.model_copy(update={"api_key": None}))) as client:
        if plan.demo:
            await supervisor.until(convert_demo_model(client))
        with Step("inference worker") as step:
            # A worker of the last start that was killed stays registered until its heartbeat is missed for a while. The
            # embedded Redis has this machine's clock; another one is not compared with it.
            since_ms = 0 if plan.redis_url is not None else began_ms
            step.detail = await supervisor.until(_until_a_worker_is_ready(client, since_ms))
        supervisor.platform_is_ready()
        _welcome(plan, address, settings, [found.model for found in await client.models()])
    await supervisor.until(asyncio.Event().wait())


async def _redis(plan: Plan, supervisor: Supervisor) -> str:
    if plan.redis_url is not None:
        with Step("redis") as step:
            version = await until_redis_answers(plan.redis_url, limit_seconds=5.0)
            step.detail = f"{version} at {without_password(plan.redis_url)}"
        return plan.redis_url
    access = embedded_redis(plan.data_dir)
    rotate(access.command.log)
    with Step("redis") as step:
        await supervisor.start(access.command)
        try:
            version = await supervisor.until(until_redis_answers(access.url, limit_seconds=_REDIS_LIMIT_SECONDS))
        except RedisUnavailable as error:
            raise RedisUnavailable(f"the embedded Redis does not answer; its log is {access.command.log}") from error
        step.detail = f"{version}, embedded"
    return access.url


def _python_service(module: str, environment: dict[str, str], plan: Plan) -> ServiceCommand:
    log = plan.logs / f"{module}.log"
    rotate(log)
    # -P: a file in the current folder must not stand in for a module.
    arguments = (sys.executable, "-P", "-m", module)
    return ServiceCommand(name=module.replace("_", " "), arguments=arguments, environment=environment, log=log)


async def _until_ready(address: GatewayAddress) -> None:
    async with HttpClient(address.url, "", timeout_seconds=2.0) as client:
        while True:
            if await client.is_ready():
                return
            await asyncio.sleep(_POLL_SECONDS)


async def _until_a_worker_is_ready(client: HttpClient, since_ms: int) -> str:
    while True:
        for worker in await client.workers():
            if worker.state == "ready" and worker.started_ms >= since_ms:
                return " ".join(part for part in (worker.device, worker.device_name) if part)
        await asyncio.sleep(_POLL_SECONDS)


def _welcome(plan: Plan, address: GatewayAddress, settings: ClientSettings, models: list[str]) -> None:
    key_file = plan.data_dir / "admin.key"
    given = settings.admin_key is not None
    say(f"\nopen     {address.url}/")
    # A key in a log file is a key that was given away: only a terminal gets to see it.
    if given:
        say("key      the one of OVCHAT_ADMIN_KEY")
    elif sys.stdout.isatty():
        say(f"key      {key_of(settings.model_copy(update={'api_key': None}))}  (kept in {key_file})")
    else:
        say(f"key      in {key_file}")
    say(f"logs     {plan.logs}")
    model = DEMO_MODEL if DEMO_MODEL in models or not models else models[0]
    say("\nin another terminal, with the same OVCHAT_ settings:")
    if models:
        say(f'  {ovchat("chat")} {model} --message "What is the capital of France?"')
    else:
        warn("no model is published yet")
    say(f"  {ovchat('convert')} Qwen/Qwen2-0.5B-Instruct --variants int4,int8 --follow")
    say(f"  {ovchat('models')}\n")
    say("Ctrl-C stops everything")
