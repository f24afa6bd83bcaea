"""The `ovchat` command against real processes: a gateway and a worker with the `sample` engine."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from gateway.client.invocation import ovchat as ovchat_as_called
from gateway.client.terminal import printable
from tests.helpers.command_line import Terminal, environment_of, ovchat
from tests.helpers.pool import Pool, sample_pool
from tests.helpers.redis_server import RedisServer, free_port

pytestmark = [pytest.mark.connected, pytest.mark.e2e]


@pytest.fixture(scope="module")
def pool(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    # An answer that is to be cancelled must not come to the end of its context before, however busy the machine is.
    with sample_pool(tmp_path_factory.mktemp("pool"), session_redis.url, context_length=100_000) as pool:
        yield pool


@pytest.fixture(scope="module")
def environment(pool: Pool) -> dict[str, str]:
    return environment_of(pool.gateways[0], COLUMNS="200")


def test_lists_are_tables_for_people_and_json_for_scripts(environment: dict[str, str]) -> None:
    assert "sample:int4" in ovchat(environment, "models").stdout
    assert [model["model"] for model in json.loads(ovchat(environment, "models", "--json").stdout)] == ["sample"]
    (worker,) = json.loads(ovchat(environment, "workers", "--json").stdout)
    assert (worker["engine"], worker["state"]) == ("sample", "ready")
    assert "sample" in ovchat(environment, "workers").stdout
    assert "smollm2-135m-instruct" in ovchat(environment, "models", "--catalog").stdout


def test_variants_are_compared_and_measured_anew(environment: dict[str, str]) -> None:
    compared = ovchat(environment, "models", "compare", "sample").stdout
    assert [line for line in compared.splitlines() if line.startswith("int4")]
    assert "█" in compared
    assert "in the background" in compared
    (variant,) = json.loads(ovchat(environment, "models", "compare", "sample", "--json").stdout)
    assert variant["quality"] is None
    assert "models compare sample" in ovchat(environment, "models", "measure", "sample:int4").stdout
    assert ovchat(environment, "models", "compare", "nothing").returncode == 1


def test_a_default_is_chosen_and_taken_back(environment: dict[str, str]) -> None:
    assert ovchat(environment, "default", "sample:int4").stdout == "sample is sample:int4\n"
    (model,) = json.loads(ovchat(environment, "models", "--json").stdout)
    assert model["default_variant"] == "int4"
    assert ovchat(environment, "default", "sample", "--reset").returncode == 0


def test_a_message_is_answered_and_the_command_ends(environment: dict[str, str]) -> None:
    plain = ovchat(environment, "chat", "sample", "--message", "Hello", "--temperature", "0", "--max-new-tokens", "12")
    assert (plain.returncode, bool(plain.stdout.strip())) == (0, True)
    assert "cut at the length limit" in plain.stderr
    outcome = ovchat(
        environment,
        "chat",
        "sample",
        "-m",
        "-",
        "--temperature",
        "0",
        "--max-new-tokens",
        "12",
        "--json",
        given="Hello",
    )
    answer = json.loads(outcome.stdout)
    assert printable(answer["text"]).strip() == plain.stdout.strip()
    assert (answer["finish_reason"], answer["usage"]["completion_tokens"]) == ("length", 12)
    assert answer["timings"]["total_ms"] > 0


def test_a_conversation_goes_on_in_one_chat(environment: dict[str, str]) -> None:
    outcome = ovchat(environment, "chat", "sample", "--max-new-tokens", "5", given="one\n\n/help\ntwo\n/exit\nthree\n")
    assert outcome.stderr.count("no command /help; there are /exit and /quit") == 1
    assert outcome.returncode == 0, outcome.stderr
    assert len(outcome.stdout.splitlines()) >= 2


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("chat", "nix", "-m", "hi"), 1, "nix"),
        (("chat", "sample:fp16", "-m", "hi"), 1, "fp16"),
        (("chat", "smollm2-135m-instruct", "-m", "hi"), 1, "not converted"),
        (
            ("chat", "sample", "-m", "hi", "--temperature", "9"),
            2,
            "temperature: Input should be less than",
        ),
        (("chat", "sample", "--json"), 2, "--json needs --message"),
        (("chat",), 2, "Missing argument"),
        (("convert", "x", "--variants", "int9"), 2, "'int9' is none of fp16, int8, int4"),
        (("convert", "x", "--variants", "fp16", "--ratio", "7"), 2, "ratio"),
        (("convert", "x", "--variants", ""), 2, "NAME=int8"),
        (("convert", "x", "--variants", "own=int9"), 2, "NAME=int8"),
        (("convert", "x", "--variants", "fp16,int8", "--ratio", "0.5"), 2, "--ratio is for int4"),
        (("convert", "x", "--variants", "fp16,int8", "--group-size", "64"), 2, "--group-size is for int4"),
        (("convert", "x", "--variants", "fp16", "--sym"), 2, "--sym/--asym is for int4 and int8"),
        (("convert", "some/ÄÖ"), 1, "--name"),
        (("models", "import", "some/ÄÖ-int4-ov"), 1, "--name"),
        (("delete", "sample"), 2, "names no variant"),
        (("delete", "sample:fp16"), 1, "sample:fp16 is not published"),
        (("models", "delete", "sample:int4"), 1, "Add --force to delete it anyway"),
        (("replicas", "unload", "sample:fp16"), 1, "no worker has sample:fp16 loaded"),
        (("default", "sample:fp16"), 1, "sample:fp16 is not published"),
        (("default", "sample"), 2, "--reset"),
        (("conversions", "follow", "nix"), 1, "nix"),
        (("conversions", "cancel", "nix"), 1, "nix"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    environment: dict[str, str], arguments: tuple[str, ...], status: int, message: str
) -> None:
    outcome = ovchat(environment, *arguments)
    assert (outcome.returncode, outcome.stdout) == (status, "")
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_no_gateway_and_a_wrong_key_say_what_to_do(environment: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for command in (("models",), ("chat", "sample", "-m", "hi")):
        outcome = ovchat({**environment, "OVCHAT_URL": url}, *command)
        assert outcome.returncode == 1
        assert f"no gateway at {url}; start one with `{ovchat_as_called('up')}`" in outcome.stderr
        outcome = ovchat({**environment, "OVCHAT_API_KEY": "wrong"}, *command)
        assert outcome.returncode == 1
        assert f"(asked at {environment['OVCHAT_URL']} with the key of OVCHAT_API_KEY)" in outcome.stderr


def test_ctrl_c_cancels_the_answer_and_not_the_program(environment: dict[str, str]) -> None:
    terminal = Terminal(environment, "chat", "sample", "--max-new-tokens", "100000")
    terminal.until("> ")
    terminal.type("tell me everything\n")
    terminal.until(r"everything\r\n(?s:.*)\w{3}")
    terminal.type("\x03")
    terminal.until(r"\(cancelled\)")
    terminal.until("> ")
    terminal.type("\x03")
    # Python's readline overlooks a signal that comes after its prompt is shown and before it waits, until the next key.
    terminal.until("Ctrl-D or /exit leaves", pressing="\x03")
    terminal.until("> ")
    terminal.type("and now\n")
    terminal.until(r"now\r\n(?s:.*)\w{3}")
    terminal.type("\x03")
    terminal.until(r"\(cancelled\)(?s:.*)> ")
    terminal.type("\x04")
    assert terminal.end() == 0


def test_ctrl_c_ends_a_single_answer_with_130(environment: dict[str, str]) -> None:
    terminal = Terminal(environment, "chat", "sample", "-m", "tell me everything", "--max-new-tokens", "100000")
    terminal.until(r"\w{3} ?\w+")
    terminal.type("\x03")
    assert terminal.end() == 130


def test_ctrl_c_while_following_leaves_the_conversion_running(environment: dict[str, str]) -> None:
    """No converter runs here, so the job stays queued for as long as it is looked at."""
    terminal = Terminal(environment, "convert", "smollm2-135m-instruct", "--variants", "int8,own=int4", "--follow")
    terminal.until("waiting for a converter: none is running")
    terminal.until("queued")
    terminal.type("\x03")
    terminal.until(r"goes on; `\S*ovchat conversions follow conv_")
    assert terminal.end() == 130
    (job,) = json.loads(ovchat(environment, "conversions", "--json").stdout)
    assert job["state"] == "queued"
    assert [variant["name"] for variant in job["plan"]["variants"]] == ["int8", "own"]
    again = json.loads(
        ovchat(environment, "convert", "smollm2-135m-instruct", "--variants", "int8,own=int4", "--json").stdout
    )
    assert (again["conversion_id"], again["joined"]) == (job["conversion_id"], True)
    assert ovchat(environment, "conversions", "cancel", job["conversion_id"]).returncode == 0
    followed = ovchat(environment, "conversions", "follow", job["conversion_id"])
    assert (followed.returncode, "was cancelled" in followed.stderr) == (1, True)


def test_a_variant_that_is_loaded_is_deleted_by_force_only(environment: dict[str, str]) -> None:
    """No converter runs here to carry it out, so the variant stays for the other tests."""
    outcome = ovchat(environment, "delete", "sample:int4", "--force")
    assert (outcome.returncode, outcome.stdout) == (0, "sample:int4 is being deleted\n")


def test_the_only_replica_is_unloaded_without_naming_its_worker(environment: dict[str, str]) -> None:
    assert ovchat(environment, "replicas", "load", "sample:int4").returncode in (0, 1)
    (worker,) = json.loads(ovchat(environment, "workers", "--json").stdout)
    outcome = ovchat(environment, "replicas", "unload", "sample:int4")
    assert outcome.stdout == f"sample:int4 ends on {worker['worker_id']} once it is idle\n", outcome.stderr


def test_sigterm_during_an_answer_leaves_no_process(environment: dict[str, str]) -> None:
    terminal = Terminal(environment, "chat", "sample", "-m", "tell me everything", "--max-new-tokens", "100000")
    terminal.until(r"\w{3} ?\w+")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == -signal.SIGTERM
