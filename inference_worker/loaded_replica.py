"""A variant that this worker has loaded, is loading, or is letting go."""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal

from inference_worker.engine import EngineFigures, EngineInfo
from inference_worker.load_plan import LoadPlan
from inference_worker.replica_process import ReplicaProcess
from inference_worker.replica_protocol import StepDone
from inference_worker.text.variant_text import VariantText
from shared.schemas.engine_config import EngineSettingView
from shared.schemas.workers import ReplicaInfo, ReplicaState

#: A replica is ended because an admin asked, to make room for another one, or because nobody used it.
EndReason = Literal["asked", "room", "idle", "deleted"]
_RECENT_STEPS = 256


@dataclass(frozen=True, slots=True)
class Serving:
    """What exists only once the engine is ready."""

    process: ReplicaProcess
    engine: EngineInfo
    text: VariantText
    load_seconds: float


@dataclass(slots=True, eq=False)
class LoadedReplica:
    """Counts of one replica. `assigned` holds the generations that take a slot, `computing` those in the engine."""

    variant: str
    plan: LoadPlan
    state: ReplicaState = "loading"
    serving: Serving | None = None
    load_progress: float = 0.0
    assigned: set[str] = field(default_factory=set)
    computing: set[str] = field(default_factory=set)
    last_used: float = field(default_factory=time.monotonic)
    last_heard: float = field(default_factory=time.monotonic)
    generated_tokens: int = 0
    prompt_tokens: int = 0
    figures: EngineFigures = field(default_factory=EngineFigures)
    """What the engine told of itself last."""
    is_stored: bool = False
    """Whether its files came from the store; the sample engine serves names without any."""
    held: ExitStack = field(default_factory=ExitStack)
    """Its files, which stay where they are until this is closed."""
    end_reason: EndReason = "asked"
    """Why it is ended on purpose."""
    ending: bool = False
    """Its process is being stopped, on purpose."""
    _step_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT_STEPS))

    @property
    def free_slots(self) -> int | None:
        """Slots that nothing is assigned to; None while it takes nothing."""
        if self.state != "ready" or self.serving is None:
            return None
        return max(0, self.serving.engine.slots - len(self.assigned))

    def heard(self, step: StepDone) -> None:
        """Take a step into the counts."""
        self.last_heard = time.monotonic()
        if step.events:
            self._step_ms.extend(step.steps_ms)
            self.generated_tokens += sum(len(event.token_ids) for event in step.events)

    def silent_seconds(self) -> float:
        """How long the engine has had work and said nothing."""
        return time.monotonic() - self.last_heard if self.computing else 0.0

    def idle_seconds(self) -> float:
        """How long nothing has been assigned to it."""
        return 0.0 if self.assigned else time.monotonic() - self.last_used

    def info(self, *, reserved_bytes: int = 0, pinned: bool = False) -> ReplicaInfo:
        """What the registry tells of it."""
        model, _, variant = self.variant.partition(":")
        serving = self.serving
        steps = sorted(self._step_ms)
        return ReplicaInfo(
            model=model,
            variant=variant,
            state=self.state,
            slots=serving.engine.slots if serving else 0,
            running=len(self.assigned),
            host_kind=self.plan.host_kind,
            engine=self._engine_settings(),
            context_length=serving.engine.context_length if serving else None,
            memory_bytes=serving.process.resident_bytes() if serving else None,
            reserved_bytes=reserved_bytes,
            cores=self.plan.cores.cores,
            pinned=pinned,
            idle_seconds=round(self.idle_seconds(), 1),
            load_progress=self.load_progress if self.state == "loading" else None,
            load_seconds=serving.load_seconds if serving else None,
            step_ms=steps[int(len(steps) * 0.95)] if steps else None,
            generated_tokens=self.generated_tokens,
            prompt_tokens=self.prompt_tokens,
        )

    def _engine_settings(self) -> dict[str, EngineSettingView]:
        """The configuration; what the engine has measured, granted or cannot do takes the place of what was asked."""
        settings = self.plan.effective.settings()
        if self.serving is None:
            return settings
        info = self.serving.engine
        real = {
            "max_sequences": info.slots,
            "max_num_batched_tokens": info.max_num_batched_tokens,
            "kv_cache_bytes": info.kv_cache_bytes,
        }
        for name, value in real.items():
            if value and (name not in settings or settings[name].value != value):
                settings[name] = EngineSettingView(value=value, source="engine")
        return settings
