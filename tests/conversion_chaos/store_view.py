"""The independent look at the model store: files and manifests on the disk, without code of the platform."""

import hashlib
import json
import threading
from collections.abc import Iterable
from pathlib import Path


class StoreView(threading.Thread):
    """Looks at the whole store again and again: whatever is listed must be whole, and stay the same for ever."""

    def __init__(self, store: Path) -> None:
        super().__init__(name="store-view", daemon=True)
        self.store = store
        self.looks = 0
        self.violations: list[str] = []
        #: Of each variant ever seen, the manifest that it had.
        self.seen: dict[str, bytes] = {}
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.05):
            self.look()

    def stop(self) -> None:
        """End the looking, after a last look."""
        self._stopped.set()
        self.join()
        self.look()

    def look(self) -> None:
        """Check every variant that is listed now."""
        self.looks += 1
        listed = sorted(self.store.glob("[!.]*/*/manifest.json"))
        for file in listed:
            name = f"{file.parent.parent.name}:{file.parent.name}"
            self._check(name, file)
        gone = self.seen.keys() - {f"{file.parent.parent.name}:{file.parent.name}" for file in listed}
        self._complain(f"{name} was published and is gone" for name in sorted(gone))

    def _check(self, name: str, file: Path) -> None:
        raw = file.read_bytes()
        if self.seen.setdefault(name, raw) != raw:
            self._complain([f"{name} was published twice: its manifest has changed"])
        try:
            files = json.loads(raw)["files"]
        except (ValueError, KeyError):
            self._complain([f"{name} is listed with half a manifest"])
            return
        present = {str(path.relative_to(file.parent)) for path in file.parent.rglob("*") if path.is_file()}
        if present != {*files, "manifest.json"}:
            self._complain([f"{name} has files {sorted(present ^ {*files, 'manifest.json'})} amiss"])
        for part in present & set(files):
            if hashlib.sha256((file.parent / part).read_bytes()).hexdigest() != files[part]["sha256"]:
                self._complain([f"{name} is damaged: {part} is not what its manifest says"])

    def _complain(self, violations: Iterable[str]) -> None:
        for violation in violations:
            if violation not in self.violations:
                self.violations.append(violation)
