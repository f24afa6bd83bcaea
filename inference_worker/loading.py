"""What a replica is started with: the variant's checked files, its text side, and the engine's specification."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inference_worker.engine import EngineSpec, Speculation
from inference_worker.engine_layers import EffectiveConfig
from inference_worker.load_plan import SAMPLE_MEMORY, LoadPlan, sample_options, variant_folder
from inference_worker.text.text_shelf import TextShelf
from inference_worker.text.variant_text import BYTE_EOS_TOKEN_ID, BYTE_LETTER_IDS, VariantText
from inference_worker.variant_files import read_json
from shared.errors import LoadFailed, VariantNotPublished
from shared.model_store import ModelStore
from shared.settings import InferenceSettings

#: Tokens that are proposed at a time where nobody says how many.
_ASSISTANT_TOKENS = 3
#: Prefill tokens that a tuned step has at least, however many sequences decode.
_LEAST_PREFILL_TOKENS = 16


@dataclass(frozen=True, slots=True)
class VariantAssets:
    """Read once for each load, off the event loop. `is_stored` tells it from a name that stands for no files."""

    text: VariantText
    spec: EngineSpec
    is_stored: bool = True


def read_assets(
    plan: LoadPlan, *, settings: InferenceSettings, store: ModelStore, shelf: TextShelf, step_tokens: int | None
) -> VariantAssets:
    """Check the variant's files and read what text needs; `step_tokens` is an earlier load's step size.

    Raises:
        VariantNotPublished: the store has no such variant.
        VariantCorrupt: its files are not those of the manifest, or cannot be read.
        LoadFailed: its draft model does not fit it.
    """
    variant = plan.variant
    model, _, name = variant.partition(":")
    folder = variant_folder(store, variant)
    try:
        manifest = store.check(model, name)
    except VariantNotPublished:
        if settings.engine != "sample":
            raise
        spec = _spec(plan, settings, folder, None, _byte_level_options(settings))
        return VariantAssets(VariantText.byte_level(), spec, is_stored=False)
    options: dict[str, object] = {}
    if settings.engine == "sample":
        declared = sample_options(store, variant)
        declared.pop(SAMPLE_MEMORY, None)
        options = {"tokens_per_second": settings.sample_tokens_per_second, **declared}
    spec = _spec(plan, settings, folder, step_tokens, options, _speculation(plan, store))
    return VariantAssets(shelf.text(folder, manifest.created_at), spec)


def _speculation(plan: LoadPlan, store: ModelStore) -> Speculation | None:
    config = plan.effective.config
    tokens = config.num_assistant_tokens or _ASSISTANT_TOKENS
    if config.draft_model is not None:
        return Speculation(tokens, draft_dir=_draft_folder(plan.variant, config.draft_model, store))
    if config.max_ngram_size is not None:
        return Speculation(tokens, max_ngram_size=config.max_ngram_size)
    return None


def _draft_folder(variant: str, draft: str, store: ModelStore) -> Path:
    """Return the draft model's checked folder: what it proposes are token ids, so both must mean the same by them."""
    model, _, name = draft.partition(":")
    store.check(model, name)
    folder = variant_folder(store, draft)
    try:
        same = _vocabulary(variant_folder(store, variant)) == _vocabulary(folder)
    except ValueError as error:
        raise LoadFailed(f"The tokenizer of {variant} or of its draft model {draft} cannot be read.") from error
    if not same:
        raise LoadFailed(f"{draft} has another vocabulary than {variant} and cannot propose tokens for it.")
    return folder


def _vocabulary(folder: Path) -> object:
    model = read_json(folder / "tokenizer.json").get("model")
    return model.get("vocab") if isinstance(model, dict) else None


def _byte_level_options(settings: InferenceSettings) -> dict[str, object]:
    return {
        "tokens_per_second": settings.sample_tokens_per_second,
        "eos_token_id": BYTE_EOS_TOKEN_ID,
        "first_token_id": BYTE_LETTER_IDS.start,
        "vocab_size": BYTE_LETTER_IDS.stop,
        "context_length": 8192,
    }


def _spec(
    plan: LoadPlan,
    settings: InferenceSettings,
    folder: Path,
    step_tokens: int | None,
    options: dict[str, object],
    speculation: Speculation | None = None,
) -> EngineSpec:
    config = plan.effective.config
    properties = dict(config.properties)
    # The engines set it themselves, and know where it means something.
    threads = int(properties.pop("INFERENCE_NUM_THREADS", plan.cores.threads))
    slots = config.max_sequences or settings.max_sequences
    return EngineSpec(
        engine=plan.engine,
        model_dir=folder.absolute(),
        device=settings.device,
        slots=slots,
        threads=threads,
        cores=plan.cores.cores,
        kv_cache_bytes=config.kv_cache_bytes or 0,
        num_kv_blocks=config.num_kv_blocks,
        step_target_ms=settings.step_target_ms,
        max_num_batched_tokens=_step_tokens(plan.effective, slots) or step_tokens,
        prefix_caching=config.prefix_caching is not False,
        dynamic_split_fuse=config.dynamic_split_fuse is not False,
        speculation=speculation,
        properties=properties,
        options=options,
    )


def _step_tokens(effective: EffectiveConfig, slots: int) -> int | None:
    tokens = effective.config.max_num_batched_tokens
    if tokens is None or effective.sources["max_num_batched_tokens"] != "tuning":
        return tokens
    # It was found with another number of sequences.
    return max(tokens, slots + _LEAST_PREFILL_TOKENS)
