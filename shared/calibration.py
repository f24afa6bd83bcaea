"""Calibration texts on their way from a request to the converter: jobs and manifests name them by their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import orjson

from shared.schemas.conversion import ConversionRequest, named_variants
from shared.schemas.models import CALIBRATION_PREFIX, VariantRequest


def texts_name(texts: Sequence[str]) -> str:
    """Return what jobs and manifests call these texts."""
    return CALIBRATION_PREFIX + hashlib.sha256(orjson.dumps(list(texts))).hexdigest()


def with_named_texts(variant: VariantRequest) -> VariantRequest:
    """Return the variant with its calibration texts, if it brings any, replaced by their name."""
    dataset = variant.recipe.dataset
    if not isinstance(dataset, tuple):
        return variant
    return variant.model_copy(update={"recipe": variant.recipe.model_copy(update={"dataset": texts_name(dataset)})})


def calibration_texts(request: ConversionRequest) -> dict[str, tuple[str, ...]]:
    """Return the calibration texts that a request brings, by their name."""
    recipes = [variant.recipe for variant in named_variants(request.variants)]
    return {texts_name(recipe.dataset): recipe.dataset for recipe in recipes if isinstance(recipe.dataset, tuple)}
