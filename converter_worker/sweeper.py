"""Clearing away what jobs that have ended left on the disk: their converter was killed before it could."""

import re
from pathlib import Path

from converter_worker.job_store import JobStore
from converter_worker.quality_folders import is_card_work, is_reference
from shared.log import get_logger
from shared.model_store import ModelStore
from shared.removal import GONE_SUFFIX, remove_folder

log = get_logger(__name__)

_CONVERSION_ID = re.compile(rf"conv_[0-9a-f]{{24}}(\.[0-9a-f]+{re.escape(GONE_SUFFIX)})?")


class Sweeper:
    """Removes staging folders that belong to no unfinished job."""

    def __init__(self, jobs: JobStore, store: ModelStore, scratch_dir: Path | None) -> None:
        self._jobs = jobs
        self._store = store
        self._scratch_dir = scratch_dir

    def sweep(self) -> None:
        """Remove what belongs to no unfinished job; raises RedisError where that cannot be told."""
        removed = len(self._store.clean_staging(keep=self._is_unfinished))
        if self._scratch_dir is not None and self._scratch_dir.is_dir():
            for folder in sorted(self._scratch_dir.iterdir()):
                # The scratch folder may hold other people's things.
                if _CONVERSION_ID.fullmatch(folder.name) and not self._is_unfinished(folder.name):
                    remove_folder(folder)
                    removed += 1
        if removed:
            log.info("staging_cleaned", folders=removed)

    def _is_unfinished(self, conversion_id: str) -> bool:
        if is_card_work(conversion_id) or is_reference(conversion_id):
            # Whoever makes the quality cards clears away after them.
            return True
        return self._jobs.is_unfinished(conversion_id)
