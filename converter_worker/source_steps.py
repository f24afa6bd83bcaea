"""The steps that come before anything is converted: find the source, check it, fetch it."""

from pathlib import Path

from pydantic import JsonValue

from converter_worker.checkpoint_facts import TENSORS, CheckpointFacts, read_facts
from converter_worker.job_store import StageTicket
from converter_worker.preflight import available_memory_bytes, check_model, check_recipes, check_resources
from converter_worker.sources import HubSource, resolve_source
from converter_worker.stage_environment import hub_token
from converter_worker.step_context import StepContext
from shared.schemas.conversion import Stage


def resolve(context: StepContext) -> list[StageTicket]:
    """Find the source and check what can be told of it: a job that cannot work ends here, in milliseconds."""
    plan = context.plan
    context.reporter("resolve")(0.0, f"looking for {plan.source_model}")
    if context.ticket.attempt > 1 and context.work.base.is_dir() and context.work.recall("export-base") is not None:
        # Taken up again after its source was done with: it may be gone by now, or the hub away.
        return [context.next("export")]
    entry = context.catalog.find(plan.source_model)
    if entry is not None:
        # Before the hub is asked: what the catalogue knows of the model is enough to refuse it.
        context.stacks.choose(entry.family)
    source = resolve_source(
        plan.source_model,
        plan.revision,
        packaged_demo=context.settings.demo_model_packaged,
        cache_folder=context.settings.data_dir / "demo",
        local_roots=context.settings.local_roots,
    )
    on_hub = isinstance(source, HubSource)
    if isinstance(source, HubSource):
        tensors_file = context.work.path / "tensors.json"
        folder, revision = _fetch(context, "preflight", source.revision, {"tensors_file": str(tensors_file)})
        facts = read_facts(folder, TENSORS.validate_json(tensors_file.read_bytes()))
    else:
        folder, revision = source.folder, source.revision
        facts = read_facts(folder)
    report = context.reporter("preflight")
    report(0.5, "checking the model and the recipes")
    stack = context.stacks.choose(facts.model_type)
    missing = _check(context, facts, revision)
    context.jobs.write(context.ticket, {"note:source_dir": str(folder), "note:revision": revision, "note:stack": stack})
    report(1.0, "fit for conversion" if missing else "published already")
    if not missing:
        return [context.next("publish")]
    return [context.next("download" if on_hub else "export")]


def download(context: StepContext) -> list[StageTicket]:
    """Fetch the weights of the revision that was checked."""
    folder, _ = _fetch(context, "download", context.note("revision"), {})
    # What has come is compared with its own headers, so that a broken transfer is told here and not by the export.
    read_facts(folder)
    context.jobs.write(context.ticket, {"note:source_dir": str(folder)})
    return [context.next("export")]


def _check(context: StepContext, facts: CheckpointFacts, revision: str) -> bool:
    """Refuse what cannot work; tell whether there is anything to make."""
    check_model(facts)
    missing = context.missing_variants(revision)
    check_recipes(facts, missing)
    if missing and not context.work.base.is_dir():
        check_resources(facts, missing, context.work.path, available_memory_bytes())
    return bool(missing)


def _fetch(context: StepContext, stage: Stage, revision: str | None, extra: dict[str, JsonValue]) -> tuple[Path, str]:
    token = hub_token()
    result = context.run(
        stage,
        {"source_model": context.plan.source_model, "revision": revision, **extra},
        context.reporter(stage),
        module="converter_worker.stages.download",
        # The hub's library of the base environment fetches for every stack.
        stack=context.stacks.default,
        environment={"HF_TOKEN": token} if token else None,
    )
    return Path(str(result["source_dir"])), str(result["revision"])
