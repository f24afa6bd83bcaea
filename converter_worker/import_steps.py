"""The steps of an import: ready-made IR is fetched, checked, completed and published without a conversion."""

from pathlib import Path

from pydantic import JsonValue

from converter_worker import publication
from converter_worker.chat_facts import chat_facts
from converter_worker.end_tokens import add_end_tokens
from converter_worker.engine_proof import is_unproven
from converter_worker.ir_facts import IrFacts, check_weights, read_ir_facts
from converter_worker.job_store import StageTicket
from converter_worker.linked_files import link_or_copy
from converter_worker.model_code import remove_code
from converter_worker.prediction import predict_import
from converter_worker.publication import VariantWork
from converter_worker.source_steps import fetch, settle
from converter_worker.sources import HubSource, LocalGguf, resolve_source
from converter_worker.stage_runner import StageStopped
from converter_worker.step_context import StepContext
from shared.errors import InternalError, SourceNotFound
from shared.schemas.models import Imported, VariantRequest

#: All of a repository but its weights.
_DESCRIPTIONS = ["*.json", "openvino*.xml", "*.txt", "*.model", "*.jinja", "*.tiktoken"]
_ALL = [*_DESCRIPTIONS, "openvino*.bin"]


def resolve(context: StepContext) -> list[StageTicket]:
    """Find the IR, read its description, and say in the plan which variant it is."""
    plan = context.plan
    context.reporter("resolve")(0.0, f"looking for {plan.source_model}")
    if any(context.work.variant(one.name).is_dir() for one in plan.variants) and context.work.recall("imported"):
        # Taken up again after its source was done with: it may be gone by now, or the hub away.
        return [context.next("verify")]
    source = resolve_source(
        plan.source_model,
        plan.revision,
        packaged_demo=False,
        cache_folder=context.settings.data_dir / "demo",
        local_roots=context.settings.local_roots,
    )
    if isinstance(source, LocalGguf) or (isinstance(source, HubSource) and source.file is not None):
        raise SourceNotFound("A GGUF file is converted, not imported: use `ovchat convert`.", param="source_model")
    on_hub = isinstance(source, HubSource)
    if isinstance(source, HubSource):
        folder, revision = fetch(context, "preflight", source.revision, {"patterns": [*_DESCRIPTIONS]})
    else:
        folder, revision = source.folder, source.revision
    report = context.reporter("preflight")
    facts = read_ir_facts(folder)
    if not on_hub:
        check_weights(folder, facts)
    request = VariantRequest(
        name=plan.variant or facts.weight_format, weight_format=facts.weight_format, recipe=facts.said.recipe
    )
    complete = plan.model_copy(update={"variants": (request,)})
    context.jobs.write(
        context.ticket,
        {
            "plan": complete.model_dump(mode="json"),
            "note:source_dir": str(folder),
            "note:revision": revision,
            "note:on_hub": "yes" if on_hub else "",
        },
    )
    if context.find_published(request, revision) is not None:
        report(1.0, "published already")
        return [context.next("publish")]
    here, speed = context.registry.present(), context.registry.speed()
    compares_engines = is_unproven(facts.config, context.stacks.default)
    figures = predict_import(facts.weights_bytes, request, speed=speed, compares_engines=compares_engines)
    settle(context, figures, here, speed)
    report(1.0, "fit for import")
    return [context.next("download")]


def download(context: StepContext) -> list[StageTicket]:
    """Fetch and copy the IR, and put the tokenizer's files beside it."""
    (request,) = context.plan.variants
    folder = Path(context.note("source_dir"))
    on_hub = bool(context.note("on_hub"))
    if on_hub:
        # The first half of the stage; the second is the copy out of the hub's cache.
        fetching = context.reporter("download", of=2)
        folder, _ = fetch(context, "download", context.note("revision"), {"patterns": [*_ALL]}, fetching)
    check_weights(folder, read_ir_facts(folder))
    copied = context.make(
        context.work.path / "ready-made",
        "download",
        {"source_dir": str(folder)},
        context.reporter("download", done=int(on_hub), of=1 + on_hub),
        module="converter_worker.stages.ready_made",
    )
    tokenizing: dict[str, JsonValue] = {
        "source_dir": str(folder),
        "ir_dir": str(folder),
        "chat": chat_facts(context.catalog, context.plan),
    }
    told = context.make(context.work.tokenizer, "tokenizer", tokenizing, context.reporter("tokenizer"))
    target = context.work.variant(request.name)
    if not target.is_dir():
        part = context.work.begin(target, context.ticket.attempt)
        part.mkdir()
        for file in (context.work.path / "ready-made").iterdir():
            link_or_copy(file, part / file.name)
        context.work.add_tokenizer(part)
        stops = told.get("stop_token_ids")
        add_end_tokens(part, [stop for stop in stops if isinstance(stop, int)] if isinstance(stops, list) else [])
        remove_code(part)
        context.work.finish(part, target)
    context.work.record(
        "imported",
        {
            "weights_bytes": copied["weights_bytes"],
            "tokenizer_ir": "kept" if told.get("ir_kept") else "built",
            "has_chat_template": bool(told.get("has_chat_template")),
        },
    )
    return [context.next("verify")]


def publish(context: StepContext) -> list[StageTicket]:
    """Make the variant visible and end the job."""
    (request,) = context.plan.variants
    revision = context.note("revision")

    def watch() -> None:
        if context.should_stop():
            raise StageStopped

    watch()
    context.reporter("publish", variant=request.name)(0.0, "publishing")
    record, verified = context.work.recall("imported"), context.work.recall(f"verify-{request.name}")
    if record is None or verified is None:
        published = context.find_published(request, revision)
        if published is None:
            raise InternalError(f"The variant {request.name} was not made.")
        # Whoever published it may have been killed before it was in the index.
        context.index.refresh(published)
        result = publication.result_of(published, None)
    else:
        work = VariantWork.model_validate(
            {
                "weights_bytes": record["weights_bytes"],
                "compress_seconds": 0.0,
                "verify_seconds": verified["seconds"],
                "verification": verified["verification"],
            }
        )
        folder = context.work.variant(request.name)
        # A redelivered publish finds the folder gone and the variant published.
        described = folder if folder.is_dir() else context.store.variant_dir(context.plan.model, request.name)
        facts = read_ir_facts(described)
        manifest = publication.publish_variant(
            context.store,
            context.plan,
            request,
            work,
            folder,
            revision=revision,
            fp16_bytes=None,
            staging=context.publish_staging(),
            watch=watch,
            imported=_imported(facts, record),
            versions=facts.versions,
        )
        context.index.put(manifest)
        result = publication.result_of(manifest, work)
    context.jobs.end(context.ticket, "succeeded", results=(result,))
    return []


def _imported(facts: IrFacts, record: dict[str, JsonValue]) -> Imported:
    return Imported.model_validate(
        {
            "precision": facts.precision,
            "recipe_origin": facts.said.origin,
            "methods": facts.said.methods,
            "tokenizer_ir": record["tokenizer_ir"],
            "has_chat_template": record["has_chat_template"],
        }
    )
