"""A variant loaded as a replica of this host would load it, with a candidate in place of a tuning."""

from __future__ import annotations

from dataclasses import dataclass

from inference_worker.config_layers import host_kind
from inference_worker.devices import Devices
from inference_worker.engines.factory import create_engine
from inference_worker.host_cores import CoreShare, usable_threads
from inference_worker.load_plan import PlanningGround, plan_load
from inference_worker.loading import read_assets
from inference_worker.text.text_shelf import TextShelf
from inference_worker.tuning.device_facts import capabilities
from inference_worker.tuning.engine_meter import EngineMeter
from inference_worker.variant_files import read_model_limits
from shared.catalog import load_catalog
from shared.model_store import ModelStore
from shared.schemas.engine_config import EngineConfig, Tuning, VariantEngine
from shared.schemas.tuning import (
    Agreement,
    CandidateReady,
    Compare,
    Continuations,
    Continue,
    RoundFigures,
    TuningCommand,
)
from shared.settings import InferenceSettings

#: Texts of different kinds; what follows them shows whether a candidate still says what the default says.
_TEXTS = (
    "The capital of France is Paris. The capital of Japan is",
    "To make bread, mix the flour with water, salt and yeast, and then",
    "def factorial(n):\n    if n == 0:\n        return",
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What answers the commands of a tuning."""

    meter: EngineMeter
    texts: tuple[tuple[int, ...], ...]

    def answer(self, command: TuningCommand) -> RoundFigures | Continuations | Agreement:
        """Carry out one command."""
        match command:
            case Continue():
                said = self.meter.continuations(self.texts, command.tokens)
                return Continuations(token_ids=tuple(map(tuple, said)))
            case Compare():
                return Agreement(share=self.meter.agreement(self.texts, command.continuations))
        return self.meter.measure(command.number)


def load_candidate(
    variant: str, config: EngineConfig, settings: InferenceSettings, devices: Devices
) -> tuple[Candidate, CandidateReady]:
    """Load a variant; the engine lives as long as the process.

    Raises:
        PlatformError: it cannot be planned or loaded, as for a replica.
        RuntimeError: what the runtime raises.
    """
    store = ModelStore(settings.store_path)
    name = "sample" if settings.engine == "sample" else devices.full_name(settings.device)
    ground = PlanningGround(settings, store, load_catalog(settings.catalog_dir), name, tuple(devices.names))
    cores = CoreShare(settings.inference_threads or usable_threads(), alone=True)
    kind = host_kind(settings.device, name, cores.threads)
    tuning = Tuning(device=settings.device, host_kind=kind, mode="throughput", config=config)
    plan = plan_load(variant, ground, VariantEngine(tunings=(tuning,)), cores)
    assets = read_assets(plan, settings=settings, store=store, shelf=TextShelf(1), step_tokens=None)
    engine = create_engine(assets.spec)
    info = engine.start()
    meter = EngineMeter(engine, info, vocab_size=read_model_limits(assets.spec.model_dir).vocab_size)
    texts = tuple(tuple(assets.text.tokenizer.encode(text)) for text in _TEXTS)
    meter.continuations(texts, 2)  # The first steps also allocate memory.
    ready = CandidateReady(
        host_kind=kind,
        threads=cores.threads,
        capabilities=() if info.engine == "sample" else capabilities(settings.device),
        engine=info.engine,
        slots=info.slots,
        max_num_batched_tokens=info.max_num_batched_tokens,
        step_target_ms=settings.step_target_ms,
        prompt_tokens=meter.prompt_tokens,
        properties=dict(plan.effective.config.properties),
    )
    return Candidate(meter, texts), ready
