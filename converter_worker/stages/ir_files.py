"""Saving OpenVINO IR, and telling a whole file pair from a truncated one.

OpenVINO's writer does not always notice that the disk is full: it can leave a short weights file behind without an
error. So every saved pair is compared with what its own description says.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import DiskFull, InternalError

if TYPE_CHECKING:
    import openvino

MODEL_NAME = "openvino_model"
#: Below this much free space a short file is blamed on a full disk.
_FULL_DISK_BYTES = 16 << 20
_CONSTANT_DATA = re.compile(rb'<data [^>]*?offset="(\d+)" size="(\d+)"')


def save_ir(model: "openvino.Model", xml_file: Path) -> None:
    """Save a model as it is, without rounding anything to fp16.

    Raises:
        DiskFull: the disk has no space for it.
    """
    import openvino

    try:
        openvino.save_model(model, xml_file, compress_to_fp16=False)
    except RuntimeError as error:
        if disk_is_full(xml_file.parent):
            raise DiskFull(f"No space is left on the disk of {xml_file.parent}.") from error
        raise
    check_ir(xml_file)


def check_ir(xml_file: Path) -> int:
    """Return the size of an IR's weights in bytes.

    Raises:
        DiskFull: the files are shorter than they should be and the disk is full.
        InternalError: they are shorter for another reason.
    """
    weights_file = xml_file.with_suffix(".bin")
    description = xml_file.read_bytes() if xml_file.is_file() else b""
    wanted = max((int(offset) + int(size) for offset, size in _CONSTANT_DATA.findall(description)), default=0)
    present = weights_file.stat().st_size if weights_file.is_file() else 0
    if present >= wanted and description.rstrip().endswith(b"</net>"):
        return present
    if disk_is_full(xml_file.parent):
        raise DiskFull(f"No space is left on the disk of {xml_file.parent}.")
    raise InternalError(f"{xml_file.name} was not written whole: {present} of {wanted} bytes of weights.")


def disk_is_full(folder: Path) -> bool:
    """Tell whether the file system of `folder` has no space left worth speaking of."""
    while not folder.exists():
        folder = folder.parent
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize < _FULL_DISK_BYTES
