"""What is freed, and what a conversion that comes in between gets back."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from converter_worker.collection import collect
from converter_worker.hub_cache import hub_cache_folder
from converter_worker.leftovers import FoundLeftover, LeftoverSearch, size_of
from converter_worker.sources import hub_repository
from shared.model_store import ModelStore
from shared.schemas.store import Leftover


def found(path: Path, is_needed: Callable[[], bool] = lambda: False) -> FoundLeftover:
    path.mkdir(parents=True)
    (path / "file").write_bytes(b"12345")
    return FoundLeftover(Leftover(kind="cache", name="x", size_bytes=5, reason="nobody"), path, is_needed, path.parent)


def test_what_is_needed_by_then_stays(tmp_path: Path) -> None:
    (outcome,) = collect([found(tmp_path / "x", lambda: True)])
    assert (outcome.state, outcome.reason) == ("kept", "a conversion has begun to use it")
    assert (tmp_path / "x" / "file").is_file()


def test_what_becomes_needed_while_it_is_taken_away_comes_back(tmp_path: Path) -> None:
    """A conversion that is accepted between the look and the removal would read from a folder that vanishes."""
    answers = iter([False, True])
    (outcome,) = collect([found(tmp_path / "x", lambda: next(answers))])
    assert outcome.state == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x" / "file").read_bytes() == b"12345"


def test_what_was_fetched_anew_meanwhile_is_kept_and_the_old_one_freed(tmp_path: Path) -> None:
    """A conversion that finds nothing fetches it: the old copy must not come back over the new one."""

    def fetched_anew() -> bool:
        if not (tmp_path / "x").exists():
            (tmp_path / "x").mkdir()
            (tmp_path / "x" / "new").touch()
            return True
        return False

    (outcome,) = collect([found(tmp_path / "x", fetched_anew)])
    assert outcome.state == "freed"
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["x", "x/new"]


def test_two_collections_at_once_do_not_fail(tmp_path: Path) -> None:
    leftover = found(tmp_path / "x")
    assert [item.state for item in collect([leftover, leftover])] == ["freed", "kept"]


def a_search(folder: Path) -> tuple[ModelStore, LeftoverSearch]:
    store = ModelStore(folder / "models")
    search = LeftoverSearch(
        store=store,
        scratch=None,
        hub_cache=folder / "hub",
        demo_folder=folder / "demo",
        is_unfinished=lambda conversion_id: False,
        sources_in_use=frozenset,
        known_sources=frozenset,
        demo_source="org/demo",
    )
    return store, search


def test_a_variant_whose_manifest_cannot_be_read_now_is_kept(tmp_path: Path) -> None:
    """A stale mount answered with errors for a moment: a collection would have freed every variant that it saw so."""
    store, search = a_search(tmp_path)
    (store.path / "model" / "int4" / "manifest.json").mkdir(parents=True)
    (kept,) = collect(search.found())
    assert (kept.kind, kept.state) == ("damaged", "kept")
    assert (store.path / "model" / "int4").is_dir()


def test_a_variant_that_was_published_over_an_orphan_meanwhile_is_kept(tmp_path: Path) -> None:
    """A conversion put half a folder out of its way and published; the collection that had found that one freed it."""
    store, search = a_search(tmp_path)
    folder = store.path / "model" / "int4"
    folder.mkdir(parents=True)
    os.utime(folder, (1, 1))
    (orphan,) = search.found()
    (folder / "manifest.json").write_text("{}")
    (outcome,) = collect([orphan])
    assert (outcome.state, outcome.reason) == ("kept", "a conversion has begun to use it")
    assert (folder / "manifest.json").is_file()


def test_what_a_killed_collection_left_is_found_again(tmp_path: Path) -> None:
    """A converter that was killed between the renaming and the removal left gigabytes that no collection saw."""
    store, search = a_search(tmp_path)
    (store.path / "model" / "int4").mkdir(parents=True)
    os.utime(store.path / "model" / "int4", (1, 1))
    (orphan,) = search.found()

    def end_after_the_renaming() -> bool:
        if not orphan.path.exists():
            raise SystemExit
        return False

    with pytest.raises(SystemExit):
        list(collect([replace(orphan, is_needed=end_after_the_renaming)]))
    (again,) = search.found()
    assert [item.state for item in collect([again])] == ["freed"]
    assert not any(store.path.rglob("*trash*"))


def test_a_file_with_two_names_counts_once_and_a_link_hardly(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs" / "a").write_bytes(b"\0" * 1000)
    (folder / "b").hardlink_to(folder / "blobs" / "a")
    (folder / "link").symlink_to(folder / "blobs" / "a")
    assert 1000 <= size_of(folder) < 1500


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/h"}, "/h/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_hubs_library_has_it(environment: dict[str, str], folder: str) -> None:
    assert hub_cache_folder(environment) == Path(folder)


@pytest.mark.parametrize(
    ("source", "repository"),
    [("a/b", "a/b"), ("a/b/c.gguf", "a/b"), ("gpt2", "gpt2"), ("/models/b", None), ("./b", None), ("~/b", None)],
)
def test_a_source_names_its_repository(source: str, repository: str | None) -> None:
    assert hub_repository(source) == repository
