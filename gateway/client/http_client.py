"""The platform's HTTP interface as typed calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from types import TracebackType
from typing import Self, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway.client.address import GatewayAddress
from gateway.client.server_sent_events import events_of
from shared.catalog import CatalogEntry
from shared.errors import ErrorBody, InternalError, PlatformError, Unavailable, error_from_body
from shared.schemas.chats import Chat, ChatList, ChatSummary
from shared.schemas.common import Message
from shared.schemas.conversion import ENDED, ConversionEvent, ConversionJob, ConversionRequest, ImportRequest
from shared.schemas.converters import ConverterInfo
from shared.schemas.engine_config import EngineConfig, Tuning
from shared.schemas.models import Placement, VariantRecord
from shared.schemas.store import StoreRun
from shared.schemas.usage import UsageDay
from shared.schemas.users import CreatedKey, KeyChange, KeyRecord, NewKey
from shared.schemas.workers import WorkerInfo

#: Longest silence of an event stream; the gateway's heartbeat is far shorter, so this is a dead connection.
_SILENCE_SECONDS = 60.0
#: How long a lost gateway is looked for while a conversion is followed.
_RECONNECT_SECONDS = 60.0

Body = TypeVar("Body", bound=BaseModel)
Item = TypeVar("Item", bound=BaseModel)


class SubmittedJob(ConversionJob):
    """A conversion that was accepted; ``joined`` where the same one was already on its way."""

    joined: bool = False


class ModelRecord(Message):
    """A model with published variants."""

    model: str
    default_variant: str | None = None
    languages: tuple[str, ...] = ()
    variants: tuple[VariantRecord, ...] = ()


class EngineRecord(Message):
    """How a variant's engine is configured, and what tuning found for it."""

    model: str
    variant: str
    config: EngineConfig = EngineConfig()
    tunings: tuple[Tuning, ...] = ()
    takes_effect: str = ""


class _Ordered(Message):
    worker_id: str


class _Default(Message):
    default_variant: str


class HttpClient:
    """``async with HttpClient(url, key) as client``; every call raises the :class:`PlatformError` that it was answered.

    Raises:
        Unavailable: from every call, nobody answers at the address.
    """

    def __init__(self, url: str, key: str, *, timeout_seconds: float = 30.0) -> None:
        self._address = GatewayAddress(url)
        self._http = httpx.AsyncClient(
            base_url=self._address.url,
            # Without a key only the probes answer.
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout_seconds, read=max(timeout_seconds, _SILENCE_SECONDS)),
            trust_env=not self._address.is_loopback,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def is_alive(self) -> bool:
        """Whether a gateway of ovchat answers, whatever it depends on."""
        try:
            response = await self._http.get("/livez")
            return response.is_success and response.json() == {"status": "ok"}
        except (httpx.TransportError, ValueError):
            return False

    async def is_ready(self) -> bool:
        """Whether the gateway is up and has its Redis."""
        try:
            return (await self._http.get("/readyz")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    async def submit_conversion(self, request: ConversionRequest) -> SubmittedJob:
        """Ask for a conversion, or join the same one that runs."""
        body = request.model_dump(mode="json", exclude_none=True)
        return _parsed(SubmittedJob, await self._call("POST", "/api/v1/conversions", body))

    async def submit_import(self, request: ImportRequest) -> SubmittedJob:
        """Ask for ready-made IR to be published; the job is one of the conversions."""
        body = request.model_dump(mode="json", exclude_none=True)
        return _parsed(SubmittedJob, await self._call("POST", "/api/v1/imports", body))

    async def conversions(self) -> list[ConversionJob]:
        """All jobs that are remembered."""
        return _listed(ConversionJob, await self._call("GET", "/api/v1/conversions"))

    async def converters(self) -> list[ConverterInfo]:
        """The converters that live."""
        return _listed(ConverterInfo, await self._call("GET", "/api/v1/converters"))

    async def conversion(self, conversion_id: str) -> ConversionJob:
        """One job."""
        return _parsed(ConversionJob, await self._call("GET", f"/api/v1/conversions/{_segment(conversion_id)}"))

    async def cancel_conversion(self, conversion_id: str) -> ConversionJob:
        """Ask for a job's end."""
        return _parsed(ConversionJob, await self._call("DELETE", f"/api/v1/conversions/{_segment(conversion_id)}"))

    async def conversion_events(self, conversion_id: str) -> AsyncIterator[ConversionEvent]:
        """Follow a job from its first event to its end, over lost connections, each event once.

        Raises:
            ConversionNotFound: no conversion has this id.
            Unavailable: the gateway stayed away for a minute.
        """
        loop = asyncio.get_running_loop()
        last_id: str | None = None
        deadline = loop.time() + _RECONNECT_SECONDS
        while True:
            try:
                headers = {"Last-Event-ID": last_id} if last_id else {}
                path = f"/api/v1/conversions/{_segment(conversion_id)}/events"
                async with self._http.stream("GET", path, headers=headers) as response:
                    if response.is_error:
                        await response.aread()
                        raise _error(response)
                    async for item in events_of(response.aiter_lines()):
                        last_id = item.id or last_id
                        deadline = loop.time() + _RECONNECT_SECONDS
                        if item.event != "conversion":
                            continue
                        event = ConversionEvent.model_validate_json(item.data)
                        yield event
                        if event.state in ENDED:
                            return
            except (httpx.TransportError, Unavailable) as error:
                if loop.time() > deadline:
                    raise Unavailable(self._address.unreachable) from error
            await asyncio.sleep(0.5)

    async def models(self) -> list[ModelRecord]:
        """The models with published variants."""
        return _listed(ModelRecord, await self._call("GET", "/api/v1/models"))

    async def delete_variant(self, model: str, variant: str, *, force: bool = False) -> None:
        """Take a published variant out of the store."""
        await self._call(
            "DELETE", f"/api/v1/models/{_segment(model)}/{_segment(variant)}{'?force=true' if force else ''}"
        )

    async def collect_leftovers(self, *, free: bool) -> StoreRun:
        """Have the store searched for what nobody needs, and that removed where `free`; the run goes on by itself."""
        return _parsed(StoreRun, await self._call("POST", "/api/v1/store/gc", {"free": free}))

    async def verify_variants(self, model: str | None) -> StoreRun:
        """Have published files compared with their hashes; the run goes on by itself."""
        return _parsed(StoreRun, await self._call("POST", "/api/v1/store/verify", {"model": model}))

    async def store_run(self, run_id: str) -> StoreRun:
        """How far a run over the store is."""
        return _parsed(StoreRun, await self._call("GET", f"/api/v1/store/runs/{_segment(run_id)}"))

    async def measure_variant(self, model: str, variant: str) -> None:
        """Have a variant's quality measured in the background, anew where it was."""
        await self._call("POST", _variant_path(model, variant, "quality"))

    async def workers(self) -> list[WorkerInfo]:
        """The inference workers that are registered."""
        return _listed(WorkerInfo, await self._call("GET", "/api/v1/workers"))

    async def load_replica(self, variant: str, worker_id: str | None) -> str:
        """Have a variant loaded, by this worker or the one with most room; return which was told."""
        body = {"model": variant, "worker_id": worker_id}
        return _parsed(_Ordered, await self._call("POST", "/api/v1/replicas", body)).worker_id

    async def unload_replica(self, worker_id: str, model: str, variant: str) -> None:
        """Have a replica ended once it is idle."""
        path = f"/api/v1/replicas/{_segment(worker_id)}/{_segment(model)}/{_segment(variant)}"
        await self._call("DELETE", path)

    async def drain_worker(self, worker_id: str) -> None:
        """Let a worker take nothing new."""
        await self._call("POST", f"/api/v1/workers/{_segment(worker_id)}/drain")

    async def place_variant(self, model: str, variant: str, placement: Placement) -> None:
        """Say how often a variant is to be loaded, and whether it is pinned."""
        path = f"/api/v1/models/{_segment(model)}/{_segment(variant)}/placement"
        await self._call("PUT", path, placement.model_dump())

    async def engine(self, model: str, variant: str) -> EngineRecord:
        """How a variant's engine is configured."""
        return _parsed(EngineRecord, await self._call("GET", _variant_path(model, variant, "engine")))

    async def configure_engine(self, model: str, variant: str, config: EngineConfig) -> EngineRecord:
        """Configure a variant's engine in place of what was configured."""
        body = config.model_dump(mode="json", exclude_none=True)
        return _parsed(EngineRecord, await self._call("PUT", _variant_path(model, variant, "engine"), body))

    async def store_tuning(self, model: str, variant: str, tuning: Tuning) -> EngineRecord:
        """Keep what was found best for a variant on a kind of host."""
        body = tuning.model_dump(mode="json", exclude_none=True)
        return _parsed(EngineRecord, await self._call("PUT", _variant_path(model, variant, "tuning"), body))

    async def choose_default(self, model: str, variant: str | None) -> str:
        """Choose what a model's name alone stands for, None for the platform's choice; return what it is now."""
        path = f"/api/v1/models/{_segment(model)}/default"
        return _parsed(_Default, await self._call("PUT", path, {"variant": variant})).default_variant

    async def usage(
        self, user: str | None = None, first: date | None = None, last: date | None = None
    ) -> list[UsageDay]:
        """What was used on each UTC day, by the key's user; for an admin by everybody, where no user is named."""
        wanted = {"user": user, "from": first, "to": last}
        query = httpx.QueryParams({name: str(value) for name, value in wanted.items() if value is not None})
        return _listed(UsageDay, await self._call("GET", f"/api/v1/usage?{query}"))

    async def chats(self, search: str = "") -> AsyncIterator[ChatSummary]:
        """This user's chats whose title has a text in it, the newest first."""
        cursor: str | None = None
        while True:
            query = httpx.QueryParams({"search": search, "limit": 200, **({"cursor": cursor} if cursor else {})})
            page = _parsed(ChatList, await self._call("GET", f"/api/v1/chats?{query}"))
            for chat in page.data:
                yield chat
            cursor = page.next_cursor
            if cursor is None:
                return

    async def chat(self, chat_id: str) -> Chat:
        """One chat with its whole message tree."""
        return _parsed(Chat, await self._call("GET", f"/api/v1/chats/{_segment(chat_id)}"))

    async def export_chat(self, chat_id: str, form: str) -> bytes:
        """The branch that a chat stands on, as ``json`` or ``markdown``."""
        return await self._call("GET", f"/api/v1/chats/{_segment(chat_id)}/export?format={form}")

    async def delete_chat(self, chat_id: str) -> None:
        """Delete a chat with all its messages."""
        await self._call("DELETE", f"/api/v1/chats/{_segment(chat_id)}")

    async def catalog(self) -> list[CatalogEntry]:
        """The models that are known by name."""
        return _listed(CatalogEntry, await self._call("GET", "/api/v1/catalog"))

    async def check_key(self) -> None:
        """Ask whether the key opens anything; raises :class:`InvalidApiKey` where it does not."""
        await self._call("GET", "/api/v1/session")

    async def keys(self) -> list[KeyRecord]:
        """Every key, without the keys themselves; admins only, as all of keys and users."""
        return _listed(KeyRecord, await self._call("GET", "/api/v1/keys"))

    async def create_key(self, wish: NewKey) -> CreatedKey:
        """Make a key."""
        return _parsed(CreatedKey, await self._call("POST", "/api/v1/keys", wish.model_dump(mode="json")))

    async def change_key(self, key_id: str, change: KeyChange) -> KeyRecord:
        """Change the limits of a key that the change sets."""
        body = change.model_dump(mode="json", exclude_unset=True)
        return _parsed(KeyRecord, await self._call("PATCH", f"/api/v1/keys/{_segment(key_id)}", body))

    async def revoke_key(self, key_id: str) -> None:
        """End a key."""
        await self._call("DELETE", f"/api/v1/keys/{_segment(key_id)}")

    async def erase_user(self, user: str) -> None:
        """Forget a user with all that was theirs."""
        await self._call("DELETE", f"/api/v1/users/{_segment(user)}")

    async def _call(self, method: str, path: str, body: object | None = None) -> bytes:
        try:
            response = await self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise Unavailable(self._address.unreachable) from error
        if response.is_error:
            raise _error(response)
        return response.content


def _segment(value: str) -> str:
    """Escape an id for a path, so that a slash in it does not become another route."""
    from urllib.parse import quote

    return quote(value, safe="")


def _variant_path(model: str, variant: str, what: str) -> str:
    return f"/api/v1/models/{_segment(model)}/{_segment(variant)}/{what}"


def _parsed(kind: type[Body], content: bytes) -> Body:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise InternalError("the gateway's answer is not what this client knows") from error


def _listed(kind: type[Item], content: bytes) -> list[Item]:
    try:
        return TypeAdapter(dict[str, list[kind]]).validate_json(content)["data"]  # type: ignore[valid-type]
    except (ValidationError, KeyError) as error:
        raise InternalError("the gateway's answer is not what this client knows") from error


def _error(response: httpx.Response) -> PlatformError:
    try:
        return error_from_body(ErrorBody.model_validate(response.json()["error"]))
    except (ValueError, KeyError, TypeError):
        return InternalError(f"{response.request.url} answered {response.status_code}; is this an ovchat gateway?")
