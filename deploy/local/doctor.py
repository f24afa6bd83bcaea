"""What this machine has and lacks for the platform."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from deploy.local.ports import require_free_port
from deploy.local.redis_server import find_redis_server
from gateway.client.address import GatewayAddress, address_of
from gateway.client.http_client import HttpClient
from shared.catalog.stacks import load_stacks
from shared.errors import PlatformError
from shared.settings import ClientSettings, ConverterSettings, GatewaySettings, refuse_unknown_names

_WANTED_DISK_BYTES = 10_000_000_000
_WANTED_MEMORY_BYTES = 4_000_000_000
_INSTALL = "run `make env`, or install ovchat with the extra [{extra}]"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``missing`` keeps `ovchat up` from working, ``warning`` does not."""

    subject: str
    state: Literal["ok", "warning", "missing"]
    seen: str
    remedy: str | None = None


def examine() -> list[Finding]:
    """Look at everything; no finding keeps the next from being made."""
    settings_finding = _settings_names()
    if settings_finding.state == "missing":
        return [_python(), settings_finding]
    settings = GatewaySettings()
    checks: tuple[Callable[[], Finding], ...] = (
        _python,
        lambda: settings_finding,
        _redis,
        lambda: _package("gateway", "fastapi", "gateway"),
        lambda: _package("converter", "torch", "converter"),
        lambda: _package("converter", "optimum-intel", "converter"),
        _version_stacks,
        _devices,
        _processor,
        _memory,
        lambda: _data_folder(settings.data_dir),
        lambda: _disk(settings.store_path),
        lambda: _port(settings.host, settings.port),
    )
    return [check() for check in checks]


def _python() -> Finding:
    seen = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return Finding("Python", "ok", seen)
    return Finding("Python", "missing", seen, "Python 3.11 or 3.12 is needed")


def _settings_names() -> Finding:
    try:
        refuse_unknown_names()
        GatewaySettings()
    except PlatformError as error:
        return Finding("settings", "missing", error.message)
    except ValueError as error:
        return Finding("settings", "missing", str(error), "the README lists the settings")
    count = sum(name.startswith("OVCHAT_") for name in os.environ)
    return Finding("settings", "ok", f"{count} set in the environment")


def _redis() -> Finding:
    if os.environ.get("OVCHAT_REDIS_URL"):
        return Finding("Redis", "ok", "OVCHAT_REDIS_URL is set, no embedded one is needed")
    try:
        return Finding("Redis", "ok", str(find_redis_server()))
    except PlatformError as error:
        return Finding("Redis", "missing", "no redis-server", error.message)


def _package(service: str, package: str, extra: str) -> Finding:
    try:
        return Finding(f"{service}: {package}", "ok", metadata.version(package))
    except metadata.PackageNotFoundError:
        return Finding(f"{service}: {package}", "missing", "not installed", _INSTALL.format(extra=extra))


def _version_stacks() -> Finding:
    from converter_worker.version_stacks import VersionStacks

    installed = VersionStacks(ConverterSettings().stacks_path).installed()
    names = [stack.name for stack in load_stacks().stacks]
    seen = ", ".join(name for name in names if name in installed)
    if missing := [name for name in names if name not in installed]:
        remedy = f"models that need {' or '.join(missing)} are refused; deploy/bin/stacks installs all"
        return Finding("converter: version stacks", "warning", seen, remedy)
    return Finding("converter: version stacks", "ok", seen)


def _devices() -> Finding:
    try:
        from openvino import Core

        core = Core()
        names = [f"{device} ({core.get_property(device, 'FULL_DEVICE_NAME')})" for device in core.available_devices]
    except ImportError:
        return Finding("OpenVINO", "missing", "not installed", _INSTALL.format(extra="inference"))
    except RuntimeError as error:
        return Finding("OpenVINO", "missing", str(error), "the OpenVINO runtime does not start on this machine")
    return Finding("OpenVINO devices", "ok" if names else "missing", ", ".join(names) or "none")


def _processor() -> Finding:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return Finding("processor", "warning", "unknown: /proc/cpuinfo cannot be read")
    flags = next((set(line.split()) for line in text.splitlines() if line.startswith(("flags", "Features"))), set())
    known = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_tile", "asimd") if name in flags]
    seen = f"{os.cpu_count()} threads, {' '.join(known) or 'no vector extension that is known'}"
    if known:
        return Finding("processor", "ok", seen)
    return Finding("processor", "warning", seen, "without AVX2 answers are slow")


def _memory() -> Finding:
    available = _available_memory_bytes()
    if available is None:
        return Finding("memory", "warning", "unknown")
    seen = f"{available / 1e9:.1f} GB available"
    if available >= _WANTED_MEMORY_BYTES:
        return Finding("memory", "ok", seen)
    return Finding("memory", "warning", seen, "converting the demo model takes about 2 GB, larger models more")


def _available_memory_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if kilobytes is None else int(kilobytes) * 1024


def _data_folder(folder: Path) -> Finding:
    existing = _nearest_folder(folder)
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding("data folder", "missing", f"{existing} cannot be written", "OVCHAT_DATA_DIR names another")
    note = "" if folder.exists() else " (made at first start)"
    return Finding("data folder", "ok", f"{folder.absolute()}{note}")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(_nearest_folder(folder)).free
    if free >= _WANTED_DISK_BYTES:
        return Finding("disk", "ok", f"{free / 1e9:.0f} GB free")
    return Finding(
        "disk",
        "warning",
        f"{free / 1e9:.1f} GB free",
        "a conversion keeps the download and an fp16 IR",
    )


def _port(host: str, port: int) -> Finding:
    if port == 0:
        return Finding("port", "ok", "a free one is taken")
    try:
        require_free_port(host, port)
    except PlatformError as error:
        address = address_of(ClientSettings(host=host, port=port).model_copy(update={"url": None}))
        if asyncio.run(_is_gateway(address)):
            return Finding("port", "ok", f"a gateway of ovchat runs at {address.url}")
        return Finding("port", "warning", error.message)
    return Finding("port", "ok", f"{port} on {host} is free")


async def _is_gateway(address: GatewayAddress) -> bool:
    async with HttpClient(address.url, "", timeout_seconds=2.0) as client:
        return await client.is_alive()


def _nearest_folder(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
