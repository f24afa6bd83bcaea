"""How a generation begins: admitted, stored, queued, followed."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.chats.store import ChatStore, NewTurn
from gateway.generations.finalizer import Finalizer
from gateway.generations.queue_entry import QueueEntry
from gateway.models.index import ModelIndex
from gateway.principal import Principal
from shared import keys
from shared.errors import (
    ChatBusy,
    ChatNotFound,
    JournalExpired,
    Overloaded,
    PlatformError,
    QuotaExceeded,
    RateLimited,
)
from shared.ids import new_id, user_message_id
from shared.redis_client import AsyncRedis, get_text
from shared.schemas.chats import Provenance
from shared.schemas.generation import ChatTurn, GenerationParams, GenerationRequest
from shared.schemas.models import VariantRecord
from shared.schemas.realtime import ChatRegenerate, ChatSend, GenerationQueued

#: A user's request id gives the same generation for this long.
IDEMPOTENCY_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Admitted:
    """A queued generation: what the client is told first, and the variant that it waits for."""

    queued: GenerationQueued
    variant: str


class Admission:
    """Takes ``chat.send`` and ``chat.regenerate`` in."""

    def __init__(
        self,
        transport: AsyncRedis,
        models: ModelIndex,
        chats: ChatStore,
        finalizer: Finalizer,
        entry: QueueEntry,
    ) -> None:
        self._redis = transport
        self._models = models
        self._chats = chats
        self._finalizer = finalizer
        self._entry = entry

    async def send(self, principal: Principal, frame: ChatSend) -> Admitted:
        """Admit a question.

        Raises:
            PlatformError: it was refused; nothing was stored but, past the queue's limit, the question.
        """
        user = principal.user
        variant = await self._models.resolve(frame.model)
        generation_id, is_new = await self._claim(user, frame.request_id)
        chat_id = frame.chat_id or "chat_" + generation_id.removeprefix("gen_")
        try:
            if not is_new:
                await self._refuse_ended(chat_id, generation_id)
            params = frame.params
            if params is None and frame.chat_id is not None:
                params = await self._chats.params(user, frame.chat_id)
            params = params or GenerationParams()
            turn = NewTurn(
                generation_id=generation_id,
                chat_id=chat_id,
                is_new_chat=frame.chat_id is None,
                parent_message_id=frame.parent_message_id,
                content=frame.content,
                system=frame.system,
                provenance=_provenance(variant, params, generation_id),
                first_params=frame.params,
            )
            return await self._begin(principal, frame.request_id, turn, variant)
        except PlatformError:
            if is_new:
                await self._release(user, frame.request_id)
            raise

    async def regenerate(self, principal: Principal, frame: ChatRegenerate) -> Admitted:
        """Admit another answer to an answered question, with the first one's model."""
        user = principal.user
        answer = await self._chats.message(user, frame.chat_id, frame.message_id)
        if answer.role != "assistant" or answer.provenance is None or answer.parent_message_id is None:
            raise ChatNotFound("Only an answer can be made again.", param="message_id")
        variant = await self._models.resolve(f"{answer.provenance.model}:{answer.provenance.variant}")
        params = frame.params or answer.provenance.params
        generation_id, is_new = await self._claim(user, frame.request_id)
        try:
            if not is_new:
                await self._refuse_ended(frame.chat_id, generation_id)
            if answer.status == "running" and not await self._finalizer.settle(frame.chat_id, answer.message_id):
                raise ChatBusy("This answer still runs. Cancel it or wait.", param="message_id")
            turn = NewTurn(
                generation_id=generation_id,
                chat_id=frame.chat_id,
                is_new_chat=False,
                parent_message_id=answer.parent_message_id,
                content=None,
                system=None,
                provenance=_provenance(variant, params, generation_id),
            )
            return await self._begin(principal, frame.request_id, turn, variant)
        except PlatformError:
            if is_new:
                await self._release(user, frame.request_id)
            raise

    async def waiting(self, generation_id: str) -> Admitted | None:
        """Return the place of a chat's generation that still waits; None where it waits no more, or is of no chat."""
        waiting = await self._entry.waiting(generation_id)
        if waiting is None:
            return None
        request, position = waiting
        answer = await self._chats.find_message(request.chat_id, generation_id)
        if answer is None or answer.parent_message_id is None:
            return None
        queued = GenerationQueued(
            request_id=request.request_id,
            generation_id=generation_id,
            chat_id=request.chat_id,
            user_message_id=answer.parent_message_id,
            message_id=generation_id,
            position=position,
        )
        return Admitted(queued, request.variant_key)

    async def _claim(self, user: str, request_id: str) -> tuple[str, bool]:
        """Return the generation id of a request and whether it is new, or what the same request got before."""
        key = keys.idempotency(user, request_id)
        fresh = new_id("gen")
        if await self._redis.set(key, fresh, nx=True, ex=IDEMPOTENCY_SECONDS):
            return fresh, True
        return await get_text(self._redis, key) or fresh, False

    async def _refuse_ended(self, chat_id: str, generation_id: str) -> None:
        """Refuse a request whose answer is stored and can no longer be replayed: it would run a second time.

        Raises:
            JournalExpired: it is such a one.
        """
        if await self._redis.exists(keys.generation_state(generation_id)):
            return
        answer = await self._chats.find_message(chat_id, generation_id)
        if answer is not None and answer.status != "running":
            raise JournalExpired("This was asked before, and the answer is stored in the chat. Read it there.")

    async def _release(self, user: str, request_id: str) -> None:
        """Let a refused request be sent again under its id. Not one that came twice: the first may run."""
        await self._redis.delete(keys.idempotency(user, request_id))

    async def _begin(self, principal: Principal, request_id: str, turn: NewTurn, variant: VariantRecord) -> Admitted:
        # The history is not known yet; the whole prompt is reserved on entering the queue.
        longest_answer = min(turn.provenance.params.max_new_tokens, variant.context_length)
        await self._entry.admit(principal, variant.key, {turn.generation_id: longest_answer})
        try:
            return await self._begin_admitted(principal, request_id, turn, variant)
        except PlatformError:
            await self._entry.give_back(principal, turn.generation_id)
            raise

    async def _begin_admitted(
        self, principal: Principal, request_id: str, turn: NewTurn, variant: VariantRecord
    ) -> Admitted:
        user = principal.user
        busy = await self._chats.append_turn(user, turn)
        # A client may see the end of an answer, and go on, before the finalizer has stored it.
        if busy is not None and await self._finalizer.settle(turn.chat_id, busy):
            busy = await self._chats.append_turn(user, turn)
        if busy is not None:
            raise ChatBusy("This branch of the chat still waits for an answer. Cancel it or wait.", param="chat_id")
        asked_under = user_message_id(turn.generation_id) if turn.content is not None else turn.parent_message_id
        assert asked_under is not None  # A turn without content names its question.
        params = turn.provenance.params
        request = GenerationRequest(
            generation_id=turn.generation_id,
            request_id=request_id,
            user=user,
            chat_id=turn.chat_id,
            model=variant.model,
            variant=variant.variant,
            messages=await self._prompt(turn, asked_under),
            params=params.model_copy(
                update={
                    "seed": turn.provenance.seed,
                    "max_new_tokens": min(params.max_new_tokens, variant.context_length),
                }
            ),
        )
        try:
            position = await self._entry.enter(request, principal)
        except (RateLimited, QuotaExceeded, Overloaded) as error:
            answer = await self._chats.message(user, turn.chat_id, turn.generation_id)
            failed = answer.model_copy(update={"status": "failed", "error": error.body()})
            await self._chats.replace_message(turn.chat_id, failed)
            raise
        queued = GenerationQueued(
            request_id=request_id,
            generation_id=turn.generation_id,
            chat_id=turn.chat_id,
            user_message_id=asked_under,
            message_id=turn.generation_id,
            position=position,
        )
        return Admitted(queued, variant.key)

    async def _prompt(self, turn: NewTurn, asked_under: str) -> tuple[ChatTurn, ...]:
        """Return the turns up to a question; those of a new chat need not be read."""
        if turn.is_new_chat and turn.content is not None:
            question = ChatTurn(role="user", content=turn.content)
            return (ChatTurn(role="system", content=turn.system), question) if turn.system else (question,)
        return await self._chats.branch(turn.chat_id, asked_under)


def _provenance(variant: VariantRecord, params: GenerationParams, generation_id: str) -> Provenance:
    """Return what is known of an answer before it runs.

    A seed that nobody gave follows from the generation's id, so that a request that comes twice names one seed.
    """
    seed = params.seed
    if seed is None and params.temperature > 0:
        seed = int(generation_id[-8:], 16)
    return Provenance(model=variant.model, variant=variant.variant, params=params, seed=seed)
