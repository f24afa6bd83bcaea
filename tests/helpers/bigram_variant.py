"""A language model of two tables: what follows a token depends on that token alone, so its logits are a row."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.model_store import ModelStore
from shared.schemas.models import Manifest, Recipe, WeightFormat
from tests.helpers.tiny_checkpoints import write_tiny_tokenizer

VOCABULARY = 384
_WIDTH = 16
SOURCE = "tests/bigram"


def bigram_tables(noise: float, seed: int = 3) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return embedding and head; `noise` is how far the head is from that of every other model of the seed."""
    rng = np.random.default_rng(seed)
    embedding, head = (
        rng.normal(size=shape).astype(np.float32) for shape in ((VOCABULARY, _WIDTH), (_WIDTH, VOCABULARY))
    )
    return embedding, head + np.float32(noise) * np.random.default_rng(seed + 1).normal(size=head.shape).astype(
        np.float32
    )


def write_bigram_ir(folder: Path, noise: float) -> None:
    """Write IR and tokenizer of such a model."""
    import openvino
    from openvino import opset13 as ops

    folder.mkdir(parents=True, exist_ok=True)
    embedding, head = bigram_tables(noise)
    ids = ops.parameter([-1, -1], np.int64, name="input_ids")
    ids.output(0).set_names({"input_ids"})
    vectors = ops.gather(ops.constant(embedding), ids, ops.constant(np.int64(0)))
    logits = ops.matmul(vectors, ops.constant(head), False, False)
    openvino.save_model(openvino.Model([logits], [ids]), folder / "openvino_model.xml", compress_to_fp16=False)
    write_tiny_tokenizer(folder, VOCABULARY)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))


def publish_bigram(store: ModelStore, variant: str, weight_format: WeightFormat, noise: float) -> Manifest:
    """Publish one as a variant of the model `bigram`."""
    staged = store.staging_dir("conv_bigram") / variant
    write_bigram_ir(staged, noise)
    return store.publish(
        staged,
        Manifest(
            model="bigram",
            variant=variant,
            weight_format=weight_format,
            recipe=Recipe(),
            source_model=SOURCE,
            model_type="llama",
            context_length=512,
            stack="default",
            versions={},
            created_at="2026-01-01T00:00:00Z",
            files={},
            weights_bytes=4 * _WIDTH * VOCABULARY * 2,
            fp16_weights_bytes=4 * _WIDTH * VOCABULARY * 2,
        ),
    )
