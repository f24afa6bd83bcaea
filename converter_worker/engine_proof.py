"""Whether it is known how the engines compute a model's family."""

from collections.abc import Mapping

from shared.catalog.engines import load_engine_facts
from shared.catalog.stacks import load_stacks


def is_unproven(config: Mapping[str, object], stack: str) -> bool:
    """Tell whether a variant has to be compared in the engines before it is published.

    `config` is the model's ``config.json``, `stack` the version stack that exports it.
    """
    facts = load_engine_facts()
    if facts.of_configuration(config) is not None:
        return True
    model_type = str(config.get("model_type", ""))
    is_measured = load_stacks().evidence(model_type, stack) == "exact"
    return not is_measured and model_type not in facts.model_types
