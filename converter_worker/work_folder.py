"""The folder of one conversion's work in progress.

A stage writes into a folder of its own attempt and renames it when it is whole: what exists under its final name is
complete, so a stage that is run again finds it and has nothing to do.
"""

import contextlib
import errno
import json
import secrets
import shutil
from pathlib import Path

from pydantic import JsonValue

from converter_worker.linked_files import link_or_copy
from shared.removal import remove_folder


class WorkFolder:
    """Paths below one conversion's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    @property
    def base(self) -> Path:
        """The base IR."""
        return self.path / "base"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's files."""
        return self.path / "tokenizer"

    def variant(self, name: str) -> Path:
        """A whole variant: IR, configuration and tokenizer."""
        return self.path / "variants" / name

    def log_file(self, stage: str) -> Path:
        """What a stage's children printed."""
        return self.path / f"{stage}.log"

    def begin(self, target: Path, attempt: int) -> Path:
        """Return a path that does not exist, into which a stage writes what becomes `target`.

        What lost attempts wrote goes: the disk was foretold to hold it once.
        """
        parts = [target.with_name(f".{target.name}.{number}") for number in range(1, attempt + 1)]
        for part in parts:
            remove_folder(part)
        parts[-1].parent.mkdir(parents=True, exist_ok=True)
        return parts[-1]

    def finish(self, part: Path, target: Path) -> None:
        """Give a whole folder its final name; one that is there already is kept."""
        try:
            part.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(part)

    def record(self, name: str, content: dict[str, JsonValue]) -> None:
        """Keep what a stage found out under a name, replacing what was there at once."""
        file = self._record_file(name)
        # A name of its own: a converter that comes back late may write the same record.
        part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        part.write_text(json.dumps(content), "utf-8")
        part.replace(file)

    def recall(self, name: str) -> dict[str, JsonValue] | None:
        """Return what was kept under a name, None if nothing was."""
        with contextlib.suppress(FileNotFoundError):
            content: dict[str, JsonValue] = json.loads(self._record_file(name).read_text("utf-8"))
            return content
        return None

    def _record_file(self, name: str) -> Path:
        return self.path / f"{name}.record.json"

    def add_tokenizer(self, part: Path) -> None:
        """Put the tokenizer's files beside a variant's IR."""
        for file in self.tokenizer.iterdir():
            link_or_copy(file, part / file.name)

    def size_bytes(self) -> int:
        """Return what the folder takes on the disk; a file with several names in it counts once."""
        files = {(status.st_dev, status.st_ino): status.st_size for status in map(Path.stat, self._files())}
        return sum(files.values())

    def _files(self) -> list[Path]:
        return [path for path in self.path.rglob("*") if path.is_file()]

    def remove(self) -> None:
        """Remove everything; nothing happens where nothing is."""
        remove_folder(self.path)
