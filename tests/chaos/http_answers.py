"""Checks an answer of the OpenAI API, which may have several choices."""

from collections.abc import Mapping, Sequence

from tests.chaos.asks import MAY_FAIL
from tests.chaos.decoding import Decoder
from tests.chaos.engine_logs import MadeAnswer
from tests.chaos.recorder import Row
from tests.chaos.verdict import Verdict, difference

#: What a client may try again as it is.
RETRYABLE = frozenset({"worker_lost", "unavailable", "redis_unavailable", "draining", "overloaded", "no_worker"})
#: A broken stream is excused by a gateway that was killed at most this long before.
KILLED_SECONDS = 2.0


def check_http_answer(
    ask: Row,
    rows: Sequence[Row],
    made: Sequence[MadeAnswer],
    gateway_kills: Mapping[int, Sequence[float]],
    decoder: Decoder,
) -> Verdict:
    """Hold one stream against OpenAI's form and against the engines; `made` is whatever has its name in the prompt."""
    verdict = Verdict(ask["ask"], ask["kind"])
    for answer in made:
        verdict.blame(*answer.problems)
        verdict.resumed += answer.attempts - 1
    chunks = [row["chunk"] for row in rows if row["what"] == "chunk"]
    texts, reasons = _choices(verdict, chunks)
    errors = [chunk["error"] for chunk in chunks if chunk != "[DONE]" and "error" in chunk]
    if errors and reasons.keys() >= texts.keys() > set():
        verdict.blame("an error came after the end of every choice")
    _note_outcome(verdict, ask, rows, chunks, errors, gateway_kills)
    left = list(made)
    wanted = 2 if ask["kind"] == "v1-n2" else 1
    if verdict.outcome == "finished" and len(reasons) != wanted:
        verdict.blame(f"{len(reasons)} of {wanted} choices ended")
    for index, text in sorted(texts.items()):
        whole = index in reasons
        if not text and not whole:
            continue  # It was lost before an engine had it.
        found = next((answer for answer in left if _fits(text, decoder.decode(answer.token_ids), whole=whole)), None)
        if found is None:
            closest = decoder.decode(left[0].token_ids) if left else ""
            verdict.blame(f"choice {index} is not what an engine made: {difference(closest, text)}")
            continue
        left.remove(found)
        if whole and reasons[index] != found.finish:
            verdict.blame(f"choice {index} ended as {reasons[index]}, the engine's end is {found.finish}")
    return verdict


def _fits(text: str, made: str, *, whole: bool) -> bool:
    return text == made if whole else made.startswith(text)


def _choices(verdict: Verdict, chunks: Sequence[Row | str]) -> tuple[dict[int, str], dict[int, str]]:
    texts: dict[int, str] = {}
    reasons: dict[int, str] = {}
    for at, chunk in enumerate(chunks):
        if isinstance(chunk, str):
            if at != len(chunks) - 1:
                verdict.blame("something came after [DONE]")
            continue
        for choice in chunk.get("choices", ()):
            index, text = choice["index"], choice["delta"].get("content") or ""
            if index in reasons and (text or choice["finish_reason"]):
                verdict.blame(f"choice {index} went on after its end")
            texts[index] = texts.get(index, "") + text
            if choice["finish_reason"]:
                reasons[index] = choice["finish_reason"]
    return texts, reasons


def _note_outcome(
    verdict: Verdict,
    ask: Row,
    rows: Sequence[Row],
    chunks: Sequence[Row | str],
    errors: Sequence[Row],
    gateway_kills: Mapping[int, Sequence[float]],
) -> None:
    ends = [row for row in rows if row["what"] in ("broke", "status")]
    if ends and ends[0]["what"] == "broke":
        verdict.outcome, verdict.cause = "cut off", "gateway killed"
        excused = any(
            ask["t"] - 10 < at < ends[0]["t"] + KILLED_SECONDS for at in gateway_kills.get(ask["gateway"], ())
        )
        if not excused:
            verdict.cause = ends[0]["reason"]
            verdict.blame(f"its stream broke off ({ends[0]['reason']}) though its gateway lived")
        return
    if ends:
        code = ends[0]["body"]["error"]["code"]
        verdict.outcome, verdict.cause = "refused", code
        if code not in RETRYABLE or (code == "worker_lost" and ask["kind"] not in MAY_FAIL):
            verdict.blame(f"it was refused: {code}")
        return
    if not chunks or chunks[-1] != "[DONE]":
        verdict.blame("its stream ended without [DONE]")
        return
    if len(errors) > 1:
        verdict.blame("it failed more than once")
    if errors:
        verdict.outcome, verdict.cause = "failed", errors[0]["code"]
        if ask["kind"] not in MAY_FAIL or errors[0]["code"] not in RETRYABLE:
            verdict.blame(f"it failed: {errors[0]['code']} {errors[0]['message']}")
        return
    verdict.outcome, verdict.cause = "finished", ask["kind"]
