"""The steps that come before anything is converted: find the source, check it, fetch it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from converter_worker.calibration import fetch_texts
from converter_worker.checkpoint_facts import TENSORS, CheckpointFacts, TensorFacts, read_facts
from converter_worker.engine_proof import is_unproven
from converter_worker.gguf_families import check_architecture
from converter_worker.gguf_header import read_gguf_header
from converter_worker.job_store import StageTicket
from converter_worker.model_code import check_code
from converter_worker.prediction import predict, predict_gguf
from converter_worker.preflight import check_model, check_recipes, check_resources
from converter_worker.progress import ProgressReporter
from converter_worker.source_forms import refuse_other_forms
from converter_worker.sources import HubSource, LocalGguf, resolve_source, split_hub_file
from converter_worker.stage_environment import hub_token
from converter_worker.step_context import StepContext
from shared.errors import SourceNotFound
from shared.schemas.conversion import Stage
from shared.schemas.conversion_figures import ConversionFigures
from shared.schemas.converters import ConverterInfo
from shared.schemas.models import VariantRequest

#: Note of a job whose source is a GGUF file: its path, empty where it is on the hub.
_GGUF = "gguf_file"


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
    if isinstance(source, LocalGguf):
        context.jobs.write(context.ticket, {f"note:{_GGUF}": str(source.file), "note:revision": source.revision})
        _foretell_gguf(context, read_gguf_header(source.file).tensors)
        fetch_texts(context, plan.variants)
        return [context.next("download")]
    if isinstance(source, HubSource) and source.file is not None:
        context.jobs.write(context.ticket, {f"note:{_GGUF}": "", "note:revision": source.revision})
        _look_at_head(context, source.hub_id, source.revision, source.file)
        fetch_texts(context, plan.variants)
        return [context.next("download")]
    on_hub = isinstance(source, HubSource)
    if isinstance(source, HubSource):
        tensors_file = context.work.path / "tensors.json"
        folder, revision = fetch(context, "preflight", source.revision, {"tensors_file": str(tensors_file)})
        facts = read_facts(folder, TENSORS.validate_json(tensors_file.read_bytes()))
    else:
        folder, revision = source.folder, source.revision
        refuse_other_forms(plan.source_model, [file.name for file in folder.iterdir()])
        facts = read_facts(folder)
    report = context.reporter("preflight")
    report(0.5, "checking the model and the recipes")
    stack = context.stacks.choose(facts.model_type)
    check_code(facts, trusted=context.plan.trust_remote_code)
    missing = _check(context, facts, revision)
    if missing:
        fetch_texts(context, context.missing_variants(revision))
    context.jobs.write(context.ticket, {"note:source_dir": str(folder), "note:revision": revision, "note:stack": stack})
    report(1.0, "fit for conversion" if missing else "published already")
    if not missing:
        return [context.next("publish")]
    return [context.next("download" if on_hub else "export")]


def download(context: StepContext) -> list[StageTicket]:
    """Fetch the weights of the revision that was checked."""
    if _GGUF in context.view.notes:
        return _unpack(context)
    folder, _ = fetch(context, "download", context.note("revision"), {})
    # What has come is compared with its own headers, so that a broken transfer is told here and not by the export.
    read_facts(folder)
    context.jobs.write(context.ticket, {"note:source_dir": str(folder)})
    return [context.next("export")]


def _look_at_head(context: StepContext, repository: str, revision: str | None, file: str) -> None:
    """Refuse a GGUF file of the hub by its header, or foretell what it takes, where the header can be had."""
    token = hub_token()
    tensors_file = context.work.path / "tensors.json"
    result = context.run(
        "preflight",
        {"source_model": repository, "revision": revision, "file": file, "tensors_file": str(tensors_file)},
        context.reporter("preflight"),
        module="converter_worker.stages.gguf_head",
        stack=context.stacks.default,
        environment={"HF_TOKEN": token} if token else None,
    )
    if isinstance(architecture := result["architecture"], str):
        check_architecture(architecture)
        _foretell_gguf(context, TENSORS.validate_json(tensors_file.read_bytes()))


def _unpack(context: StepContext) -> list[StageTicket]:
    """Make a checkpoint of a GGUF file, fetched where it is on the hub, and check it as any other."""
    local, revision = context.view.notes[_GGUF], context.view.notes.get("revision")
    of_hub = not local
    if of_hub:
        repository, file = split_hub_file(context.plan.source_model)
        wanted = revision if isinstance(revision, str) else None
        extra: dict[str, JsonValue] = {"source_model": repository, "patterns": [file]}
        folder, revision = fetch(context, "download", wanted, extra, context.reporter("download", of=2))
        local = str(folder / file)
        if not Path(local).is_file():
            raise SourceNotFound(f"The model {repository} has no file {file}.", param="source_model")
    target = context.work.path / "checkpoint"
    context.make(
        target,
        "download",
        {"gguf_file": local},
        context.reporter("download", done=int(of_hub), of=1 + of_hub),
        module="converter_worker.stages.gguf",
    )
    facts = read_facts(target)
    stack = context.stacks.choose(facts.model_type)
    missing = _check(context, facts, str(revision))
    context.jobs.write(context.ticket, {"note:source_dir": str(target), "note:revision": revision, "note:stack": stack})
    return [context.next("export" if missing else "publish")]


def _check(context: StepContext, facts: CheckpointFacts, revision: str) -> bool:
    """Refuse what cannot work; tell whether there is anything to make."""
    check_model(facts)
    missing = context.missing_variants(revision)
    check_recipes(facts, missing)
    if missing and not context.work.base.is_dir():
        _foretell(context, facts, missing)
    return bool(missing)


def _foretell(context: StepContext, facts: CheckpointFacts, missing: Sequence[VariantRequest]) -> None:
    """Write what the job will take into it, and refuse what no converter has."""
    if context.view.job.predicted is not None:
        # A GGUF file was foretold from its header; a job that is taken up again was let in when it was first looked at,
        # and the converter that is large enough for it may be the one that was lost and comes back.
        return
    here, speed = context.registry.present(), context.registry.speed()
    figures = predict(
        facts,
        missing,
        slots=here.slots,
        speed=speed,
        compares_engines=is_unproven(facts.config, context.stacks.choose(facts.model_type)),
    )
    # Without shapes, of weights that are not in safetensors, the stages will tell.
    if figures is not None:
        settle(context, figures, here, speed)


def _foretell_gguf(context: StepContext, tensors: Mapping[str, TensorFacts]) -> None:
    if context.view.job.predicted is not None:
        return
    here, speed = context.registry.present(), context.registry.speed()
    figures = predict_gguf(tensors, context.plan.variants, slots=here.slots, speed=speed)
    settle(context, figures, here, speed)


def settle(context: StepContext, figures: ConversionFigures, here: ConverterInfo, speed: float) -> None:
    """Write what was foretold into the job, and refuse what no converter has."""
    context.reporter("preflight").tell_figures(figures, {"note:speed": speed})
    check_resources(figures, [here, *context.registry.others()])


def fetch(
    context: StepContext,
    stage: Stage,
    revision: str | None,
    extra: dict[str, JsonValue],
    report: ProgressReporter | None = None,
) -> tuple[Path, str]:
    """Have files of the source fetched from the hub, or what is missing of them; return their folder and its commit.

    `extra` are further arguments of the download's stage.
    """
    token = hub_token()
    result = context.run(
        stage,
        {"source_model": context.plan.source_model, "revision": revision, **extra},
        report or context.reporter(stage),
        module="converter_worker.stages.download",
        # The hub's library of the base environment fetches for every stack.
        stack=context.stacks.default,
        environment={"HF_TOKEN": token} if token else None,
    )
    return Path(str(result["source_dir"])), str(result["revision"])
