"""Where a source model comes from: the packaged demo model, a local folder or GGUF file, or the model hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from converter_worker.demo_model import (
    DEMO_REVISION,
    DEMO_SOURCE_MODEL,
    find_packaged_gguf,
    prepare_demo_checkpoint,
)
from converter_worker.local_revision import file_revision, local_revision
from shared.errors import SourceNotFound

_HUB_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")


GGUF_SUFFIX = ".gguf"


@dataclass(frozen=True)
class LocalSource:
    """A checkpoint folder that is here."""

    folder: Path
    revision: str


@dataclass(frozen=True)
class LocalGguf:
    """A GGUF file that is here."""

    file: Path
    revision: str


@dataclass(frozen=True)
class HubSource:
    """A model that the hub has to be asked for; `file` where one GGUF file of its repository is meant."""

    hub_id: str
    revision: str | None
    file: str | None = None


def resolve_source(
    source_model: str,
    revision: str | None,
    *,
    packaged_demo: bool,
    cache_folder: Path,
    local_roots: tuple[Path, ...] = (),
) -> LocalSource | LocalGguf | HubSource:
    """Tell what a source model's name means; prepares the demo model's checkpoint where that is meant.

    Raises:
        SourceNotFound: a path that does not exist or is not below a root, or has a link that leads elsewhere, or a
            text that is neither a path nor a hub id.
    """
    if packaged_demo and source_model.lower() == DEMO_SOURCE_MODEL.lower() and revision is None:
        gguf_file = find_packaged_gguf()
        if gguf_file is not None:
            return LocalSource(prepare_demo_checkpoint(gguf_file, cache_folder), DEMO_REVISION)
    folder = Path(source_model).expanduser()
    if folder.is_absolute() or source_model.startswith("."):
        # Before anything is said about the path, so that nothing can be learned about the converter's other files.
        folder = _below_a_root(folder, local_roots)
        if folder.is_file() and folder.suffix.lower() == GGUF_SUFFIX:
            return LocalGguf(folder, file_revision(folder))
        if not folder.is_dir():
            raise SourceNotFound(
                f"There is no folder {source_model} on the converter's machine. In a container only mounted folders "
                "exist: mount the checkpoint's folder into the converter, or name a hub id.",
                param="source_model",
            )
        _refuse_links_out(folder, local_roots)
        return LocalSource(folder, local_revision(folder))
    repository, file = hub_repository(source_model), _hub_file(source_model)
    if repository is None or (repository != source_model and file is None):
        raise SourceNotFound(
            f"{source_model!r} is neither an absolute path nor a model id such as 'organisation/model', nor a GGUF "
            "file such as 'organisation/model/file.gguf'.",
            param="source_model",
        )
    return HubSource(repository, revision, file)


def hub_repository(source_model: str) -> str | None:
    """Return the repository of the hub that a source is in, None for one that is a path."""
    parts = source_model.split("/")
    repository = "/".join(parts[:2])
    return repository if source_model[:1] not in "/.~" and _HUB_ID.match(repository) else None


def split_hub_file(source_model: str) -> tuple[str, str]:
    """Return the repository and the path inside it of a source that is a file of the hub."""
    organisation, name, file = source_model.split("/", 2)
    return f"{organisation}/{name}", file


def _hub_file(source_model: str) -> str | None:
    """Return the path of the GGUF file inside its repository that a source names, None where it names none."""
    parts = source_model.split("/")[2:]
    is_path = bool(parts) and all(_HUB_ID.match(part) for part in parts)
    return "/".join(parts) if is_path and parts[-1].lower().endswith(GGUF_SUFFIX) else None


def _below_a_root(folder: Path, roots: tuple[Path, ...]) -> Path:
    """Return where a folder really stands, its links followed; refuse it where that is not below a root."""
    place = folder.resolve()
    if _is_below(place, roots):
        return place
    allowed = ":".join(map(str, roots)) or "empty now"
    raise SourceNotFound(
        f"{folder} is not below a folder of OVCHAT_LOCAL_SOURCES ({allowed}), the converter's setting for checkpoint "
        "folders.",
        param="source_model",
    )


def _refuse_links_out(folder: Path, roots: tuple[Path, ...]) -> None:
    """Refuse a folder with a link that leads out of the roots: it would be read as the model's own."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not _is_below(path.resolve(), roots):
            raise SourceNotFound(
                f"{path.name} in {folder} is a link that leads out of the folders of OVCHAT_LOCAL_SOURCES. Copy the "
                "file there, or name the folder that it leads to in that setting too.",
                param="source_model",
            )


def _is_below(place: Path, roots: tuple[Path, ...]) -> bool:
    return any(place.is_relative_to(root.resolve()) for root in roots)
