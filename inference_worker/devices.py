"""The OpenVINO devices of this host. `python -m inference_worker.devices` prints them as JSON.

They are looked up in a child process, so that the agent itself never loads OpenVINO's plugins and their threads.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field

import orjson

from shared.errors import DeviceNotFound

_LOOKUP_LIMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Devices:
    """`names` has the full name of each device by its short one; `versions` those of the runtime."""

    names: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)

    def full_name(self, device: str) -> str:
        """The full name of a device, of the parts for `AUTO:GPU,CPU` and the like.

        Raises:
            DeviceNotFound: the host does not have it, or a part of it.
        """
        kind, _, parts = device.partition(":")
        if kind in ("AUTO", "HETERO", "MULTI", "BATCH"):
            wanted = [part.strip().lstrip("-") for part in parts.split(",") if part.strip()]
            return f"{kind}: " + (", ".join(self.full_name(part) for part in wanted) or "any device")
        # OpenVINO calls a single GPU "GPU" and also answers to "GPU.0"; of several the first is "GPU".
        for name in (device, device.removesuffix(".0"), f"{device}.0"):
            if name in self.names:
                return self.names[name]
        present = ", ".join(self.names) or "none"
        raise DeviceNotFound(
            f"OpenVINO sees no device {device} on this host; present: {present}. "
            "Check the driver, or that the device is passed into the container, or set OVCHAT_DEVICE.",
            param="device",
        )


async def discover_devices() -> Devices:
    """Ask OpenVINO in a child process. Raises DeviceNotFound when the runtime cannot be loaded."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "inference_worker.devices",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_LOOKUP_LIMIT_SECONDS):
            output, errors = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        raise DeviceNotFound(f"OpenVINO did not list its devices within {_LOOKUP_LIMIT_SECONDS:g} s.") from None
    if child.returncode != 0:
        last_line = (errors.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise DeviceNotFound(f"OpenVINO could not list its devices: {last_line}")
    found = orjson.loads(output)
    return Devices(found["names"], found["versions"])


def main() -> None:
    """Print what this host has."""
    import openvino

    core = openvino.Core()
    names = {device: str(core.get_property(device, "FULL_DEVICE_NAME")) for device in core.available_devices}
    versions = {"openvino": str(openvino.__version__)}
    sys.stdout.buffer.write(orjson.dumps({"names": names, "versions": versions}))


if __name__ == "__main__":
    main()
