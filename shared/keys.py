"""Every Redis key, stream, group and task name, defined and explained here and nowhere else.

Two databases: *state* (kept, fsynced, never evicted) and *transport* (queues, journals, registry, Celery). They are
the same by default. The part in braces is the hash tag: keys with one tag live together.
"""

from __future__ import annotations

#: Never exists, in either database: what is written to it has no effect, but for what a write alone brings to light.
NOTHING = "ovchat:{pool}:nothing"

# --- state: models --------------------------------------------------------------------------------------------------

#: Hash, field ``model:variant`` -> VariantRecord JSON. An index: rebuilt from the store's manifests.
VARIANTS = "ovchat:{models}:variants"
#: Hash, field model -> variant name that the admin chose as its default.
DEFAULT_VARIANTS = "ovchat:{models}:defaults"
#: Hash, field ``model:variant`` -> Placement JSON: what admins want loaded wherever nobody asks for it.
PLACEMENTS = "ovchat:{models}:placements"

#: Hash, field ``model:variant`` -> EngineConfig JSON: how admins want its engine configured.
ENGINE_CONFIGS = "ovchat:{models}:engine_configs"
#: Hash, field ``model:variant|device|mode|kind of host`` -> Tuning JSON: what was found best for the variant there.
TUNINGS = "ovchat:{models}:tunings"

#: Set of ``model:variant`` names whose quality card an admin wants to have made, anew where there is one.
QUALITY_WANTED = "ovchat:{models}:quality_wanted"
#: Hash, field ``model:variant`` -> how often its quality card was begun and not brought to an end.
QUALITY_ATTEMPTS = "ovchat:{models}:quality_attempts"
#: String with a time to live: the converter that makes quality cards now; one at a time is enough.
QUALITY_LEASE = "ovchat:{models}:quality_lease"

# --- state: conversions ---------------------------------------------------------------------------------------------

#: Sorted set of conversion ids, score = creation time in ms.
CONVERSIONS = "ovchat:{conversions}:all"
#: Set of the ids of the jobs that are queued or running: the same request joins one of them, and no two of them take
#: one name for different things.
OPEN_CONVERSIONS = "ovchat:{conversions}:open"


def calibration(digest: str) -> str:
    """JSON list of the calibration texts that a request brought, by the name that its jobs have for them; expires."""
    return f"ovchat:{{conversions}}:calibration:{digest}"


def conversion_job(conversion_id: str) -> str:
    """Hash of one job: request, state, stage, progress, attempt, error, per-variant results (JSON values)."""
    return f"ovchat:{{{conversion_id}}}:job"


def conversion_events(conversion_id: str) -> str:
    """Stream of one job's events, field ``e`` = ConversionEvent JSON; the entry id is the SSE event id."""
    return f"ovchat:{{{conversion_id}}}:events"


def conversion_cancel(conversion_id: str) -> str:
    """Exists once the client asked to cancel the job."""
    return f"ovchat:{{{conversion_id}}}:cancel"


def conversion_lease(conversion_id: str, claim: str) -> str:
    """String with a time to live: who works on a claimed stage now. Gone while claimed = the converter died."""
    return f"ovchat:{{{conversion_id}}}:lease:{claim}"


def conversion_pending(conversion_id: str, attempt: int) -> str:
    """Set of the variants that are not compressed yet; the one that empties it sends verify."""
    return f"ovchat:{{{conversion_id}}}:pending:{attempt}"


def conversion_parts(conversion_id: str, attempt: int) -> str:
    """Hash, field variant -> how far its compression is, 0 to 1; they run side by side."""
    return f"ovchat:{{{conversion_id}}}:parts:{attempt}"


# --- state: the model store ----------------------------------------------------------------------------------------


def store_run(run_id: str) -> str:
    """StoreRun JSON with a time to live: what a collection or a verification of the model store found."""
    return f"ovchat:{{store}}:run:{run_id}"


# --- state: chats ---------------------------------------------------------------------------------------------------


def chat(chat_id: str) -> str:
    """Hash of one chat: user, title, model, system, params (JSON), leaf (message id), created_ms, updated_ms."""
    return f"ovchat:{{{chat_id}}}:chat"


def chats_of(user: str) -> str:
    """Sorted set of a user's chat ids, score = time of the last turn in ms."""
    return f"ovchat:{{chats}}:of:{user}"


def chat_messages(chat_id: str) -> str:
    """Hash of one chat's message tree: message id -> StoredMessage JSON."""
    return f"ovchat:{{{chat_id}}}:messages"


# --- state: users ---------------------------------------------------------------------------------------------------

#: Hash, SHA-256 of an API key -> KeyRecord JSON. The key itself is nowhere.
API_KEYS = "ovchat:{users}:keys"
#: Hash, key id -> UTC day of its last use.
API_KEYS_USED = "ovchat:{users}:keys_used"
#: String, SHA-256 of the first admin's key; two gateways that start together make one. Used by a script.
FIRST_KEY = "ovchat:{users}:first_key"
#: Stream of what admins did, field ``e`` = AuditEvent JSON; trimmed.
AUDIT = "ovchat:{users}:audit"


def session(token_digest: str) -> str:
    """String with a time to live: SHA-256 of the key that the page signed in with."""
    return f"ovchat:{{users}}:session:{token_digest}"


def user_sessions(user: str) -> str:
    """Sorted set of the names of a user's session keys, score = end in ms; those that signed out are not in it."""
    return f"ovchat:{{users}}:sessions_of:{user}"


def sign_in_failures(address: str, minute: int) -> str:
    """Counter with a time to live: wrong keys that came from an address in a minute. Transport database."""
    return f"ovchat:{{pool}}:sign_in_failures:{address}:{minute}"


# --- state: usage ---------------------------------------------------------------------------------------------------

#: Set of the users who ever used something.
USAGE_USERS = "ovchat:{usage}:users"


def usage_days(user: str) -> str:
    """Sorted set of the UTC days (``2026-01-31``) on which a user used something; score = days since 1970."""
    return f"ovchat:{{usage}}:days:{user}"


def usage(user: str, day: str) -> str:
    """Hash of what a user used on a UTC day: prompt_tokens, completion_tokens, generations, conversions, …."""
    return f"ovchat:{{usage}}:day:{user}:{day}"


def usage_counted(counted_id: str) -> str:
    """Exists once a generation or a conversion was counted."""
    return f"ovchat:{{{counted_id}}}:counted"


# --- transport: the converters --------------------------------------------------------------------------------------

#: Hash, field worker id -> ConverterInfo JSON: what each converter has, with the time when it last said so.
CONVERTERS = "ovchat:{converters}:all"
#: Hash, field host -> how many times the calibrated seconds a conversion takes there.
CONVERTER_SPEEDS = "ovchat:{converters}:speeds"


def converter_queue(worker_id: str) -> str:
    """Queue of one converter, for stages that another one passed on to it."""
    return f"conversions.{worker_id}"


# --- transport: the pool of inference workers -----------------------------------------------------------------------

#: Sorted set of worker ids, score = last heartbeat in ms of Redis' clock.
WORKERS = "ovchat:{pool}:workers"
#: Hash, field worker id -> WorkerInfo JSON.
WORKER_INFO = "ovchat:{pool}:worker_info"
#: Hash, field ``worker_id|model:variant`` -> free slots. No field: the replica is not ready.
SLOTS = "ovchat:{pool}:slots"
#: Set of ``model:variant`` names that have waiting generations.
WAITING_VARIANTS = "ovchat:{pool}:waiting_variants"
#: Stream of ended generations (field ``g``), read by the consumer group of all gateways.
FINISHED = "ovchat:{pool}:finished"
#: Consumer group on FINISHED, created at 0 so that nothing that ended before the first gateway is missed.
FINALIZERS = "finalizers"
#: String with a time to live: the gateway that looks after the pool, for lost workers and wanted replicas.
POOL_LEADER = "ovchat:{pool}:leader"
#: Sorted set of gateway ids, score = last heartbeat in ms of Redis' clock.
GATEWAYS = "ovchat:{pool}:gateways"


#: Set of ``model:variant`` names that no worker ends by itself; gateways copy it from PLACEMENTS.
PINNED = "ovchat:{pool}:pinned"
#: Hash, field ``model:variant`` -> VariantEngine JSON, read when it is loaded; gateways copy it from ENGINE_CONFIGS and
#: TUNINGS.
VARIANT_ENGINES = "ovchat:{pool}:variant_engines"


def host_ledger(host_id: str) -> str:
    """Hash, field ``worker_id|model:variant`` -> bytes of a host's memory that are reserved for the replica."""
    return f"ovchat:{{pool}}:ledger:{host_id}"


def chat_worker(conversation: str) -> str:
    """Worker id with a time to live: who answered last in a conversation and may still have its prefix cached."""
    return f"ovchat:{{pool}}:chat_worker:{conversation}"


def waiting(variant: str) -> str:
    """Sorted set of generations that wait for ``model:variant``; score = place in the fair order."""
    return f"ovchat:{{pool}}:waiting:{variant}"


def arrivals(variant: str) -> str:
    """Sorted set of the generations that wait for ``model:variant``; score = ms of Redis' clock since when."""
    return f"ovchat:{{pool}}:arrivals:{variant}"


def fair_order(variant: str) -> str:
    """Hash of the ideal sharing of ``model:variant`` while something waits; ``common.lua`` says what is in it."""
    return f"ovchat:{{pool}}:fair:{variant}"


def in_hand(user: str) -> str:
    """Sorted set of a user's generations that were admitted and have not ended; score = ms when one is forgotten."""
    return f"ovchat:{{pool}}:in_hand:{user}"


def begun_in_minute(user: str) -> str:
    """Sorted set of the generations that a user began in the last 60 seconds; score = ms of Redis' clock."""
    return f"ovchat:{{pool}}:minute:{user}"


def reserved_tokens(user: str) -> str:
    """Hash of what a user's generations may still use of the day's tokens: generation id -> ``tokens:until_ms``."""
    return f"ovchat:{{pool}}:reserved:{user}"


def worker_stream(worker_id: str) -> str:
    """Stream of one agent: assignments and commands, in order. Only this agent reads it."""
    return f"ovchat:{{pool}}:worker:{worker_id}"


def worker_running(worker_id: str) -> str:
    """Set of generation ids that were assigned to a worker and have not ended."""
    return f"ovchat:{{pool}}:running:{worker_id}"


def load_lease(variant: str) -> str:
    """String with a time to live: some worker was told to load ``model:variant``; keeps gateways from telling two."""
    return f"ovchat:{{pool}}:loading:{variant}"


def load_failure(variant: str) -> str:
    """ErrorBody JSON with a short time to live: why the last load of ``model:variant`` failed."""
    return f"ovchat:{{pool}}:load_failure:{variant}"


def inbox(gateway_id: str) -> str:
    """Stream of one gateway: per engine step one entry whose fields are ``generation_id:n`` -> frame bytes."""
    return f"ovchat:{{pool}}:inbox:{gateway_id}"


# --- transport: one generation --------------------------------------------------------------------------------------


def generation_state(generation_id: str) -> str:
    """Hash: status (waiting, assigned, running, ended), attempt, seq, n, k, user, chat_id, variant, worker, …."""
    return f"ovchat:{{{generation_id}}}:state"


def generation_request(generation_id: str) -> str:
    """GenerationRequest JSON."""
    return f"ovchat:{{{generation_id}}}:request"


def journal(generation_id: str) -> str:
    """Stream of a generation's events. Entry id ``n-k``: n counts frames without a gap, k the silent entries after it.

    Fields: ``a`` attempt, ``k`` kind, ``s`` seq of the last delta, ``t`` token ids (JSON list), ``f`` frame (JSON).
    """
    return f"ovchat:{{{generation_id}}}:journal"


def watchers(generation_id: str) -> str:
    """Set of gateway ids that relay this generation."""
    return f"ovchat:{{{generation_id}}}:watchers"


def idempotency(user: str, request_id: str) -> str:
    """Generation id that a user's request id got, for 24 hours."""
    return f"ovchat:{{pool}}:request:{user}:{request_id}"


# --- Celery ---------------------------------------------------------------------------------------------------------

#: Prefix of every key that Celery makes.
CELERY_PREFIX = "ovchat-celery:"
#: Queue of conversion stages.
CONVERSION_QUEUE = "conversions"
#: Queue of what is done to the model store beside the stages, which may take hours.
STORE_QUEUE = "store"
#: Task: run one stage of a conversion; keyword arguments conversion_id, stage, attempt, variant for compress,
#: and passed_on where another converter chose this one.
TASK_RUN_STAGE = "ovchat.conversion.run_stage"
#: Task: delete a published variant; keyword arguments model, variant, created_at (the manifest's: a late delivery
#: leaves a variant alone that was made since).
TASK_DELETE_VARIANT = "ovchat.store.delete_variant"
#: Task: collect left-overs or verify variants, as the StoreRun says; keyword argument run_id.
TASK_STORE_RUN = "ovchat.store.run"
#: Task: rebuild the index of variants from the manifests.
TASK_REINDEX = "ovchat.store.reindex"
