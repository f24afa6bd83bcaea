"""The small parts that need no process and no Redis."""

import errno
from pathlib import Path
from unittest.mock import patch

import pytest

from converter_worker.celery_app import make_celery
from converter_worker.progress import whole_progress
from converter_worker.publication import context_length, eos_token_ids
from converter_worker.reaper import JobSigns, is_abandoned
from converter_worker.sources import HubSource, LocalGguf, LocalSource, resolve_source
from converter_worker.stage_environment import hub_token, stage_environment
from converter_worker.stage_errors import platform_error
from converter_worker.stages.ir_files import check_ir
from converter_worker.work_folder import WorkFolder
from shared import keys
from shared.errors import (
    DiskFull,
    InternalError,
    NotCausalLm,
    OutOfMemory,
    PlatformError,
    SourceCorrupt,
    SourceNotFound,
)
from shared.settings import ConverterSettings


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        (JobSigns(is_claimed=True, has_lease=True, is_queued=False, idle_ms=10**9), False),
        (JobSigns(is_claimed=True, has_lease=False, is_queued=False, idle_ms=0), True),
        (JobSigns(is_claimed=True, has_lease=False, is_queued=True, idle_ms=0), True),
        (JobSigns(is_claimed=False, has_lease=False, is_queued=True, idle_ms=10**9), False),
        (JobSigns(is_claimed=False, has_lease=False, is_queued=False, idle_ms=0), False),
        (JobSigns(is_claimed=False, has_lease=False, is_queued=False, idle_ms=30_001), True),
    ],
)
def test_a_job_is_abandoned_when_nobody_will_go_on_with_it(signs: JobSigns, expected: bool) -> None:
    assert is_abandoned(signs, lost_message_ms=30_000) is expected


def test_the_whole_progress_never_goes_back() -> None:
    order = ("resolve", "preflight", "download", "tokenizer", "export")
    points = [whole_progress(stage, part) for stage in order for part in (None, 0.0, 0.5, 1.0)]  # type: ignore[arg-type]
    points += [whole_progress("compress", part, done=done, of=3) for done in range(3) for part in (0.0, 0.5, 1.0)]
    points += [whole_progress("verify", 1.0), whole_progress("publish", 1.0)]
    assert points == sorted(points)
    assert points[-1] == 1.0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFull),
        (RuntimeError("basic_ios::clear: no space left on device"), DiskFull),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (type("SafetensorError", (Exception,), {})("Error while deserializing header"), SourceCorrupt),
        (ValueError("Unrecognized configuration class <class 'x'> for this kind of AutoModel"), NotCausalLm),
        (NotCausalLm("kept as it is"), NotCausalLm),
        (KeyError("anything"), InternalError),
    ],
)
def test_what_libraries_raise_gets_a_code(error: Exception, expected: type[PlatformError], tmp_path: Path) -> None:
    found = platform_error(error, "export", tmp_path)
    assert type(found) is expected
    assert found.message


def test_the_cause_of_an_error_counts(tmp_path: Path) -> None:
    error = RuntimeError("saving failed")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert type(platform_error(error, "compress", tmp_path)) is DiskFull


def test_the_stage_environment_keeps_no_secret() -> None:
    given = {"OVCHAT_ADMIN_KEY": "k", "HF_TOKEN": "t", "REDIS_URL": "r", "CELERY_BROKER": "b", "PATH": "/bin"}
    environment = stage_environment(given)
    assert environment["PATH"] == "/bin"
    assert not set(environment) & (set(given) - {"PATH"})
    assert environment["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert "DO_NOT_TRACK" not in stage_environment(given, telemetry=True)
    assert (hub_token(given), hub_token({})) == ("t", None)


def test_sources(tmp_path: Path) -> None:
    def resolve(name: str, revision: str | None = None) -> LocalSource | LocalGguf | HubSource:
        return resolve_source(
            name, revision, packaged_demo=False, cache_folder=tmp_path / "cache", local_roots=(tmp_path,)
        )

    (tmp_path / "model").mkdir()
    local = resolve(str(tmp_path / "model"))
    assert isinstance(local, LocalSource)
    assert local.revision.startswith("local-")
    assert resolve("org/Some-Model.v1", "main") == HubSource("org/Some-Model.v1", "main")
    assert resolve("gpt2") == HubSource("gpt2", None)
    assert resolve("org/Model-GGUF/sub/q4.gguf") == HubSource("org/Model-GGUF", None, "sub/q4.gguf")
    (tmp_path / "own.gguf").write_bytes(b"GGUF")
    assert isinstance(resolve(str(tmp_path / "own.gguf")), LocalGguf)
    for wrong in (str(tmp_path / "nothing"), "./nothing", "a b", "a/b/c", "../up", "a/b/../c.gguf", "a/b/.gguf/"):
        with pytest.raises(SourceNotFound):
            resolve(wrong)


def test_a_checkpoint_folder_stands_below_a_root(tmp_path: Path) -> None:
    """The accident: an admin's key is stolen, and any folder of the converter's machine is read as a model."""
    roots = (tmp_path / "root", tmp_path / "other")
    outside = tmp_path / "outside"
    for folder in (*roots, outside, roots[0] / "model", tmp_path / "root-not"):
        folder.mkdir()
    (roots[0] / "link").symlink_to(outside)
    (roots[1] / "link").symlink_to(roots[0] / "model")

    def resolve(folder: Path, local_roots: tuple[Path, ...] = roots) -> LocalSource | LocalGguf | HubSource:
        return resolve_source(
            str(folder), None, packaged_demo=False, cache_folder=tmp_path / "cache", local_roots=local_roots
        )

    inside = LocalSource(roots[0] / "model", resolve(roots[0] / "model").revision or "")
    assert resolve(roots[0] / "model") == resolve(roots[1] / "link") == inside
    for wrong in (outside, roots[0] / "link", roots[0] / ".." / "outside", tmp_path / "root-not", tmp_path / "no"):
        with pytest.raises(SourceNotFound, match="OVCHAT_LOCAL_SOURCES"):
            resolve(wrong)
    with pytest.raises(SourceNotFound, match="empty now"):
        resolve(roots[0] / "model", ())
    # As the hub's cache has it: links that stay below a root.
    (roots[1] / "config.json").write_text("{}")
    (roots[0] / "model" / "config.json").symlink_to(roots[1] / "config.json")
    resolve(roots[0] / "model")
    (outside / "secret.json").write_text("{}")
    (roots[0] / "model" / "tokenizer.json").symlink_to(outside / "secret.json")
    with pytest.raises(SourceNotFound, match=r"tokenizer\.json .* is a link that leads out"):
        resolve(roots[0] / "model")


def test_what_stands_under_its_final_name_is_whole(tmp_path: Path) -> None:
    work, seen = WorkFolder(tmp_path / "job"), list[bool]()
    first, second = work.begin(work.base, 1), work.begin(work.base, 2)
    for part in (first, second):
        part.mkdir()
        (part / "from").write_text(part.name)
    work.finish(second, work.base)
    work.finish(first, work.base)
    assert (work.base / "from").read_text() == ".base.2"
    assert not first.exists()
    assert work.recall("export-base") is None
    work.record("export-base", {"bytes": 1})
    assert work.recall("export-base") == {"bytes": 1}
    # Out of sight before anything of it goes: a late converter would publish the rest.
    with patch("shutil.rmtree", side_effect=lambda folder, **_: seen.append(folder.exists())):
        work.remove()
    assert (seen, work.path.exists()) == ([True], False)


def test_what_a_lost_attempt_wrote_gives_its_space_back(tmp_path: Path) -> None:
    """A converter was lost at the end of a large export: what it wrote stayed beside the next one's as long as the job.

    The disk, which held the job once as foretold, was full.
    """
    work = WorkFolder(tmp_path / "job")
    for attempt in (1, 2, 3):
        part = work.begin(work.variant("int4"), attempt)
        part.mkdir()
        (part / "openvino_model.bin").write_bytes(b"0123")
        assert [path.name for path in part.parent.iterdir()] == [f".int4.{attempt}"]
    # Another variant's, though its name begins with this one's.
    other = work.begin(work.variant("int4.1"), 2)
    other.mkdir()
    assert not work.begin(work.variant("int4"), 3).exists()
    assert list(other.parent.iterdir()) == [other]


def test_a_truncated_ir_is_noticed(tmp_path: Path) -> None:
    xml_file = tmp_path / "openvino_model.xml"
    xml_file.write_text('<net><data element_type="f16" shape="4" offset="0" size="8" /></net>')
    xml_file.with_suffix(".bin").write_bytes(b"\0" * 8)
    assert check_ir(xml_file) == 8
    xml_file.with_suffix(".bin").write_bytes(b"\0" * 7)
    with pytest.raises(InternalError, match="7 of 8 bytes"):
        check_ir(xml_file)


def test_configuration_fields_of_different_families() -> None:
    assert context_length({"max_position_embeddings": 8192}) == 8192
    assert context_length({"max_seq_len": 2048, "model_type": "mpt"}) == 2048
    assert eos_token_ids({"eos_token_id": 2}, {"eos_token_id": [2, 7]}) == (2, 7)
    assert eos_token_ids({"eos_token_id": 2}, {}) == (2,)
    assert eos_token_ids({}, {}) == ()


def test_celery_speaks_json_and_acknowledges_late() -> None:
    settings = ConverterSettings(transport_redis_url="redis://127.0.0.1:1/0", stage_time_limit_seconds=100)
    conf = make_celery(settings).conf
    assert conf.accept_content == ["json"]
    assert (conf.task_acks_late, conf.worker_prefetch_multiplier, conf.worker_concurrency) == (True, 1, 1)
    assert conf.result_backend is None
    assert conf.broker_transport_options["global_keyprefix"] == keys.CELERY_PREFIX
    assert conf.broker_transport_options["visibility_timeout"] > settings.stage_time_limit_seconds
