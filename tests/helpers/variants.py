"""Published variants without a model: a tokenizer, a configuration and a few bytes, for the `sample` engine."""

import json
from pathlib import Path

import redis

from shared import keys
from shared.model_store import ModelStore
from shared.schemas.models import Manifest, Recipe, VariantRecord, WeightFormat
from tests.helpers.tiny_checkpoints import write_tiny_tokenizer

CONTEXT_LENGTH = 512


def publish_sample_variant(
    store_path: Path,
    redis_url: str,
    *,
    model: str = "sample",
    variant: WeightFormat = "int4",
    model_type: str = "llama",
    context_length: int = CONTEXT_LENGTH,
    **options: object,
) -> VariantRecord:
    """Publish a variant that the `sample` engine serves, in the store and in the index; options are the engine's."""
    store = ModelStore(store_path)
    staged = store.staging_dir(f"conv_{model}") / variant
    staged.mkdir(parents=True)
    write_tiny_tokenizer(staged, 384)
    config = {"model_type": "llama", "vocab_size": 384, "max_position_embeddings": context_length, "eos_token_id": 2}
    (staged / "config.json").write_text(json.dumps(config))
    (staged / "generation_config.json").write_text(json.dumps({"eos_token_id": 2}))
    if options:
        (staged / "sample_engine.json").write_text(json.dumps(options))
    (staged / "openvino_model.bin").write_bytes(b"sample")
    (staged / "openvino_model.xml").write_text("<net/>")
    manifest = store.publish(
        staged,
        Manifest(
            model=model,
            variant=variant,
            weight_format=variant,
            recipe=Recipe(),
            source_model=f"tests/{model}",
            model_type=model_type,
            context_length=context_length,
            eos_token_ids=(2,),
            stack="default",
            versions={},
            created_at="2026-01-01T00:00:00Z",
            files={},
            weights_bytes=6,
        ),
    )
    record = VariantRecord.from_manifest(manifest)
    with redis.Redis.from_url(redis_url) as client:
        client.hset(keys.VARIANTS, record.key, record.model_dump_json())
    return record
