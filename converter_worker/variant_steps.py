"""The steps that make variants: export once, compress each, verify each, publish all."""

import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from converter_worker import publication
from converter_worker.calibration import calibration_file
from converter_worker.chat_facts import chat_facts
from converter_worker.end_tokens import add_end_tokens
from converter_worker.engine_proof import is_unproven
from converter_worker.job_store import StageTicket
from converter_worker.measurement import measured_figures
from converter_worker.model_code import remove_code
from converter_worker.progress import ProgressReporter
from converter_worker.publication import ConversionRecord, VariantWork
from converter_worker.reference_shelf import Label, ReferenceShelf
from converter_worker.stage_runner import StageStopped
from converter_worker.step_context import StepContext
from shared.errors import InternalError, SourceNotFound, VariantNotPublished
from shared.schemas.conversion import VariantResult
from shared.schemas.models import Manifest, VariantRequest


def export(context: StepContext) -> list[StageTicket]:
    """Write the tokenizer and the base IR; then one ticket per variant that is to be made."""
    source_dir = Path(context.note("source_dir"))
    if not source_dir.is_dir() and not context.work.base.is_dir():
        raise SourceNotFound(f"The folder {source_dir} is gone.", param="source_model")
    arguments: dict[str, JsonValue] = {
        "source_dir": str(source_dir),
        "trust_remote_code": context.plan.trust_remote_code,
    }
    # The tokenizer comes first: it takes seconds, and a model that has none should not cost an export.
    tokenizing = {**arguments, "chat": chat_facts(context.catalog, context.plan)}
    context.make(context.work.tokenizer, "tokenizer", tokenizing, context.reporter("tokenizer"))
    context.make(context.work.base, "export", arguments, context.reporter("export"))
    names = [request.name for request in context.missing_variants(context.note("revision"))]
    if not names:
        return [context.next("publish")]
    context.jobs.start_counting(context.ticket, names)
    return [context.next("compress", variant=name) for name in names]


def compress(context: StepContext) -> list[StageTicket]:
    """Make one variant; whoever makes the last one sends verify."""
    request = next(request for request in context.plan.variants if request.name == context.ticket.variant)
    arguments: dict[str, JsonValue] = {
        "base_dir": str(context.work.base),
        "weight_format": request.weight_format,
        "recipe": request.recipe.model_dump(mode="json"),
        "source_model": context.plan.source_model,
    }
    if texts := calibration_file(context, request.recipe):
        arguments |= {"calibration_file": str(texts), "tokenizer_dir": str(context.work.tokenizer)}
    report = context.reporter("compress", variant=request.name, side_by_side=True)

    def complete(part: Path) -> None:
        context.work.add_tokenizer(part)
        add_end_tokens(part, _stop_token_ids(context))
        remove_code(part)

    context.make(context.work.variant(request.name), "compress", arguments, report, finish=complete)
    return [] if context.jobs.count_down(context.ticket) else [context.next("verify")]


def verify(context: StepContext) -> list[StageTicket]:
    """Load each new variant and let it say something."""
    requests = [request for request in context.plan.variants if context.work.variant(request.name).is_dir()]
    for done, request in enumerate(requests):
        record = f"verify-{request.name}"
        if context.work.recall(record) is not None:
            continue
        started = time.monotonic()
        report = context.reporter("verify", variant=request.name, done=done, of=len(requests))
        folder = context.work.variant(request.name)
        result = context.run("verify", {"variant_dir": str(folder)}, report)
        if is_unproven(publication.read_json(folder / "config.json"), context.stack):
            result["verification"] = {**_object(result["verification"]), **_engine_check(context, folder, report)}
        context.work.record(record, {**result, "seconds": round(time.monotonic() - started, 3)})
    return [context.next("publish")]


def publish(context: StepContext) -> list[StageTicket]:
    """Make the variants visible, one rename each, and end the job.

    Raises:
        VariantNotPublished: one that was published before was deleted meanwhile; those that were made are published.
    """
    revision = context.note("revision")
    base = context.work.recall("export-base")
    view = context.jobs.find(context.ticket.conversion_id) or context.view
    disk_bytes = view.notes.get("disk_bytes")
    if not isinstance(disk_bytes, int) and base is not None:
        # A publish that is repeated finds some variants moved away: the first one has seen everything.
        disk_bytes = context.work.size_bytes()
        context.jobs.write(context.ticket, {"note:disk_bytes": disk_bytes})
    figures = ConversionRecord(view.job.predicted, measured_figures(view.records, disk_bytes))

    def watch() -> None:
        if context.should_stop():
            raise StageStopped

    staging = context.publish_staging()
    results: list[VariantResult] = []
    made_here: list[Manifest] = []
    deleted: list[str] = []
    for done, request in enumerate(context.plan.variants):
        watch()
        context.reporter("publish", variant=request.name, done=done, of=len(context.plan.variants))(0.0, "publishing")
        made = _made(context, request)
        if made is None or base is None:
            published = context.find_published(request, revision)
            if published is None:
                if context.next("compress", request.name).claim_field in context.view.claims:
                    raise InternalError(f"The variant {request.name} was not made.")
                deleted.append(request.name)
                continue
            # Whoever published it may have been killed before it was in the index.
            context.index.refresh(published)
            results.append(publication.result_of(published, None))
            continue
        manifest = publication.publish_variant(
            context.store,
            context.plan,
            request,
            made,
            context.work.variant(request.name),
            revision=revision,
            fp16_bytes=int(str(base["fp16_weights_bytes"])),
            versions=_versions(base),
            staging=staging,
            watch=watch,
            figures=figures,
        )
        context.index.put(manifest)
        results.append(publication.result_of(manifest, made))
        made_here.append(manifest)
    _keep_reference(context, made_here)
    if deleted:
        raise VariantNotPublished(
            f"{context.plan.model}:{deleted[0]} was published when the conversion began, and was deleted before it "
            "ended. What else was asked for is published; convert again to have this one too."
        )
    context.jobs.end(context.ticket, "succeeded", results=tuple(results))
    if (speed := figures.speed(view.notes.get("speed"))) is not None:
        context.registry.learn_speed(speed)
    return []


def _engine_check(context: StepContext, variant_dir: Path, report: ProgressReporter) -> dict[str, JsonValue]:
    module = "converter_worker.stages.engine_check"
    return context.run("verify", {"variant_dir": str(variant_dir)}, report, module=module)


def _object(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _versions(base: Mapping[str, JsonValue]) -> dict[str, str]:
    """Return what the export noted of its packages; its stack's differ from those of this process."""
    return {name: str(version) for name, version in _object(base.get("versions")).items()}


def _stop_token_ids(context: StepContext) -> list[int]:
    found = (context.work.recall("tokenizer-tokenizer") or {}).get("stop_token_ids")
    return [token_id for token_id in found if isinstance(token_id, int)] if isinstance(found, list) else []


def _keep_reference(context: StepContext, made: list[Manifest]) -> None:
    """Keep the base IR where the new variants have nothing else to be compared with."""
    shelf = ReferenceShelf(context.store)
    if not context.settings.quality_cards or not made or not context.work.base.is_dir():
        return
    if shelf.find(made[0], list(context.store.manifests())) is None:
        staging = context.store.staging_dir(context.ticket.conversion_id)
        shelf.put(Label.of(made[0]), context.work.base, staging)


def _made(context: StepContext, request: VariantRequest) -> VariantWork | None:
    compressed = context.work.recall(f"compress-{request.name}")
    verified = context.work.recall(f"verify-{request.name}")
    if compressed is None or verified is None:
        return None
    return VariantWork.model_validate(
        {
            "weights_bytes": compressed["weights_bytes"],
            "notes": compressed.get("notes", []),
            "compress_seconds": compressed["seconds"],
            "verify_seconds": verified["seconds"],
            "verification": verified["verification"],
        }
    )
