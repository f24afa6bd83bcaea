"""What a stage module owes the child process that runs it.

A stage module defines `Arguments` and `Result` (both :class:`StageMessage`) and `run(arguments, report) -> Result`. It
writes only below the output folder that its arguments name, raises only errors of `shared.errors` on purpose, and may
be killed at any moment: what it leaves half made is never taken for whole.
"""

from typing import Protocol

from pydantic import BaseModel, ConfigDict


class StageMessage(BaseModel):
    """Arguments or result of a stage; crosses a process boundary as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ReportProgress(Protocol):
    """Tells how far a stage is: `progress` from 0 to 1, None where it is not known."""

    def __call__(self, progress: float | None, message: str) -> None: ...


class StageFunction(Protocol):
    """`run` of a stage module, its arguments still unparsed."""

    def __call__(self, arguments: dict[str, object], report: ReportProgress) -> StageMessage: ...
