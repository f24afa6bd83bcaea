"""The short form of `make conversion-chaos`: losses at random moments over a queue of conversions."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.conversion_chaos.plan import WEIGHTS
from tests.conversion_chaos.run import run_chaos
from tests.conversion_chaos.store_view import StoreView

pytestmark = pytest.mark.connected


@pytest.mark.timeout(240)
def test_every_job_ends_as_asked_whatever_is_killed(tmp_path: Path) -> None:
    """The accident: two losses at once, or one at an unlucky moment, cost a job, or left half a variant listed."""
    folder = tmp_path / "chaos"
    report = run_chaos(folder, kills=10, seed=5, real=False, mean_pause_seconds=0.8, say=_say)
    assert not report.violations, report.table()
    assert set(report.kills) == set(WEIGHTS)
    assert sum(report.kills.values()) == 10
    assert report.states["succeeded"] > 3
    assert max(report.attempts) > 1
    _assert_the_checker_sees_what_is_broken(folder / "bed" / "models", tmp_path)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _assert_the_checker_sees_what_is_broken(store: Path, tmp_path: Path) -> None:
    """A checker that overlooks a half, a damaged, a second or a lost publication proves nothing."""

    def spoil_nothing(folder: Path) -> None:
        pass

    def truncate(folder: Path) -> None:
        weights = folder / "openvino_model.bin"
        content = weights.read_bytes()
        # The scene's variants share files by links.
        weights.unlink()
        weights.write_bytes(content[:-1])

    def lose_a_file(folder: Path) -> None:
        (folder / "config.json").unlink()

    def publish_again(folder: Path) -> None:
        manifest = folder / "manifest.json"
        manifest.write_text(manifest.read_text().replace("created_at", "made_at"))

    def delete(folder: Path) -> None:
        shutil.rmtree(folder)

    for number, spoil in enumerate((spoil_nothing, truncate, lose_a_file, publish_again, delete)):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(store, copy)
        view = StoreView(copy)
        view.look()
        assert not view.violations
        spoil(next(copy.glob("[!.]*/*/manifest.json")).parent)
        view.look()
        assert bool(view.violations) is (spoil is not spoil_nothing), spoil.__name__
