"""CPU time and resident memory of processes over time, read from outside."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from converter_worker.periodic_thread import PeriodicThread

_EVERY_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Reading:
    """One moment, in seconds since 1970: CPU seconds used so far and resident bytes, by what the processes are."""

    at: float
    cpu_seconds: dict[str, float]
    resident_bytes: dict[str, int]


class ProcessWatch(PeriodicThread):
    """Reads the processes of each role until the block ends; a role's children may be a role of their own."""

    def __init__(self, roles: Mapping[str, list[psutil.Process]]) -> None:
        super().__init__("process-watch", _EVERY_SECONDS, self._read)
        self._roles = roles
        self.readings: list[Reading] = []

    def cpu_seconds(self, role: str, start: float, end: float) -> float:
        """Return what a role used between two moments."""
        return self._cpu_at(role, end) - self._cpu_at(role, start)

    def resident_megabytes(self, role: str, at: float) -> float:
        """Return a role's resident memory at the reading next to a moment."""
        nearest = min(self.readings, key=lambda reading: abs(reading.at - at))
        return round(nearest.resident_bytes[role] / 1e6, 1)

    def _cpu_at(self, role: str, at: float) -> float:
        before = max((one for one in self.readings if one.at <= at), key=lambda one: one.at)
        after = min((one for one in self.readings if one.at > at), key=lambda one: one.at)
        share = (at - before.at) / (after.at - before.at)
        return before.cpu_seconds[role] * (1 - share) + after.cpu_seconds[role] * share

    def _read(self) -> bool:
        at = time.time()
        times = {role: [one.cpu_times() for one in processes] for role, processes in self._roles.items()}
        self.readings.append(
            Reading(
                at,
                {role: sum(one.user + one.system for one in found) for role, found in times.items()},
                {role: sum(one.memory_info().rss for one in found) for role, found in self._roles.items()},
            )
        )
        return True
