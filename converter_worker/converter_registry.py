"""Who converts: every converter says what it has, and the others read it to find a place for what they cannot do."""

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import redis.exceptions

from converter_worker.memory_gate import MemoryGate
from shared import keys
from shared.log import get_logger
from shared.redis_client import SyncRedis
from shared.schemas.converters import CONVERTER_LOST_MS, ConverterInfo

log = get_logger(__name__)


class ConverterRegistry:
    """Registers one converter and reads all of them; on the transport Redis, whose clock counts."""

    def __init__(
        self, transport: SyncRedis, worker_id: str, gate: MemoryGate, folders: Sequence[Path], slots: int
    ) -> None:
        """`folders` are those that a conversion writes to: its scratch and the store."""
        self._redis = transport
        self._worker_id = worker_id
        self._gate = gate
        self._folders = folders
        self._slots = slots

    @property
    def worker_id(self) -> str:
        """This converter's own id."""
        return self._worker_id

    def present(self) -> ConverterInfo:
        """Return what this converter has now."""
        # What fits the scratch alone would fill the store when it is published.
        disk_bytes, disk_free_bytes = min(map(disk_space, self._folders), key=lambda space: space[1])
        return ConverterInfo(
            worker_id=self._worker_id,
            host=socket.gethostname(),
            slots=self._slots,
            busy=self._gate.busy,
            memory_bytes=self._gate.budget_bytes,
            free_bytes=self._gate.free_bytes,
            disk_free_bytes=disk_free_bytes,
            disk_bytes=disk_bytes,
        )

    def beat(self) -> None:
        """Say what this converter has; take what waits for lost converters back into the common queue."""
        info = self.present().model_copy(update={"seen_ms": self._now_ms()})
        self._redis.hset(keys.CONVERTERS, self._worker_id, info.model_dump_json())
        for lost in self._lost():
            moved = self._give_back(lost)
            self._redis.hdel(keys.CONVERTERS, lost)
            log.info("converter_lost", lost_worker_id=lost, messages=moved)

    def leave(self) -> None:
        """Take this converter out, and put what waits for it back into the common queue."""
        try:
            self._redis.hdel(keys.CONVERTERS, self._worker_id)
            self._give_back(self._worker_id)
        except redis.exceptions.RedisError as error:
            log.warning("converter_not_unregistered", error=str(error))

    def others(self) -> list[ConverterInfo]:
        """Return the other converters that live."""
        return [info for info in self._all() if info.worker_id != self._worker_id and self._lives(info)]

    def waiting_messages(self) -> bytes:
        """Return the text of all messages that wait in some converter's queue; a job's id occurs in its own."""
        queues = [keys.CONVERSION_QUEUE, *(keys.converter_queue(info.worker_id) for info in self._all())]
        pipeline = self._redis.pipeline(transaction=False)
        for queue in queues:
            pipeline.lrange(keys.CELERY_PREFIX + queue, 0, -1)
        return b"\n".join(message for messages in cast(list[list[bytes]], pipeline.execute()) for message in messages)

    def speed(self) -> float:
        """Return how many times the calibrated seconds a conversion took here lately; 1 where nothing is known."""
        raw = cast(bytes | None, self._redis.hget(keys.CONVERTER_SPEEDS, socket.gethostname()))
        return 1.0 if raw is None else float(raw)

    def learn_speed(self, measured: float) -> None:
        """Note what a conversion took, as a multiple of the calibrated seconds; the last three count most."""
        kept = max(0.05, min(50.0, (2 * self.speed() + measured) / 3))
        self._redis.hset(keys.CONVERTER_SPEEDS, socket.gethostname(), str(round(kept, 4)))

    def _all(self) -> list[ConverterInfo]:
        raw = cast(list[bytes], self._redis.hvals(keys.CONVERTERS))
        return [ConverterInfo.model_validate_json(value) for value in raw]

    def _lost(self) -> list[str]:
        return [info.worker_id for info in self._all() if not self._lives(info)]

    def _lives(self, info: ConverterInfo) -> bool:
        return self._now_ms() - info.seen_ms < CONVERTER_LOST_MS

    def _give_back(self, worker_id: str) -> int:
        own, common = (keys.CELERY_PREFIX + queue for queue in (keys.converter_queue(worker_id), keys.CONVERSION_QUEUE))
        moved = 0
        while self._redis.lmove(own, common, "RIGHT", "LEFT") is not None:
            moved += 1
        # What Celery's broker notes of a queue would otherwise stay for every worker that ever was.
        self._redis.delete(f"{keys.CELERY_PREFIX}_kombu.binding.{keys.converter_queue(worker_id)}")
        return moved

    def _now_ms(self) -> int:
        seconds, microseconds = self._redis.time()
        return seconds * 1000 + microseconds // 1000


def disk_space(folder: Path) -> tuple[int, int]:
    """Return the bytes of the file system that a folder is on, or will be on, and how many of them are free."""
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return usage.total, usage.free
