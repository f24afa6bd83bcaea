"""Makes quality cards in the background: one variant at a time, in a child process, while nothing is converted.

The manifests are the list of what is to be done: a published variant without a card, and with an FP16 model to compare
it with, waits for one. So nothing is lost with a converter that is killed, and what a conversion interrupts is begun
again when it has ended.
"""

import shutil
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import redis.exceptions

from converter_worker import cost_model
from converter_worker.activity import Activity
from converter_worker.job_store import JobStore
from converter_worker.memory_gate import MemoryGate
from converter_worker.quality_folders import WORK_PREFIX, is_card_work
from converter_worker.quality_queue import QualityQueue, Wish
from converter_worker.reference_shelf import ReferenceShelf
from converter_worker.size_text import gigabytes
from converter_worker.stage_runner import StageRun, StageRunner, StageStopped
from converter_worker.stages.ir_files import MODEL_NAME
from converter_worker.variant_index import VariantIndex
from shared.errors import InternalError, OutOfMemory, PlatformError, StageCrashed, VariantNotPublished
from shared.log import get_logger
from shared.model_store import STAGING_NAME, ModelStore
from shared.schemas.models import Manifest
from shared.schemas.quality import QualityCard, QualityFigures
from shared.settings import ConverterSettings

log = get_logger(__name__)

#: How often the manifests are looked at.
PERIOD_SECONDS = 5.0
#: The pause after a failure: what is short now, such as memory, may be there later.
RETRY_SECONDS = 60.0
#: How often a card at work looks for conversions that wait, and renews its lease.
GIVE_WAY_SECONDS = 1.0
MAX_ATTEMPTS = 3


@dataclass
class CardMaker:
    """One thread runs it; `close` may be called from any."""

    settings: ConverterSettings
    store: ModelStore
    index: VariantIndex
    jobs: JobStore
    queue: QualityQueue
    activity: Activity
    memory: MemoryGate
    worker_id: str
    stopping: threading.Event
    _runner: StageRunner | None = field(default=None, init=False)
    _asked_at: float = field(default=0.0, init=False)

    def run(self) -> None:
        """Make cards until the worker stops."""
        pause = PERIOD_SECONDS
        while not self.stopping.wait(pause):
            pause = RETRY_SECONDS
            try:
                if self.make_all():
                    pause = PERIOD_SECONDS
            except (redis.exceptions.RedisError, PlatformError, OSError) as error:
                log.warning("quality_round_failed", error=str(error))
            except Exception:
                log.exception("quality_round_broke")

    def close(self) -> None:
        """End the card at work, if there is one."""
        if self._runner is not None:
            self._runner.close()

    def make_all(self) -> bool:
        """Make every card that is wanted, unless something is converted or another converter makes them.

        False where one failed; the others are then left for later.
        """
        if self._is_busy() or not (self._next() or self._needless()) or not self.queue.take():
            return True
        try:
            self._clean()
            while not self._must_give_way() and (found := self._next()) is not None:
                if not self._make(*found):
                    return False
            return True
        finally:
            # Else another converter makes cards by now, and what is there is its own.
            if self.queue.renew():
                self._clean()
                self.queue.give_back()

    def _next(self) -> tuple[Wish, Path | None] | None:
        """Return a variant that waits for a card, and the folder of what it is compared with."""
        published = list(self.store.manifests())
        shelf = ReferenceShelf(self.store)
        for wish in self.queue.wishes(published, by_itself=self.settings.quality_cards):
            reference = shelf.find(wish.manifest, published)
            if reference is not None or wish.is_asked_for:
                return wish, reference
        return None

    def _make(self, wish: Wish, reference: Path | None) -> bool:
        """Make one card; False where that failed."""
        manifest = wish.manifest
        attempts = self.queue.begin(wish)
        log.info("quality_card_started", variant=wish.key, attempt=attempts)
        try:
            card = self._measure(manifest, reference, attempts)
            self._settle(wish, card, None)
        except StageStopped:
            self.queue.put_back(wish)
            log.info("quality_card_put_back", variant=wish.key)
        except VariantNotPublished:
            self.queue.end(wish)
        except (PlatformError, OSError) as error:
            problem = error.message if isinstance(error, PlatformError) else str(error)
            log.warning("quality_card_failed", variant=wish.key, attempt=attempts, error=problem)
            if not self._is_there(manifest):
                self.queue.end(wish)
            elif attempts >= MAX_ATTEMPTS or reference is None:
                self._settle(wish, None, problem)
            return False
        return True

    def _measure(self, manifest: Manifest, reference: Path | None, attempts: int) -> QualityCard:
        if attempts > MAX_ATTEMPTS:
            raise StageCrashed("The converter was lost every time that it tried to measure the variant.")
        if reference is None:
            raise InternalError(
                f"There is no FP16 variant of the same source to compare with; convert {manifest.model} to fp16 too."
            )
        needed = self._needed_bytes(reference)

        def must_stop() -> bool:
            return self._must_give_way() or not self._is_there(manifest)

        work = self._work_root()
        stage_run = StageRun(
            "quality",
            {
                "reference_dir": str(reference),
                "variant_dir": str(self.store.variant_dir(manifest.model, manifest.variant)),
                # What FP16 says is used again for the next variant of the same model.
                "work_dir": str(work / sha256(str(reference).encode()).hexdigest()[:16]),
            },
            work / "quality.log",
            float(self.settings.stage_time_limit_seconds),
            should_stop=must_stop,
        )
        # Lazy: these children need little of what a conversion's need, so their parent need not hold it.
        self._runner = StageRunner(
            threads=self.settings.converter_threads, telemetry=self.settings.telemetry, lazy=True
        )
        try:
            with self.memory.inside(needed, must_stop, lambda told: log.info("quality_card_waits", reason=told)):
                result = self._runner.run(stage_run)
        finally:
            self._runner.close()
        figures = QualityFigures.model_validate(result["figures"])
        return QualityCard(
            **figures.model_dump(),
            weights_bytes=manifest.weights_bytes,
            compression_rate=manifest.compression_rate,
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _settle(self, wish: Wish, card: QualityCard | None, problem: str | None) -> None:
        self.index.refresh(self.store.set_quality(wish.manifest, card, problem))
        self.queue.end(wish)
        if card is not None:
            log.info("quality_card_made", variant=wish.key, top1_agreement=round(card.top1_agreement, 4))

    def _needed_bytes(self, reference: Path) -> int:
        """Return the peak that a comparison is let in with, beside what conversions take.

        Raises:
            OutOfMemory: this converter can never have as much.
        """
        needed = cost_model.quality_bytes((reference / f"{MODEL_NAME}.bin").stat().st_size)
        if needed > self.memory.budget_bytes:
            raise OutOfMemory(
                f"Comparing with FP16 needs about {gigabytes(needed)} of memory, this converter has "
                f"{gigabytes(self.memory.budget_bytes)}."
            )
        return needed

    def _must_give_way(self) -> bool:
        """Tell whether there is something more urgent, or the lease is another's; Redis is asked now and then only."""
        now = time.monotonic()
        if now - self._asked_at < GIVE_WAY_SECONDS:
            return self.stopping.is_set() or self.activity.is_converting
        self._asked_at = now
        return self._is_busy() or not self.queue.renew()

    def _is_busy(self) -> bool:
        return self.stopping.is_set() or self.activity.is_converting or bool(self.jobs.unfinished())

    def _is_there(self, manifest: Manifest) -> bool:
        return (self.store.variant_dir(manifest.model, manifest.variant) / f"{MODEL_NAME}.bin").is_file()

    def _work_root(self) -> Path:
        return self.store.staging_dir(f"{WORK_PREFIX}{self.worker_id}")

    def _needless(self) -> list[Path]:
        """Return what is kept to be compared with, though no card is wanted any more that needs it.

        Other converters' cards count too: this one may make none by itself.
        """
        return ReferenceShelf(self.store).needless(self.queue.asked())

    def _clean(self) -> None:
        """Remove what cards left and need no more; only the holder of the lease calls it, and there is one."""
        root = self.store.path / STAGING_NAME
        works = [folder for folder in root.iterdir() if is_card_work(folder.name)] if root.is_dir() else []
        for folder in (*works, *self._needless()):
            shutil.rmtree(folder, ignore_errors=True)
