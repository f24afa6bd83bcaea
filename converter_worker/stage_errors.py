"""What went wrong in a stage, as an error with a code."""

import errno
import os
from pathlib import Path

from converter_worker.model_code import is_refused_code, remote_code_needed
from converter_worker.redaction import first_line
from shared.errors import (
    DiskFull,
    InternalError,
    NotCausalLm,
    OutOfMemory,
    PlatformError,
    SourceCorrupt,
    SourceGated,
    SourceNotFound,
)
from shared.model_store import write_error

#: What the system says of a file that cannot be read or written, whatever the stage was about.
_FILE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}
)
#: By class name, because the libraries that define them are not to be imported for a look-up.
_BY_CLASS_NAME: dict[str, type[PlatformError]] = {
    "SafetensorError": SourceCorrupt,
    "GatedRepoError": SourceGated,
    "RepositoryNotFoundError": SourceNotFound,
    "RevisionNotFoundError": SourceNotFound,
    "EntryNotFoundError": SourceNotFound,
    "LocalEntryNotFoundError": SourceNotFound,
    "OfflineModeIsEnabled": SourceNotFound,
    "HFValidationError": SourceNotFound,
    "UnpicklingError": SourceCorrupt,
    "JSONDecodeError": SourceCorrupt,
    "MemoryError": OutOfMemory,
}
#: Parts of messages, lower case, of errors whose class says nothing.
_BY_MESSAGE: tuple[tuple[str, type[PlatformError]], ...] = (
    ("no space left on device", DiskFull),
    ("can't allocate memory", OutOfMemory),
    ("cannot allocate memory", OutOfMemory),
    ("bad_alloc", OutOfMemory),
    ("incomplete metadata", SourceCorrupt),
    ("invalid header", SourceCorrupt),
    ("pytorchstreamreader failed", SourceCorrupt),
    ("size mismatch for", SourceCorrupt),
    ("does not appear to have a file named", SourceCorrupt),
    ("no file named", SourceCorrupt),
    ("unrecognized configuration class", NotCausalLm),
    ("does not recognize this architecture", NotCausalLm),
    ("unrecognized model in", NotCausalLm),
)


def platform_error(error: BaseException, stage: str, work_folder: Path) -> PlatformError:
    """Return the error that clients are told; what is not understood keeps its class name in the message."""
    from converter_worker.stages.ir_files import disk_is_full

    if isinstance(error, PlatformError):
        return error
    chain = _chain(error)
    if any(map(is_refused_code, chain)):
        return remote_code_needed()
    for cause in chain:
        if isinstance(cause, OSError) and cause.errno in _FILE_ERRORS:
            return file_error(cause, stage, work_folder)
    for cause in chain:
        found = _BY_CLASS_NAME.get(type(cause).__name__) or _by_message(str(cause))
        if found is DiskFull:
            return _disk_full(work_folder)
        if found is not None:
            return found(f"The {stage} stage: {first_line(cause)}")
    if disk_is_full(work_folder):
        return _disk_full(work_folder)
    return InternalError(f"The {stage} stage failed: {type(error).__name__}: {first_line(error)}")


def file_error(error: OSError, stage: str, folder: Path) -> PlatformError:
    """Return the error for a file that could not be read or written; what is below `folder` was to be written."""
    place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    ours = place is None or place.is_relative_to(folder) or folder.is_relative_to(place)
    if ours or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
        return write_error(error, folder)
    if isinstance(error, PermissionError):
        return SourceNotFound(
            f"The {stage} stage may not read {place}. Let the converter's user read the checkpoint's folder.",
            param="source_model",
        )
    if isinstance(error, FileNotFoundError):
        return SourceNotFound(f"The {stage} stage misses {place}: the file is gone.", param="source_model")
    return SourceCorrupt(f"The {stage} stage cannot read {place}: {error.strerror or error}.", param="source_model")


def _disk_full(folder: Path) -> DiskFull:
    return DiskFull(f"No space left on the disk of {folder}. Free some space and convert again.")


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def _by_message(message: str) -> type[PlatformError] | None:
    lower = message.lower()
    return next((kind for part, kind in _BY_MESSAGE if part in lower), None)
