"""The independent check of a run: what clients received against what the engines made.

It reads the clients' rows, the list of what was killed when, and the engines' token logs; no Redis, and no code of
the platform.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.asks import HTTP_KINDS
from tests.chaos.decoding import Decoder
from tests.chaos.engine_logs import MadeAnswer, read_engine_logs
from tests.chaos.http_answers import check_http_answer
from tests.chaos.recorder import Row, read_rows
from tests.chaos.socket_answers import check_socket_answer
from tests.chaos.verdict import Verdict

_NAME = re.compile(r"\[(\w+)\]")


@dataclass(frozen=True, slots=True)
class Heard:
    """One request's row, its client's other rows, and the frames of its generation, on whatever connection."""

    ask: Row
    own: list[Row] = field(default_factory=list)
    frames: list[Row] = field(default_factory=list)


def check(rows_path: Path, token_logs: Path, decoder: Decoder) -> list[Verdict]:
    """Return a verdict on every request of a run."""
    rows = read_rows(rows_path)
    made, _ = read_engine_logs(token_logs)
    gateway_kills: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        if row["what"] == "kill" and row["kind"] == "gateway":
            gateway_kills[row["gateway"]].append(row["t"])
    by_name = _made_by_name(made, decoder)
    verdicts = []
    for heard in what_was_heard(rows):
        name = heard.ask["ask"]
        if heard.ask["kind"] in HTTP_KINDS:
            verdicts.append(check_http_answer(heard.ask, heard.own, by_name.get(name, ()), gateway_kills, decoder))
            continue
        ids = {row["frame"]["generation_id"] for row in heard.frames}
        answer = made.get(min(ids)) if ids else None
        verdicts.append(check_socket_answer(heard.ask, heard.own, heard.frames, answer, decoder))
    return verdicts


def what_was_heard(rows: Iterable[Row]) -> list[Heard]:
    """Return the requests in their order; a frame belongs to its generation's, whatever was asked when it came."""
    found: dict[str, Heard] = {}
    generations: dict[str, str] = {}
    for row in rows:
        if row["what"] == "ask":
            found[row["ask"]] = Heard(row)
        elif row["what"] == "frame":
            frame = row["frame"]
            if frame["type"] == "generation.queued":
                generations[frame["generation_id"]] = frame["request_id"]
            owner = generations.get(frame.get("generation_id", ""))
            if owner is not None and frame["type"] != "error":
                found[owner].frames.append(row)
        elif "ask" in row:
            found[row["ask"]].own.append(row)
    return list(found.values())


def _made_by_name(made: dict[str, MadeAnswer], decoder: Decoder) -> dict[str, list[MadeAnswer]]:
    """Return what was made by the name that a prompt begins with."""
    by_name: dict[str, list[MadeAnswer]] = defaultdict(list)
    for answer in made.values():
        found = _NAME.search(decoder.decode(answer.prompt))
        if found is not None:
            by_name[found[1]].append(answer)
    return by_name
