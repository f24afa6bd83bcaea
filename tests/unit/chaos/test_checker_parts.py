"""The chaos checker's own parts: independent of the platform, and not to be fooled."""

import ast
import json
import random
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from tests.chaos import checker
from tests.chaos.decoding import ByteLevelDecoder, LibraryDecoder, cut_at_stop
from tests.chaos.engine_logs import MadeAnswer, read_engine_logs
from tests.chaos.http_answers import check_http_answer
from tests.chaos.socket_answers import check_socket_answer
from tests.helpers.tiny_checkpoints import write_tiny_tokenizer

FOLDER = Path(checker.__file__).parent
CHECKING = ("checker", "socket_answers", "http_answers", "engine_logs", "decoding", "verdict", "recorder")
PLATFORM = ("gateway", "inference_worker", "converter_worker", "shared", "deploy", "redis")


@pytest.fixture(scope="module")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tiny_tokenizer(folder, 384)
    return folder / "tokenizer.json"


@pytest.mark.parametrize("name", CHECKING)
def test_the_checker_knows_nothing_of_the_platform(name: str) -> None:
    """A checker that shares code with what it checks shares its mistakes."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert [module for module in imported if module.split(".")[0] in PLATFORM] == []


def test_both_decoders_say_the_same(tokenizer_path: Path) -> None:
    dice = random.Random(1)
    own, library = ByteLevelDecoder(tokenizer_path), LibraryDecoder(tokenizer_path)
    for _ in range(200):
        token_ids = dice.choices(range(384), k=dice.randint(0, 40))
        assert own.decode(token_ids) == library.decode(token_ids)


def test_the_stop_string_that_is_complete_first_cuts() -> None:
    assert cut_at_stop("say abc now", ("abcd", "c n", "abc")) == "say "
    assert cut_at_stop("nothing", ("q",)) is None


def logged(folder: Path, *lines: dict[str, Any]) -> MadeAnswer:
    (folder / "1.jsonl").write_text("".join(json.dumps({"t": at, **line}) + "\n" for at, line in enumerate(lines)))
    return read_engine_logs(folder)[0]["g"]


def add(attempt: int, *ids: int) -> dict[str, Any]:
    return {"e": "add", "id": f"g:{attempt}", "ids": ids, "max_new_tokens": 9}


def out(attempt: int, *ids: int, finish: str | None = None) -> dict[str, Any]:
    return {"e": "out", "id": f"g:{attempt}", "ids": ids, "finish": finish}


def test_attempts_are_followed_over_their_seams(tmp_path: Path) -> None:
    made = logged(tmp_path, add(1, 7, 8), out(1, 1, 2, 3), add(3, 7, 8, 1, 2), out(3, 4, finish="length"))
    assert made == MadeAnswer((7, 8), (1, 2, 4), "length", 2, ())


@pytest.mark.parametrize(
    "second", [add(2, 7, 8, 1, 9), add(2, 7, 9, 1), add(1, 7, 8, 1), add(2, 7, 8, 1, 2, 3, 4), add(2, 7)]
)
def test_a_seam_with_other_tokens_is_seen(tmp_path: Path, second: dict[str, Any]) -> None:
    assert logged(tmp_path, add(1, 7, 8), out(1, 1, 2, 3), second).problems


def test_a_seam_that_forgets_an_earlier_one_is_seen(tmp_path: Path) -> None:
    made = logged(tmp_path, add(1, 7), out(1, 1, 2), add(2, 7, 1, 2), add(3, 7, 1))
    assert made.problems


def test_an_attempt_that_comes_late_counts_for_nothing(tmp_path: Path) -> None:
    """A worker that was stopped begins with what a later attempt has made, before it hears that it was lost."""
    late = (add(1, 7), out(1, 1), add(3, 7, 1), out(3, 2, 3), add(2, 7, 1, 2), out(2, 9), add(4, 7, 1, 2, 3), out(4, 4))
    assert logged(tmp_path, *late) == MadeAnswer((7,), (1, 2, 3, 4), None, 4, ())
    assert logged(tmp_path, *late[:4], add(2, 7, 1, 5)).problems


def socket_violations(tokenizer_path: Path, *frames: dict[str, Any], tokens: tuple[int, ...]) -> list[str]:
    ask = {"ask": "a", "kind": "greedy", "stop": (), "cancels": False, "max_new_tokens": len(tokens)}
    rows = [
        {"t": float(at), "what": "frame", "frame": {"generation_id": "g", **frame}} for at, frame in enumerate(frames)
    ]
    made = MadeAnswer((7,), tokens, "length", 1, ())
    return check_socket_answer(ask, (), rows, made, ByteLevelDecoder(tokenizer_path)).violations


def test_what_is_wrong_with_a_sockets_answer_is_seen(tokenizer_path: Path) -> None:
    tokens = tuple(tokenizers.Tokenizer.from_file(str(tokenizer_path)).encode("good").ids)
    queued = {"type": "generation.queued", "request_id": "a"}
    first = {"type": "generation.delta", "seq": 1, "text": "go"}
    second = {"type": "generation.delta", "seq": 2, "text": "od"}
    usage = {"completion_tokens": len(tokens)}
    end = {"type": "generation.finished", "seq": 2, "finish_reason": "length", "usage": usage}
    failed = {"type": "generation.failed", "error": {"code": "worker_lost", "message": "lost"}}
    assert socket_violations(tokenizer_path, queued, first, second, end, tokens=tokens) == []
    for frames in (
        (queued, first, end),
        (queued, first, first, second, end),
        (queued, second, first, end),
        (queued, first, {**second, "text": "ad"}, end),
        (queued, first, second),
        (queued, first, second, end, end),
        (queued, first, second, end, second),
        (queued, first, second, {**end, "usage": {"completion_tokens": 1}}),
        (queued, first, second, {**end, "finish_reason": "stop"}),
        (queued, first, second, {**end, "finish_reason": "cancelled"}),
        (queued, first, failed),
    ):
        assert socket_violations(tokenizer_path, *frames, tokens=tokens), frames


def test_a_half_answer_that_looks_whole_is_seen(tokenizer_path: Path) -> None:
    tokens = tuple(tokenizers.Tokenizer.from_file(str(tokenizer_path)).encode("good").ids)
    made = [MadeAnswer((7,), tokens, "length", 1, ())]
    ask = {"t": 0.0, "ask": "a", "kind": "v1", "gateway": 0}

    def violations(*chunks: object, kills: dict[int, list[float]] | None = None, broke: bool = False) -> list[str]:
        rows: list[dict[str, Any]] = [{"t": 1.0, "what": "chunk", "chunk": chunk} for chunk in chunks]
        rows += [{"t": 2.0, "what": "broke", "reason": "ReadError"}] if broke else []
        return check_http_answer(ask, rows, made, kills or {}, ByteLevelDecoder(tokenizer_path)).violations

    def choice(text: str, finish_reason: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}]}

    end = choice("", "length")
    assert violations(choice("go"), choice("od"), end, "[DONE]") == []
    assert violations(choice("go"), broke=True, kills={0: [1.5]}) == []
    assert violations(choice("go"), broke=True, kills={1: [1.5]})
    assert violations(choice("go"), end, "[DONE]")
    assert violations(choice("go"), "[DONE]")
    assert violations(choice("go"), choice("od"), end)
    assert violations(choice("go"), choice("od"), end, choice("!"), "[DONE]")
    assert violations(choice("go"), {"error": {"code": "worker_lost", "message": "lost"}}, "[DONE]")
