"""The platform's errors: one small tree with stable codes.

An error is raised as a :class:`PlatformError` and crosses a process boundary as an :class:`ErrorBody`. The HTTP status
of a code is the gateway's business (one table there); here is only what happened and who can act on it.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class ErrorBody(BaseModel):
    """The one error body of every interface: HTTP, SSE, WebSocket and the journal."""

    model_config = ConfigDict(frozen=True)

    message: str
    type: str
    param: str | None = None
    code: str


class PlatformError(Exception):
    """Base of every expected failure.

    Attributes:
        code: stable name that clients may rely on.
        type: the OpenAI family of the error.
        retryable: whether the same request can succeed later without a change.
    """

    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "server_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, param: str | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds

    def body(self) -> ErrorBody:
        """Return the wire form."""
        return ErrorBody(message=self.message, type=self.type, param=self.param, code=self.code)


class InternalError(PlatformError):
    """Something that should not happen; the log has the cause."""


# --- what the caller can mend -------------------------------------------------------------------------------------


class InvalidRequest(PlatformError):
    """A field is missing, unknown, or out of range."""

    code = "invalid_request"
    type = "invalid_request_error"


class RequestTooLarge(InvalidRequest):
    """The body of an HTTP request has more bytes than the gateway takes."""

    code = "request_too_large"


class InvalidFrame(InvalidRequest):
    """A WebSocket frame is no JSON or no known command."""

    code = "invalid_frame"


class ContextLengthExceeded(InvalidRequest):
    """The newest turn alone is longer than the model's context."""

    code = "context_length_exceeded"


class InvalidApiKey(InvalidRequest):
    """No key or a wrong one."""

    code = "invalid_api_key"


class PermissionDenied(PlatformError):
    """The key is good but may not do this."""

    code = "permission_denied"
    type = "permission_error"


class NotFound(InvalidRequest):
    """Base of the things that are not there."""

    code = "not_found"


class ModelNotFound(NotFound):
    """No catalogue entry and no published variant has this name."""

    code = "model_not_found"


class ModelNotConverted(NotFound):
    """The catalogue knows the model, but no variant of it is published."""

    code = "model_not_converted"


class VariantNotPublished(NotFound):
    """The model has published variants, but not this one."""

    code = "variant_not_published"


class ConversionNotFound(NotFound):
    """No conversion has this id."""

    code = "conversion_not_found"


class WorkerNotFound(NotFound):
    """No living inference worker has this id."""

    code = "worker_not_found"


class StoreRunNotFound(NotFound):
    """No run over the model store has this id, or it was a day ago."""

    code = "store_run_not_found"


class GenerationNotFound(NotFound):
    """No generation of this user has this id."""

    code = "generation_not_found"


class ChatNotFound(NotFound):
    """No chat of this user has this id, or no message in it."""

    code = "chat_not_found"


class JournalExpired(InvalidRequest):
    """The generation ended too long ago to be replayed; its message is stored in the chat."""

    code = "journal_expired"


class Conflict(InvalidRequest):
    """Base of requests that are right but not now or not beside what exists."""

    code = "conflict"


class VariantExists(Conflict):
    """A variant of this name is published with another recipe or source."""

    code = "variant_exists"


class NameTaken(Conflict):
    """The public name belongs to another source model."""

    code = "name_taken"


class ChatBusy(Conflict):
    """The branch has a running generation."""

    code = "chat_busy"


class RateLimited(PlatformError):
    """The user's own limit is reached for now."""

    code = "rate_limit_exceeded"
    type = "rate_limit_error"
    retryable = True


class QuotaExceeded(PlatformError):
    """The user's tokens of the day are spent."""

    code = "insufficient_quota"
    type = "insufficient_quota"


# --- what fails in a conversion -------------------------------------------------------------------------------------


class SourceNotFound(InvalidRequest):
    """The source model is neither a readable local checkpoint nor a reachable hub id."""

    code = "source_not_found"


class SourceGated(PermissionDenied):
    """The hub asks for a licence to be accepted, or for a token."""

    code = "source_gated"


class NotCausalLm(InvalidRequest):
    """The checkpoint is no causal language model, or the exporter does not know its architecture."""

    code = "not_causal_lm"


class FamilyNotExported(InvalidRequest):
    """No version stack of the converter exports the model's family; the message names what works instead."""

    code = "family_not_exported"


class RemoteCodeNeeded(InvalidRequest):
    """The model cannot be loaded without the Python code that comes with it, and the request does not allow that."""

    code = "remote_code_needed"


class SourceCorrupt(InvalidRequest):
    """The checkpoint's files are damaged or incomplete."""

    code = "source_corrupt"


class TokenizerMissing(InvalidRequest):
    """The checkpoint has no tokenizer that can be served."""

    code = "tokenizer_missing"


class RecipeUnfit(InvalidRequest):
    """The recipe does not fit the model, such as a group size that does not divide the channels."""

    code = "recipe_unfit"


class CalibrationUnavailable(InvalidRequest):
    """The calibration texts that a recipe needs cannot be had."""

    code = "calibration_unavailable"


class DiskFull(PlatformError):
    """No space left where a conversion writes, or where a worker keeps what it fetches."""

    code = "disk_full"
    retryable = True


class OutOfMemory(PlatformError):
    """A stage needs more memory than any converter has, or the kernel ended it for want of memory."""

    code = "out_of_memory"


class StageCrashed(PlatformError):
    """A stage's child process ended without a result."""

    code = "stage_crashed"
    retryable = True


class StageTimedOut(PlatformError):
    """A stage took longer than the operator allows."""

    code = "stage_timed_out"


class VerificationFailed(PlatformError):
    """The converted variant does not generate sane output."""

    code = "verification_failed"


class StoreUnwritable(PlatformError):
    """The model store cannot be written."""

    code = "store_unwritable"


# --- what fails in a generation -------------------------------------------------------------------------------------


class VariantCorrupt(PlatformError):
    """A variant's files are not those of its manifest."""

    code = "variant_corrupt"


class LoadFailed(PlatformError):
    """The engine could not load the variant."""

    code = "load_failed"


class TemplateFailed(PlatformError):
    """The chat template refused the messages or could not be rendered."""

    code = "template_failed"
    type = "invalid_request_error"


class TemplateTimeout(PlatformError):
    """The chat template ran longer than allowed."""

    code = "template_timeout"


class DeviceNotFound(PlatformError):
    """OpenVINO does not see this device on this host."""

    code = "device_not_found"


class Unavailable(PlatformError):
    """Base of the failures that pass."""

    code = "unavailable"
    type = "service_unavailable"
    retryable = True


class Overloaded(Unavailable):
    """The queue is full, or the request waited in it too long."""

    code = "overloaded"


class NoWorker(Unavailable):
    """No inference worker that can serve the variant is registered."""

    code = "no_worker"


class WorkerLost(Unavailable):
    """The worker died too often under this generation, or Redis has lost it."""

    code = "worker_lost"


class KvCacheExhausted(Unavailable):
    """The engine ran out of KV cache memory."""

    code = "kv_cache_exhausted"


class RedisUnavailable(Unavailable):
    """Redis does not answer."""

    code = "redis_unavailable"


class RedisFull(Unavailable):
    """Redis has reached its memory limit and takes nothing new; what is there can be read and deleted."""

    code = "redis_full"


class StoreUnavailable(Unavailable):
    """The store that a worker fetches variants from does not answer."""

    code = "store_unavailable"


class Draining(Unavailable):
    """The service is shutting down and takes nothing new."""

    code = "draining"


class Cancelled(PlatformError):
    """The work was cancelled from elsewhere."""

    code = "cancelled"


def _tree(base: type[PlatformError]) -> list[type[PlatformError]]:
    return [base, *(leaf for child in base.__subclasses__() for leaf in _tree(child))]


def error_types() -> dict[str, type[PlatformError]]:
    """Return every error of the tree by its code."""
    return {error.code: error for error in _tree(PlatformError)}


def error_from_body(body: ErrorBody) -> PlatformError:
    """Return the exception that a wire body stands for; an unknown code becomes :class:`InternalError`."""
    return error_types().get(body.code, InternalError)(body.message, param=body.param)
