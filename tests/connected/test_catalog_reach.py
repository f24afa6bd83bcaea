"""For every name of the catalogue: what the job that an admin asks for by it fetches from the hub, and how.

A gateway and a converter as they are, and a hub that has every repository of the catalogue: configuration and tokenizer
whole, weights whose header is right and whose rest is missing. So a job gets through resolve and preflight, and ends at
the weights.
"""

import json
import re
import struct
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import cast

import orjson
import pytest

from shared import keys
from shared.catalog import load_catalog
from shared.catalog.stacks import load_stacks
from shared.schemas.models import Recipe
from tests.helpers.catalog_jobs import CATALOG_JOBS, DEFAULT, OLD, OLDEST, QWEN_REVISION
from tests.helpers.conversion_bed import ConversionBed
from tests.helpers.model_hub import COMMIT, ModelHub
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

TOKEN = "hub-token-of-the-operator"
PINNED = "Qwen/Qwen-7B-Chat"
#: What the log of the hub's answers tells: repository, revision, and the file if it is one.
REQUEST = re.compile(r'"[A-Z]+ /(?:api/models/)?([^/ ?]+/[^/ ?]+)(?:/re(?:vision|solve)/([^/ ?]+))?(?:/([^ ?]+))?')
#: Model types of the catalogue whose code is on the hub only, by their stack.
STACK_OF_CODE = {"qwen": OLD, "chatglm": OLD, "minicpm": OLDEST, "baichuan": DEFAULT, "internlm2": DEFAULT}


def write_repository(folder: Path, model_type: str) -> Path:
    """Write what a checkpoint's repository tells before its weights are fetched, and the beginning of the weights."""
    folder.mkdir(parents=True)
    config: dict[str, object] = {
        "model_type": model_type,
        "architectures": ["SomeForCausalLM"],
        "vocab_size": 512,
        "hidden_size": 256,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    tensors, end = {}, 0
    shapes = {"model.embed_tokens.weight": (512, 256), "model.layers.0.mlp.up_proj.weight": (512, 256)}
    for name, (rows, columns) in shapes.items():
        begin, end = end, end + 2 * rows * columns
        tensors[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [begin, end]}
    header = json.dumps(tensors).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelHub]:
    folder, entries = tmp_path_factory.mktemp("hub"), load_catalog().entries
    families = {entry.family for entry in entries} | {"unlike"}
    by_family = {family: write_repository(folder / family, family) for family in families}
    models = {entry.source_model: by_family[entry.family] for entry in entries}
    # Its present state is not what the catalogue means.
    models[PINNED] = by_family["unlike"]
    models |= {f"mirror/{family}": by_family[family] for family in families}
    gated = frozenset(entry.source_model for entry in entries if entry.gated)
    revisions = {PINNED: {QWEN_REVISION: by_family["qwen"]}}
    with ModelHub(models, gated=gated, token=TOKEN, revisions=revisions) as hub:
        yield hub


@dataclass(frozen=True)
class Services:
    """A gateway and a converter that asks the hub of this machine."""

    bed: ConversionBed
    gateway: Gateway

    def convert(self, requests: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
        """Post requests at once, wait until the jobs have ended, and return their hashes."""
        variants = ["int4", "int8", "fp16"]
        with self.gateway.client() as client:
            answers = [client.post("/api/v1/conversions", json={"variants": variants, **body}) for body in requests]
        assert [answer.status_code for answer in answers] == [202] * len(answers)
        assert not [answer for answer in answers if answer.json()["joined"]]
        ids = [answer.json()["conversion_id"] for answer in answers]
        for conversion_id in ids:
            self.bed.wait_for_end(conversion_id)
        return [self._hash(conversion_id) for conversion_id in ids]

    def _hash(self, conversion_id: str) -> dict[str, object]:
        fields = cast(dict[bytes, bytes], self.bed.redis.hgetall(keys.conversion_job(conversion_id)))
        return {name.decode(): orjson.loads(value) for name, value in fields.items()}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, module_redis: RedisServer, hub: ModelHub) -> Iterator[Services]:
    bed = ConversionBed(tmp_path_factory.mktemp("bed"), module_redis.url)
    settings = {"OVCHAT_REDIS_URL": module_redis.url, "OVCHAT_DATA_DIR": str(bed.folder / "data")}
    gateway = Gateway(settings, bed.folder / "gateway.log").start_ready()
    bed.start_converter(
        {
            "HF_HUB_OFFLINE": "0",
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(bed.folder / "hf"),
            "HF_TOKEN": TOKEN,
            "OVCHAT_CONVERTER_PRELOAD": "true",
            "OVCHAT_CONVERTER_SLOTS": "3",
            "OVCHAT_DEMO_MODEL_PACKAGED": "false",
        }
    )
    yield Services(bed, gateway)
    gateway.stop()
    bed.stop()


def code_of(job: Mapping[str, object]) -> object:
    """Return the code of what a job failed with."""
    return cast(dict[str, object], job["error"])["code"]


def asked_of(hub: ModelHub) -> dict[str, set[str]]:
    """Return by repository the revisions that the hub was asked for, and forget the requests."""
    seen: dict[str, set[str]] = defaultdict(set)
    for line in hub.requests:
        if found := REQUEST.match(line):
            seen[found[1]].add(found[2] or "main")
    hub.requests.clear()
    return seen


def weights_fetched(hub: ModelHub) -> Collection[str]:
    """Return the repositories whose weights the hub was asked for whole, beyond their headers."""
    whole = (REQUEST.match(line) for line in hub.requests if " 200 " in line and line.startswith('"GET'))
    return {found[1] for found in whole if found and found[3] and found[3].endswith(".safetensors")}


def test_every_name_of_the_catalogue_reaches_the_hub(services: Services, hub: ModelHub) -> None:
    """In rounds, an id or an alias of each model at once: one that is asked for beside another joins its job."""
    # Beside ids and aliases the last part of a repository's name is one too, where it differs.
    table = {name: row for row in CATALOG_JOBS for name in row[0].split()}
    named = {entry.id: (entry.id, *entry.aliases) for entry in load_catalog().entries}
    assert {name for names in named.values() for name in names} <= table.keys()
    rounds = [[name for name in names if name] for names in zip_longest(*(row[0].split() for row in CATALOG_JOBS))]
    assert sorted(rounds[0]) == sorted(named)
    for names in rounds:
        hub.requests.clear()
        jobs = services.convert([{"source_model": name} for name in names])
        fetched = weights_fetched(hub)
        asked = asked_of(hub)
        expected_asked: dict[str, set[str]] = {}
        for name, job in zip(names, jobs, strict=True):
            model_names, repository, (sym, group_size, ratio), trusts, stack = table[name]
            pinned = QWEN_REVISION if repository == PINNED else None
            plan = cast(dict[str, object], job["plan"])
            told = {field: plan[field] for field in ("model", "source_model", "revision", "trust_remote_code", "stack")}
            assert told == {
                "model": model_names.split()[0],
                "source_model": repository,
                "revision": pinned,
                "trust_remote_code": trusts,
                "stack": stack,
            }, name
            recipes = [Recipe.model_validate(one["recipe"]) for one in cast(list[dict[str, object]], plan["variants"])]
            assert recipes == [Recipe(sym=sym, group_size=group_size, ratio=ratio), Recipe(sym=False), Recipe()], name
            # What the converter found, beside what the gateway planned.
            assert (job["note:stack"], job["note:revision"]) == (stack, pinned or COMMIT), name
            assert job["predicted"] is not None, name
            assert (job["stage"], code_of(job)) == ("download", "source_corrupt"), (name, job["error"])
            expected_asked[repository] = {pinned} if pinned else {"main", COMMIT}
        assert asked == expected_asked
        assert names != rounds[0] or fetched == asked.keys()


def test_code_that_is_on_the_hub_only_runs_where_it_is_allowed(services: Services, hub: ModelHub) -> None:
    """The catalogue allows it for its models; another repository of the same families has to be trusted by name."""
    assert STACK_OF_CODE.keys() == load_stacks().remote_code
    trusting = {entry.family for entry in load_catalog().entries if entry.trust_remote_code}
    # Those of phi3 say so as the tutorial does; transformers has its code.
    assert trusting == STACK_OF_CODE.keys() | {"phi3"}
    hub.requests.clear()
    sources = [f"mirror/{family}" for family in STACK_OF_CODE]
    refused = services.convert([{"source_model": source} for source in sources])
    assert [code_of(job) for job in refused] == ["remote_code_needed"] * len(sources)
    assert [job["stage"] for job in refused] == ["preflight"] * len(sources)
    assert weights_fetched(hub) == set()

    trusted = services.convert([{"source_model": source, "trust_remote_code": True} for source in sources])
    assert [job["note:stack"] for job in trusted] == list(STACK_OF_CODE.values())
    assert [(job["stage"], code_of(job)) for job in trusted] == [("download", "source_corrupt")] * len(sources)
    assert weights_fetched(hub) == set(sources)
