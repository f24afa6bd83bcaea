"""Settings, one typed class per service, read from the environment under the prefix ``OVCHAT_``.

All classes stand here because one environment may serve every service: a start-up check refuses a name that no
service knows, and the table in the README is made from these descriptions. Nothing is read at import.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import Field, FilePath, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import InvalidRequest

PREFIX = "OVCHAT_"

EngineSetting: TypeAlias = Literal["auto", "continuous_batching", "stateful", "optimum", "sample"]


class CommonSettings(BaseSettings):
    """What every service reads."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    data_dir: Path = Field(Path("data"), description="Folder of everything that is kept: Redis files, models, keys.")
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0", description="Redis for state: users, chats, jobs, the model index."
    )
    transport_redis_url: str | None = Field(
        None, description="Redis for queues, journals, the registry and Celery; the state Redis where not set."
    )
    ca_file: FilePath | None = Field(
        None,
        description="Certificates (PEM) that are believed beside the system's, of Redis over TLS and of STORE_URL.",
    )
    model_store: Path | None = Field(None, description="Folder of published models; `DATA_DIR/models` where not set.")
    catalog_dir: Path | None = Field(
        None, description="Folder of TOML files with more models for the catalogue; every service reads it at start."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`console` for people, `json` for machines; `auto` looks whether a terminal reads."
    )
    otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="OpenTelemetry collector, `http://host:4318`, that gateways and inference workers send traces to; "
        "none where empty.",
    )
    telemetry: bool = Field(
        False, description="Let openvino, nncf and the Hugging Face libraries send their usage telemetry."
    )

    @property
    def store_path(self) -> Path:
        """Folder of published models."""
        return self.model_store or self.data_dir / "models"

    @property
    def state_url(self) -> str:
        """URL of the Redis for state."""
        return self._checked(self.redis_url)

    @property
    def transport_url(self) -> str:
        """URL of the Redis that carries queues, journals, registry and Celery."""
        return self._checked(self.transport_redis_url or self.redis_url)

    def _checked(self, url: str) -> str:
        """Return a URL that says how TLS is checked; without a word of it Celery would believe any certificate."""
        parts = urlsplit(url)
        if parts.scheme != "rediss":
            return url
        query = {"ssl_cert_reqs": "required", **dict(parse_qsl(parts.query))}
        if self.ca_file is not None:
            query.setdefault("ssl_ca_certs", str(self.ca_file.absolute()))
        return parts._replace(query=urlencode(query)).geturl()


class GatewaySettings(CommonSettings):
    """The HTTP and WebSocket service."""

    host: str = Field("127.0.0.1", description="Address that the gateway listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the gateway listens on; 0 takes a free one.")
    admin_key: SecretStr | None = Field(
        None, description="The admin's API key; where not set, made at first start in `DATA_DIR/admin.key`."
    )
    metrics_key: SecretStr | None = Field(
        None,
        min_length=16,
        description="Key for Prometheus: it opens the gateway's `/metrics` and nothing else. A user's opens them too.",
    )
    auth: Literal["on", "off"] = Field(
        "on", description="`off` lets everybody in as the admin; refused unless the gateway listens on loopback only."
    )
    sign_in_failures_per_minute: int = Field(
        20, ge=1, description="Wrong keys that one address may try in a minute before it is refused."
    )
    max_body_bytes: int = Field(
        8 << 20, ge=1024, description="Largest body of an HTTP request; a larger one is refused with 413."
    )
    max_waiting: int = Field(
        1000, ge=1, description="Generations that may wait for one variant before `overloaded` is answered."
    )
    max_wait_seconds: float = Field(
        300.0, gt=0, description="Longest time that a generation waits for a worker before it fails."
    )
    max_concurrent_per_user: int = Field(
        128, ge=0, description="Generations of one user that may wait or run at once; 0 is unlimited. A key may differ."
    )
    requests_per_minute: int = Field(
        1200, ge=0, description="Generations that one user may begin in any minute; 0 is unlimited. A key may differ."
    )
    tokens_per_day: int = Field(
        0, ge=0, description="Prompt and answer tokens of one user in a UTC day; 0 is unlimited. A key may differ."
    )
    journal_ttl_seconds: int = Field(
        900, ge=1, description="How long a finished generation can be replayed from its journal."
    )
    stream_keep_alive_seconds: float = Field(
        15.0, gt=0, description="Silence after which a stream of the OpenAI API sends a comment."
    )
    shutdown_grace_seconds: float = Field(
        10.0, ge=0, description="How long a stopping gateway waits for open requests."
    )


class ConverterSettings(CommonSettings):
    """The Celery worker that converts models."""

    converter_preload: bool = Field(
        False, description="Import the conversion libraries at start, not at the first job (costs about 1 GB)."
    )
    converter_idle_seconds: float = Field(
        900.0,
        gt=0,
        description="A version stack's preloaded process without work for so long gives its memory back; the default "
        "stack's stays where CONVERTER_PRELOAD is set.",
    )
    stacks_dir: Path | None = Field(
        None,
        description="Folder of the installed version stacks; `stacks` in the folder of the Python environment where "
        "not set.",
    )
    demo_model_packaged: bool = Field(
        True, description="Take the demo model from its package, so that it needs no model hub."
    )
    local_sources: str = Field(
        "",
        description="Colon-separated folders below which a checkpoint, GGUF file or IR may be named; none if empty.",
    )
    conversion_dir: Path | None = Field(
        None,
        description="Scratch folder of conversions, one for all converters; `MODEL_STORE/.staging` where not set.",
    )
    stage_time_limit_seconds: int = Field(
        6 * 3600, ge=60, description="Longest time that one stage of a conversion may take."
    )
    conversion_lease_seconds: float = Field(
        15.0, gt=0, description="A running job whose lease is older than this is taken over."
    )
    converter_threads: int | None = Field(None, ge=1, description="CPU threads of a stage; all cores where not set.")
    converter_slots: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Stages that one converter works on at once as far as memory allows; one for each four cores where "
        "not set.",
    )
    converter_memory_bytes: int | None = Field(
        None,
        ge=1 << 29,
        description="Memory of one converter with all its stages; the container's limit or the host's memory where "
        "not set.",
    )
    converter_patience_seconds: float = Field(
        600.0,
        ge=0,
        description="How long a stage waits for memory that other programs take, or for a converter that is large "
        "enough where there is none any more, before its job fails.",
    )
    quality_cards: bool = Field(
        True,
        description="Compare new variants with FP16 in the background, while nothing is converted; else where asked.",
    )

    @property
    def stacks_path(self) -> Path:
        """Folder of the installed version stacks."""
        return self.stacks_dir or Path(sys.prefix) / "stacks"

    @property
    def stage_slots(self) -> int:
        """How many stages one converter works on at once; each uses all cores in its heavy loops."""
        return self.converter_slots or max(1, (os.cpu_count() or 1) // 4)

    @property
    def local_roots(self) -> tuple[Path, ...]:
        """Folders below which checkpoint folders may be named."""
        return tuple(Path(root) for root in self.local_sources.split(":") if root)


class InferenceSettings(CommonSettings):
    """The agent of one device and its replicas."""

    device: str = Field("CPU", description="OpenVINO device: CPU, GPU, GPU.1, NPU, AUTO or HETERO:…")
    engine: EngineSetting = Field(
        "auto",
        description="Engine that serves: `auto` is `continuous_batching`, or `stateful` where the model or the device "
        "needs it; `optimum` needs torch; `sample` needs no model and is for tests.",
    )
    preload_models: str = Field(
        "", description="Comma-separated `model:variant` names, loaded at start or as soon as they are published."
    )
    max_replicas: int = Field(3, ge=1, description="Variants loaded at once; the least valuable idle one makes room.")
    idle_unload_seconds: float = Field(
        1800.0, ge=0, description="A replica that nobody used for so long is ended unless it is pinned; 0 keeps it."
    )
    memory_budget_bytes: int | None = Field(
        None,
        ge=1 << 20,
        description="Memory that all replicas of the host may take; 80 % of the container's limit or the host's memory "
        "where not set.",
    )
    host_id: str | None = Field(
        None, description="Workers with the same one share memory and cores; the host's name where not set."
    )
    max_sequences: int = Field(
        64, ge=1, description="Generations that one replica works on at once; where set, stronger than a variant's own."
    )
    kv_cache_bytes: int | None = Field(
        None,
        ge=1 << 20,
        description="KV cache of one replica; a variant's own or a share of the host's memory where not set.",
    )
    prefix_caching: bool = Field(True, description="Keep the KV cache of finished prompts for later turns.")
    step_target_ms: float = Field(
        120.0, gt=0, description="Engine step duration that prefill batches are sized for on this host."
    )
    stream_gather_ms: float = Field(
        80.0, ge=0, description="With 8 or more answers at once, tokens wait so long for others; 0 sends each step's."
    )
    inference_threads: int | None = Field(
        None,
        ge=1,
        description="CPU threads of a replica; where not set, all cores divided by the CPU workers of the host.",
    )
    cpu_pinning: Literal["share", "off"] = Field(
        "share",
        description="`share` holds replicas to their part of the cores where several CPU workers share a host.",
    )
    load_timeout_seconds: float = Field(600.0, gt=0, description="Longest time that loading a variant may take.")
    drain_grace_seconds: float = Field(
        30.0, ge=0, description="How long a stopping worker goes on with running generations."
    )
    metrics_host: str = Field("127.0.0.1", description="Address that a worker's `/metrics` listens on.")
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="Port of a worker's `/metrics`, which needs no key; none where not set."
    )
    sample_tokens_per_second: float = Field(50.0, gt=0, description="Speed of the `sample` engine, per generation.")
    token_log_dir: Path | None = Field(
        None,
        description="Folder in which replicas record every token, prompts included; for tests, off where not set.",
    )
    store_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]+[^\s?#]*$",
        description="Address of a `store` service, `https://HOST:8444`: variants are fetched from it into MODEL_STORE, "
        "which is a cache then and must be writable; a mounted model store where not set.",
    )
    store_key: SecretStr | None = Field(
        None, description="Key of the `store` service: the one that its host has under the same name."
    )
    store_cache_bytes: int | None = Field(
        None,
        ge=1,
        description="Most bytes of fetched variants; what was not used for longest makes room. The whole disk where "
        "not set.",
    )

    @model_validator(mode="after")
    def _store_has_its_key(self) -> Self:
        if self.store_url is not None and self.store_key is None:
            raise ValueError("OVCHAT_STORE_URL needs OVCHAT_STORE_KEY, the key of the platform's deploy/.env")
        return self


class LauncherSettings(CommonSettings):
    """`ovchat up`, the whole platform on one machine."""

    demo: bool = Field(True, description="Convert the demo model at the first start of `ovchat up`.")


class ClientSettings(CommonSettings):
    """The command line and the Python client."""

    url: str | None = Field(None, description="Address of the gateway for the command line; HOST:PORT where not set.")
    api_key: SecretStr | None = Field(
        None, description="Key of the command line; ADMIN_KEY or `DATA_DIR/admin.key` where not set."
    )
    host: str = "127.0.0.1"
    port: int = 8000
    admin_key: SecretStr | None = None


SERVICES: tuple[type[CommonSettings], ...] = (
    GatewaySettings,
    ConverterSettings,
    InferenceSettings,
    LauncherSettings,
    ClientSettings,
)


def known_names() -> frozenset[str]:
    """Return every environment name that some service reads."""
    return frozenset(PREFIX + field.upper() for service in SERVICES for field in service.model_fields)


def refuse_unknown_names(environ: Mapping[str, str] | None = None) -> None:
    """Refuse a misspelt setting before it is silently ignored.

    Raises:
        InvalidRequest: a name with the prefix is known to no service; the message names the nearest one.
    """
    import difflib

    names = known_names()
    for name in sorted(os.environ if environ is None else environ):
        if name.startswith(PREFIX) and name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f" Did you mean {near[0]}?" if near else " The README lists the settings."
            raise InvalidRequest(f"No service knows the setting {name}.{hint}", param=name)


def invalid_setting(error: ValidationError) -> InvalidRequest:
    """Return the error of the first setting that is refused: its name, what it was set to and what is wrong with it."""
    first = error.errors(include_url=False)[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    if not first["loc"]:
        return InvalidRequest(message)
    name = f"{PREFIX}{first['loc'][0]}".upper()
    # Nothing that is secret is checked, but a value with a wrong secret in it must not end in a log.
    shown = "" if any(word in name for word in ("KEY", "URL")) else f"={first['input']}"
    return InvalidRequest(f"{name}{shown}: {message}", param=name)
