"""What a variant that was made elsewhere takes of the store while it is published."""

from pathlib import Path

from converter_worker.publication import VariantWork, publish_variant
from shared.model_store import ModelStore
from shared.schemas.conversion import ConversionPlan
from shared.schemas.models import Manifest, Recipe, VariantRequest


def test_what_a_lost_attempt_published_is_not_copied_again(tmp_path: Path) -> None:
    """A converter was lost between two publications: the next one copied both, and the store held the first one twice.

    What was made is on another disk, so nothing moves it out of the way.
    """
    store, made = ModelStore(tmp_path / "models"), tmp_path / "scratch" / "int4"
    made.mkdir(parents=True)
    (made / "openvino_model.bin").write_bytes(b"0123")
    request = VariantRequest(name="int4", weight_format="int4", recipe=Recipe(ratio=1.0))
    plan = ConversionPlan(source_model="org/model", model="model", variants=(request,))

    def publish(attempt: int) -> Manifest:
        return publish_variant(
            store,
            plan,
            request,
            VariantWork(weights_bytes=4, compress_seconds=1.0),
            made,
            revision=None,
            fp16_bytes=None,
            versions={},
            staging=store.staging_dir("conv_1") / f".publish.{attempt}",
        )

    first = publish(1)
    assert publish(2) == first
    assert store.check("model", "int4", hashes=True) == first
    assert not list(store.staging_dir("conv_1").rglob("openvino_model.bin"))
