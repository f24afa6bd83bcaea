"""Messages of the platform with the usual fields filled in: a test names what it is about."""

from shared.schemas.generation import ChatTurn, EngineOptions, GenerationParams, GenerationRequest, GenerationStarted
from shared.schemas.workers import WorkerInfo


def generation_request(
    generation_id: str = "g",
    *,
    user: str = "ann",
    variant: str = "demo:int4",
    content: str = "hi",
    params: GenerationParams | None = None,
    options: EngineOptions | None = None,
) -> GenerationRequest:
    """Return one turn of a user's chat for a variant that is written `model:variant`."""
    model, _, name = variant.partition(":")
    return GenerationRequest(
        generation_id=generation_id,
        request_id="r-" + generation_id,
        user=user,
        chat_id="chat_1",
        model=model,
        variant=name,
        messages=(ChatTurn(role="user", content=content),),
        params=params or GenerationParams(),
        options=options or EngineOptions(),
    )


def generation_started(generation_id: str = "g", *, prompt_tokens: int = 7) -> GenerationStarted:
    """Return the first frame of an answer."""
    return GenerationStarted(
        generation_id=generation_id,
        model="demo",
        variant="int4",
        device="CPU",
        worker_id="w",
        prompt_tokens=prompt_tokens,
        dropped_turns=0,
    )


def worker_info(worker_id: str = "w1") -> WorkerInfo:
    """Return a ready worker on a CPU."""
    return WorkerInfo(
        worker_id=worker_id,
        host_id="h",
        device="CPU",
        device_name="cpu",
        engine="sample",
        state="ready",
        max_replicas=1,
        started_ms=1,
    )
