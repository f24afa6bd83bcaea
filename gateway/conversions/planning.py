"""What a conversion request means: names, recipes and sources, all choices made."""

from __future__ import annotations

import re

from shared.calibration import with_named_texts
from shared.catalog import Catalog, complete_recipe
from shared.catalog.stacks import load_stacks
from shared.errors import InvalidRequest, VariantExists
from shared.ids import is_name
from shared.schemas.conversion import ConversionPlan, ConversionRequest, ImportRequest, VariantResult, named_variants
from shared.schemas.models import VariantRecord, VariantRequest

#: How ready-made IR is named on the hub.
_READY_MADE = re.compile(r"(?P<model>.+)-(?P<variant>(?:fp16|int8|int4)(?:-[a-z]+)*)-ov")


def plan_conversion(request: ConversionRequest, catalog: Catalog) -> ConversionPlan:
    """Return the plan of a request; the catalogue fills in what the request leaves open.

    Raises:
        InvalidRequest: the source gives no valid public name, so one must be named.
        FamilyNotExported: no version stack exports the model of the catalogue.
    """
    entry = catalog.find(request.source_model)
    source_model = entry.source_model if entry else request.source_model.rstrip("/") or "/"
    last = source_model.rsplit("/", 1)[-1].lower().removesuffix(".gguf")
    name = _public_name(request.name or (entry.id if entry else last))
    return ConversionPlan(
        source_model=source_model,
        model=name,
        variants=tuple(
            complete_recipe(with_named_texts(variant), entry) for variant in named_variants(request.variants)
        ),
        revision=request.revision or (entry.revision if entry else None),
        trust_remote_code=request.trust_remote_code or (entry is not None and entry.trust_remote_code),
        stack=load_stacks().choose(entry.family) if entry else None,
    )


def plan_import(request: ImportRequest) -> ConversionPlan:
    """Return the plan of an import; which variant it is, the converter sees.

    Raises:
        InvalidRequest: the source gives no valid public name, so one must be named.
    """
    source_model = request.source_model.rstrip("/") or "/"
    base, variant = ready_made_name(source_model)
    name = request.name or base
    return ConversionPlan(
        kind="import",
        source_model=source_model,
        model=_public_name(name),
        variant=request.variant or variant,
        variants=(),
        revision=request.revision,
    )


def ready_made_name(source_model: str) -> tuple[str, str | None]:
    """Return a source's public name, and its variant where it is named as ready-made IR on the hub is.

    ``OpenVINO/Qwen3-8B-int4-cw-ov`` is the variant ``int4-cw`` of ``qwen3-8b``.
    """
    last = source_model.rsplit("/", 1)[-1].lower()
    found = _READY_MADE.fullmatch(last)
    return (found["model"], found["variant"]) if found else (last, None)


def is_path(source_model: str) -> bool:
    """Tell a folder or a file at the converter from a model of the hub; what a path holds may change."""
    return source_model[:1] in ("/", ".", "~")


def is_same_model(one: str, other: str) -> bool:
    """Tell whether two sources hold one model: the same source, or ready-made IR of the other's name."""
    if one == other:
        return True
    (base, variant), (other_base, other_variant) = ready_made_name(one), ready_made_name(other)
    return base == other_base and (variant, other_variant) != (None, None)


def _public_name(name: str) -> str:
    if not is_name(name):
        raise InvalidRequest(
            f"{name!r} cannot be a public name. Give one as `name`: lower-case letters, digits, '.', '_' and '-'.",
            param="name",
        )
    return name


def published_already(plan: ConversionPlan, records: tuple[VariantRecord, ...]) -> tuple[VariantResult, ...]:
    """Return the variants of a plan that are published as asked.

    Raises:
        VariantExists: a name is taken by a variant of another recipe, format or source.
    """
    results = []
    by_name = {record.variant: record for record in records}
    for variant in plan.variants:
        record = by_name.get(variant.name)
        if record is None:
            continue
        _refuse_difference(plan, variant, record)
        results.append(
            VariantResult(
                name=variant.name,
                weight_format=variant.weight_format,
                recipe=variant.recipe,
                weights_bytes=record.weights_bytes,
                compression_rate=record.compression_rate,
                already_published=True,
            )
        )
    return tuple(results)


def _refuse_difference(plan: ConversionPlan, variant: VariantRequest, record: VariantRecord) -> None:
    differences = [
        what
        for what, differs in (
            ("weight format", record.weight_format != variant.weight_format),
            ("recipe", record.recipe != variant.recipe),
            ("source", record.source_model != plan.source_model),
            ("revision", _is_commit(plan.revision) and record.revision != plan.revision),
        )
        if differs
    ]
    if differences:
        raise VariantExists(
            f"{plan.model}:{variant.name} is published with another {' and '.join(differences)}. "
            "Choose another variant name, or delete the published one first.",
            param="variants",
        )


def _is_commit(revision: str | None) -> bool:
    """Tell a commit, which a manifest records, from a branch or a tag, which moves."""
    return revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision) is not None
