"""A bed of sample converters beside a model hub, which stands still in the middle of the stages that ask it."""

from pathlib import Path

from tests.helpers.model_hub import ModelHub
from tests.helpers.sample_bed import SampleBed
from tests.helpers.services import wait_until

#: The stages of a source on the hub; they are the real ones.
HUB_STAGES = ("preflight", "download")
#: The hub's library writes what has come in pieces of so many bytes.
PIECE_BYTES = 10 << 20


class HubBed(SampleBed):
    """`cache` is the folder of what was fetched; a download stands still once its first piece is written there."""

    def __init__(self, folder: Path, redis_url: str, hub: ModelHub, *, cache: Path | None = None) -> None:
        self.hub = hub
        self._cache = cache or folder / "hf"
        settings = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_HOME": str(self._cache)}
        super().__init__(folder, redis_url, settings)

    def hold(self, stage: str) -> None:
        if stage in HUB_STAGES:
            self.hub.hold(PIECE_BYTES + (1 << 20) if stage == "download" else 10)
        else:
            super().hold(stage)

    def release(self, stage: str) -> None:
        if stage in HUB_STAGES:
            self.hub.release()
        else:
            super().release(stage)

    def wait_held(self, stage: str, *, seconds: float = 30.0) -> int:
        if stage not in HUB_STAGES:
            return super().wait_held(stage, seconds=seconds)
        wait_until(self.hub.is_held.is_set, seconds=seconds, what=f"{stage} held: {self._tail()}")
        if stage == "download":
            wait_until(lambda: PIECE_BYTES in self._half_files(), what="the first piece written")
        child = self.stage_child()
        assert child is not None
        return child

    def _half_files(self) -> list[int]:
        return [part.stat().st_size for part in self._cache.glob("hub/*/blobs/*.incomplete")]
