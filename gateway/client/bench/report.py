"""The figures of a load as one document, ``schema`` 1."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from gateway.client.bench.distribution import Distribution
from shared.schemas.common import Message


class ErrorCount(Message):
    """Requests that ended with one code. A refusal's latency is that of saying no."""

    code: str
    message: str
    refused: bool
    status: int | None
    count: int
    latency_ms: Distribution | None
    retry_after_seconds: Distribution | None


class StepReport(Message):
    """One step of a load. Latencies are of finished requests and count from when each was to be sent.

    Attributes:
        seconds: from the first intended request to the last end.
        unfinished: requests that were open when the measurement was broken off.
        first_token_ms: to the first piece of the answer.
        between_tokens_ms: between neighbouring pieces, of all answers together.
        per_token_ms: each answer's time after its first piece, divided by its tokens after the first.
        queue_ms, queue_to_first_token_ms: the gateway's own times in the queue, and from leaving it to the first token;
            None over OpenAI's interface, which does not tell them.
        send_delay_ms: how late this program sent; where it is not small, the figures are this program's.
        deltas_by_second: pieces of answers that came in each second since ``started_at``.
    """

    load: Literal["closed", "open"]
    concurrency: int | None = None
    rate_per_second: float | None = None
    started_at: datetime
    seconds: float
    sent: int
    finished: int
    refused: int
    failed: int
    unfinished: int
    requests_per_second: float
    output_tokens: int
    output_tokens_per_second: float
    prompt_tokens: Distribution | None
    first_token_ms: Distribution | None
    between_tokens_ms: Distribution | None
    per_token_ms: Distribution | None
    total_ms: Distribution | None
    queue_ms: Distribution | None
    queue_to_first_token_ms: Distribution | None
    send_delay_ms: Distribution | None
    errors: tuple[ErrorCount, ...]
    deltas_by_second: tuple[int, ...]


class PeerReport(Message):
    """The same prompts through something else on the machine of this program.

    Attributes:
        tokens_per_second: of each round.
        ratio: the platform's tokens per second divided by the peer's, the median of the rounds.
        first_token_ms: where the peer tells it: asking one at a time, or one prompt.
        same_prompts: whether it read as many prompt tokens as the platform.
    """

    name: str
    versions: dict[str, str]
    tokens_per_second: tuple[float, ...]
    median_tokens_per_second: float
    ratio: float
    first_token_ms: Distribution | None
    per_token_ms: Distribution | None
    same_prompts: bool


class ComparisonReport(Message):
    """One number of prompts at once, round by round through the platform and through each peer."""

    concurrency: int
    tokens_per_second: tuple[float, ...]
    median_tokens_per_second: float
    first_token_ms: Distribution | None
    per_token_ms: Distribution | None
    peers: tuple[PeerReport, ...]


class BenchReport(Message):
    """All steps of one call."""

    schema_version: Literal[1] = 1
    made_at: datetime
    ovchat_version: str
    url: str
    model: str
    api: Literal["ws", "openai"]
    max_new_tokens: int
    prompts: str
    interrupted: bool
    steps: tuple[StepReport, ...]
    comparisons: tuple[ComparisonReport, ...] = ()
