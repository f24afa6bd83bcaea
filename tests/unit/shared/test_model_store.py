"""The store: what is published is whole, what is not whole is not there."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import StoreUnwritable, VariantCorrupt, VariantExists, VariantNotPublished
from shared.model_store import MANIFEST_NAME, STAGING_NAME, ModelStore
from shared.schemas.models import Manifest, Recipe, VariantRecord
from tests.helpers.quality_card import a_card


def a_manifest(model: str = "demo", variant: str = "int4", *, group_size: int = 64) -> Manifest:
    return Manifest(
        model=model,
        variant=variant,
        weight_format="int4",
        recipe=Recipe(sym=False, group_size=group_size, ratio=1.0),
        source_model="org/demo",
        model_type="llama",
        context_length=2048,
        stack="default",
        versions={"openvino": "1"},
        created_at="2026-01-01T00:00:00Z",
        files={},
        weights_bytes=4,
        fp16_weights_bytes=16,
    )


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def stage(store: ModelStore, name: str = "conv_1", files: dict[str, bytes] | None = None) -> Path:
    folder = store.staging_dir(name) / "int4"
    for path, content in (files or {"openvino_model.bin": b"0123", "sub/tokenizer.json": b"{}"}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def test_publish_makes_a_whole_variant_visible_at_once(store: ModelStore) -> None:
    staged = stage(store)
    assert list(store.manifests()) == []
    published = store.publish(staged, a_manifest())
    assert not staged.exists()
    assert list(store.manifests()) == [published]
    assert set(published.files) == {"openvino_model.bin", "sub/tokenizer.json"}
    assert store.check("demo", "int4", hashes=True) == published
    assert VariantRecord.from_manifest(published).compression_rate == 4.0
    assert VariantRecord.from_manifest(published).size_bytes == 6


def test_publishing_twice_does_no_harm(store: ModelStore) -> None:
    """The accident: Celery delivers the last task twice."""
    first = store.publish(stage(store), a_manifest())
    assert store.publish(stage(store, "conv_2"), a_manifest()) == first
    with pytest.raises(VariantExists, match="recipe"):
        store.publish(stage(store, "conv_3"), a_manifest(group_size=128))
    assert store.check("demo", "int4", hashes=True) == first


def test_a_half_copied_variant_is_not_listed_and_gives_way(store: ModelStore) -> None:
    half = store.path / "demo" / "int4"
    half.mkdir(parents=True)
    (half / "openvino_model.bin").write_bytes(b"01")
    assert list(store.manifests()) == []
    with pytest.raises(VariantNotPublished):
        store.manifest("demo", "int4")
    store.publish(stage(store), a_manifest())
    assert store.check("demo", "int4", hashes=True).files["openvino_model.bin"].size_bytes == 4


@pytest.mark.parametrize("damage", ["truncate", "remove", "flip", "add", "manifest", "other"])
def test_damage_is_named(store: ModelStore, damage: str) -> None:
    store.publish(stage(store), a_manifest())
    folder = store.variant_dir("demo", "int4")
    weights = folder / "openvino_model.bin"
    match damage:
        case "truncate":
            weights.write_bytes(b"012")
        case "remove":
            weights.unlink()
        case "flip":
            weights.write_bytes(b"0124")
            store.check("demo", "int4")
        case "add":
            (folder / "sub" / "chat_template.jinja").write_text("{{ messages }}")
            store.check("demo", "int4")
        case "manifest":
            (folder / MANIFEST_NAME).write_text("{")
        case "other":
            text = json.loads((folder / MANIFEST_NAME).read_text())
            (folder / MANIFEST_NAME).write_text(json.dumps({**text, "model": "another"}))
    with pytest.raises(VariantCorrupt):
        store.check("demo", "int4", hashes=True)


def test_what_may_be_a_whole_variant_is_never_replaced(store: ModelStore) -> None:
    """A disk that answers with errors for a moment, or a newer ovchat's manifest: a served variant was deleted."""
    store.publish(stage(store), a_manifest())
    manifest = store.variant_dir("demo", "int4") / MANIFEST_NAME
    whole = manifest.read_bytes()
    manifest.write_bytes(whole.replace(b'"weight_format": "int4"', b'"weight_format": "nf3"'))
    with pytest.raises(VariantExists, match="newer"):
        store.publish(stage(store, "conv_2"), a_manifest())
    manifest.unlink()
    # Cannot be read, and is there.
    manifest.mkdir()
    with pytest.raises(StoreUnwritable):
        store.publish(stage(store, "conv_3"), a_manifest())
    manifest.rmdir()
    manifest.write_bytes(whole)
    store.check("demo", "int4", hashes=True)


@pytest.mark.parametrize("name", ["..", ".staging", "a/b", "", "A", "x" * 97])
def test_no_name_leads_out_of_the_store(store: ModelStore, name: str) -> None:
    with pytest.raises(VariantNotPublished):
        store.variant_dir(name, "int4")
    with pytest.raises(VariantNotPublished):
        store.variant_dir("demo", name)


def test_delete(store: ModelStore) -> None:
    store.publish(stage(store), a_manifest())
    store.delete("demo", "int4")
    assert list(store.manifests()) == []
    assert not (store.path / "demo").exists()
    with pytest.raises(VariantNotPublished):
        store.delete("demo", "int4")


def test_staging_leftovers_are_cleaned(store: ModelStore) -> None:
    for name in ("conv_old", "conv_runs"):
        stage(store, name)
    assert store.clean_staging(lambda name: name == "conv_runs") == ("conv_old",)
    assert [path.name for path in (store.path / STAGING_NAME).iterdir()] == ["conv_runs"]


def test_a_late_publication_never_shows_what_is_being_cleared_away(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A converter stood still before its last rename; its job was cancelled, and it came back while that cleared away.

    The folder that it published was emptied under its final name.
    """
    staged, unlink = stage(store), os.unlink

    def unlink_late(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(os, "unlink", unlink)
        with pytest.raises(StoreUnwritable):
            store.publish(staged, a_manifest())
        unlink(*arguments, **options)

    monkeypatch.setattr(os, "unlink", unlink_late)
    assert store.clean_staging(keep=lambda name: False) == ("conv_1",)
    assert os.unlink is unlink
    assert list(store.names()) == []
    assert list((store.path / STAGING_NAME).iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_store_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreUnwritable):
        ModelStore(tmp_path / "models").staging_dir("conv_1")


def test_a_store_under_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(StoreUnwritable, match="volume"):
        ModelStore(tmp_path / "models").staging_dir("conv_1")


@given(steps=st.lists(st.tuples(st.sampled_from(["publish", "delete"]), st.sampled_from(["a", "b"])), max_size=12))
@settings(max_examples=30, deadline=None)
def test_any_history_leaves_what_was_published_last(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    store = ModelStore(tmp_path_factory.mktemp("store"))
    expected: set[str] = set()
    for number, (action, variant) in enumerate(steps):
        if action == "publish":
            store.publish(stage(store, f"conv_{number}"), a_manifest(variant=variant))
            expected.add(variant)
        elif variant in expected:
            store.delete("demo", variant)
            expected.discard(variant)
    assert {manifest.variant for manifest in store.manifests()} == expected
    for variant in expected:
        store.check("demo", variant, hashes=True)


def test_a_card_comes_into_the_manifest_and_changes_nothing_else(store: ModelStore) -> None:
    published = store.publish(stage(store), a_manifest())
    store.set_quality(published, a_card(), None)
    changed = store.check("demo", "int4", hashes=True)
    assert changed == published.model_copy(update={"quality": a_card()})
    assert VariantRecord.from_manifest(changed).quality == a_card()
    assert [path.name for path in (store.path / STAGING_NAME).iterdir()] == ["conv_1"]


def test_a_card_never_comes_to_a_variant_that_took_the_place_of_the_measured_one(store: ModelStore) -> None:
    """A variant is deleted while it is measured, and another recipe is published under its name before the end."""
    measured = store.publish(stage(store), a_manifest())
    store.delete("demo", "int4")
    with pytest.raises(VariantNotPublished):
        store.set_quality(measured, a_card(), None)
    other = {"openvino_model.bin": b"4567"}
    store.publish(stage(store, "conv_2", other), a_manifest(group_size=128))
    with pytest.raises(VariantNotPublished):
        store.set_quality(measured, a_card(), None)
    assert store.manifest("demo", "int4").quality is None
