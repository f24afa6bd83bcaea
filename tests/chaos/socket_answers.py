"""Checks an answer that came over the WebSocket, over all connections that it took."""

from collections.abc import Mapping, Sequence

from tests.chaos.decoding import Decoder, cut_at_stop
from tests.chaos.engine_logs import MadeAnswer
from tests.chaos.live_view import ENDS
from tests.chaos.recorder import Row
from tests.chaos.verdict import Verdict, difference

#: An answer that goes on this long after its cancel, on an unbroken connection, ignores it.
CANCEL_SECONDS = 3.0


def check_socket_answer(
    ask: Row, rows: Sequence[Row], frames: Sequence[Row], made: MadeAnswer | None, decoder: Decoder
) -> Verdict:
    """Hold one answer against the protocol and against the engines.

    Args:
        ask: the request's row.
        rows: the client's own rows of it: cancels, breaks, refusals.
        frames: every frame of its generation, whichever connection it came on.
        made: what the engines made for it; None where none ever had it.
        decoder: of the served variant.
    """
    verdict = Verdict(ask["ask"], ask["kind"])
    check_order(verdict, [row["frame"] for row in frames])
    check_client(verdict, rows)
    _check_cancel(verdict, rows, frames)
    if made is not None:
        verdict.blame(*made.problems)
    _check_text(verdict, ask, [row["frame"] for row in frames], made, decoder)
    if verdict.outcome == "open":
        verdict.blame("its end never came")
    return verdict


def check_order(verdict: Verdict, frames: Sequence[Row]) -> None:
    """Hold the frames of one generation against what the protocol says of their order."""
    queued = {frame["generation_id"] for frame in frames}
    if len(queued) > 1:
        verdict.blame(f"one request became {len(queued)} generations")
    kinds = [frame["type"] for frame in frames]
    if frames and kinds[0] != "generation.queued":
        verdict.blame(f"the first frame is {kinds[0]}")
    seqs = [frame["seq"] for frame in frames if frame["type"] == "generation.delta"]
    for expected, seq in enumerate(seqs, start=1):
        if seq != expected:
            verdict.blame(f"delta {seq} came where {expected} was due")
            break
    ends = [at for at, kind in enumerate(kinds) if kind in ENDS]
    if len(ends) > 1:
        verdict.blame(f"it ended {len(ends)} times")
    if ends and ends[0] != len(kinds) - 1:
        verdict.blame(f"{kinds[ends[0] + 1]} came after the end")
    if ends and kinds[ends[0]] == "generation.finished" and frames[ends[0]]["seq"] != len(seqs):
        verdict.blame(f"the end names delta {frames[ends[0]]['seq']}, there were {len(seqs)}")
    verdict.resumed = kinds.count("generation.resumed")


def check_client(verdict: Verdict, rows: Sequence[Row]) -> None:
    """Blame what the client itself saw go wrong."""
    for row in rows:
        if row["what"] == "gave_up":
            verdict.blame("it never ended")
        elif row["what"] == "refused":
            verdict.outcome, verdict.cause = "refused", row["error"]["code"]
            verdict.blame(f"it was refused: {row['error']['code']}")
        elif row["what"] == "broke" and row["reason"] == "TimeoutError":
            verdict.blame("nothing came on a connection for too long")


def _check_cancel(verdict: Verdict, rows: Sequence[Row], frames: Sequence[Row]) -> None:
    cancels = [row["t"] for row in rows if row["what"] == "cancel"]
    if not cancels:
        return
    breaks = [row["t"] for row in rows if row["what"] == "broke" and row["t"] >= cancels[-1]]
    late = [
        row
        for row in frames
        if row["frame"]["type"] == "generation.delta"
        and row["t"] > cancels[-1] + CANCEL_SECONDS
        and not any(at < row["t"] for at in breaks)
    ]
    if late:
        verdict.blame(f"{len(late)} deltas came {late[0]['t'] - cancels[-1]:.1f} s and more after its cancel")


def _check_text(verdict: Verdict, ask: Row, frames: Sequence[Row], made: MadeAnswer | None, decoder: Decoder) -> None:
    text = "".join(frame["text"] for frame in frames if frame["type"] == "generation.delta")
    tokens = made.token_ids if made is not None else ()
    whole = decoder.decode(tokens)
    end = next((frame for frame in frames if frame["type"] in ENDS), None)
    cut = cut_at_stop(whole, ask["stop"])
    shown = whole if cut is None else cut
    if end is None or end["type"] == "generation.failed" or end["finish_reason"] == "cancelled":
        if not shown.startswith(text):
            verdict.blame(f"the text is no beginning of the engine's: {difference(shown, text)}")
        if end is not None:
            _note_end(verdict, ask, end)
        return
    _note_end(verdict, ask, end)
    if text != shown:
        verdict.blame(f"the text is not the engine's: {difference(shown, text)}")
    if cut is not None:
        if end["finish_reason"] != "stop":
            verdict.blame(f"a stop string ended it as {end['finish_reason']}")
        return
    if made is None or made.finish != end["finish_reason"]:
        verdict.blame(f"it ended as {end['finish_reason']}, the engine's end is {made.finish if made else 'unknown'}")
    counted = end["usage"]["completion_tokens"]
    if counted != len(tokens):
        verdict.blame(f"{counted} tokens are counted, {len(tokens)} were made")
    if end["finish_reason"] == "length" and counted != ask["max_new_tokens"]:
        verdict.blame(f"it ended at {counted} of {ask['max_new_tokens']} tokens as if full")


def _note_end(verdict: Verdict, ask: Row, end: Mapping[str, object]) -> None:
    if end["type"] == "generation.failed":
        error = end["error"]
        assert isinstance(error, dict)
        verdict.outcome, verdict.cause = "failed", str(error["code"])
        verdict.blame(f"it failed, though it can be resumed: {error['code']} {error['message']}")
        return
    verdict.outcome, verdict.cause = "finished", str(end["finish_reason"])
    if end["finish_reason"] == "cancelled" and not ask["cancels"]:
        verdict.blame("it was cancelled, and nobody had asked for that")
