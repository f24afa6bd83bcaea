"""Runs over the model store that an admin asked for: collect left-overs, verify what is published."""

from collections.abc import Iterator
from dataclasses import dataclass

from converter_worker.collection import collect
from converter_worker.demo_model import DEMO_SOURCE_MODEL
from converter_worker.hub_cache import hub_cache_folder
from converter_worker.job_store import JobStore
from converter_worker.leftovers import LeftoverSearch
from converter_worker.quality_folders import is_card_work, is_reference
from converter_worker.sources import hub_repository
from shared import keys
from shared.errors import InternalError, PlatformError, VariantCorrupt, VariantNotPublished
from shared.log import get_logger
from shared.model_store import ModelStore
from shared.redis_client import SyncRedis
from shared.schemas.store import STORE_RUN_TTL_SECONDS, StoreRun, VariantCheck
from shared.settings import ConverterSettings

log = get_logger(__name__)


@dataclass(frozen=True)
class StoreRuns:
    """Carries runs out; each is a record in Redis that tells how far it is."""

    settings: ConverterSettings
    redis: SyncRedis
    jobs: JobStore
    store: ModelStore

    def carry_out(self, run_id: str) -> None:
        """Carry a run out; one that is finished, or that nobody remembers, is left alone."""
        run = self._find(run_id)
        if run is None or _has_ended(run):
            log.info("store_run_dropped", run_id=run_id)
            return
        # One whose converter was killed goes on: what was freed stays told, what was only found is found again.
        freed = tuple(item for item in run.leftovers if item.state == "freed")
        run = run.model_copy(update={"state": "running", "leftovers": freed})
        self._write(run)
        try:
            for step in self._collect(run) if run.task == "gc" else self._verify(run):
                told = self._find(run_id)
                if told is not None and _has_ended(told):
                    # It took so long that it was delivered again, and another converter was quicker.
                    log.info("store_run_dropped", run_id=run_id)
                    return
                run = step
                self._write(run)
        except PlatformError as error:
            run = run.model_copy(update={"state": "failed", "error": error.body()})
        except OSError as error:
            broken = InternalError(f"The model store cannot be read: {error.strerror or error}")
            run = run.model_copy(update={"state": "failed", "error": broken.body()})
        else:
            run = run.model_copy(update={"state": "finished"})
        self._write(run)
        log.info("store_run_ended", run_id=run_id, task=run.task, state=run.state, freed_bytes=run.freed_bytes)

    def search(self) -> LeftoverSearch:
        """Return the search for what no unfinished conversion needs."""
        return LeftoverSearch(
            store=self.store,
            scratch=self.settings.conversion_dir,
            hub_cache=hub_cache_folder(),
            demo_folder=self.settings.data_dir / "demo",
            is_unfinished=self._is_unfinished,
            sources_in_use=lambda: self._hub_sources(self.jobs.sources(unfinished=True)),
            known_sources=self._known_sources,
            demo_source=DEMO_SOURCE_MODEL,
        )

    def _collect(self, run: StoreRun) -> Iterator[StoreRun]:
        found = self.search().found()
        items = collect(found) if run.free else (leftover.item for leftover in found)
        for item in items:
            run = run.model_copy(update={"leftovers": (*run.leftovers, item)})
            yield run

    def _verify(self, run: StoreRun) -> Iterator[StoreRun]:
        checked = {(check.model, check.variant) for check in run.checks}
        for model, variant in self.store.names():
            if run.model not in (None, model, f"{model}:{variant}") or (model, variant) in checked:
                continue
            try:
                self.store.check(model, variant, hashes=True)
                problem = None
            except VariantNotPublished:
                continue
            except VariantCorrupt as error:
                problem = error.message
            run = run.model_copy(
                update={"checks": (*run.checks, VariantCheck(model=model, variant=variant, problem=problem))}
            )
            yield run

    def _is_unfinished(self, conversion_id: str) -> bool:
        if is_card_work(conversion_id) or is_reference(conversion_id):
            # Those that nothing waits for are removed by whoever makes the cards.
            return True
        return self.jobs.is_unfinished(conversion_id)

    def _known_sources(self) -> frozenset[str]:
        published = frozenset(manifest.source_model for manifest in self.store.manifests())
        return self._hub_sources(published | self.jobs.sources(unfinished=False))

    def _hub_sources(self, sources: frozenset[str]) -> frozenset[str]:
        return frozenset(repository for source in sources if (repository := hub_repository(source)))

    def _find(self, run_id: str) -> StoreRun | None:
        raw = self.redis.get(keys.store_run(run_id))
        return StoreRun.model_validate_json(raw) if isinstance(raw, bytes) else None

    def _write(self, run: StoreRun) -> None:
        self.redis.set(keys.store_run(run.run_id), run.model_dump_json(), ex=STORE_RUN_TTL_SECONDS)


def _has_ended(run: StoreRun) -> bool:
    return run.state in ("finished", "failed")
