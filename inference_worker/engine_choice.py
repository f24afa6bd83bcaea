"""Which engine serves a variant on a device."""

from __future__ import annotations

from shared.catalog.engines import USUAL_ENGINE, load_engine_facts
from shared.schemas.models import EngineName
from shared.settings import EngineSetting

#: Devices that have no paged attention; AUTO and HETERO may hand the model to one of them.
_NOT_PAGING = frozenset({"NPU", "AUTO", "HETERO", "MULTI", "BATCH"})


def choose_engine(setting: EngineSetting, *, model_type: str, device: str, checked: EngineName | None = None) -> str:
    """Return the engine's name: what the operator set, else what the model needs, else what the device can.

    Args:
        setting: the operator's choice; ``auto`` leaves it to the others.
        model_type: as in the model's ``config.json``; empty where it is not known.
        device: OpenVINO's name, as in ``GPU.1`` or ``AUTO:GPU,CPU``.
        checked: the engine that was found right when the variant was published, for a family that no table knows.
    """
    if setting != "auto":
        return setting
    wanted = load_engine_facts().engine(model_type)
    if wanted == USUAL_ENGINE and checked is not None:
        wanted = checked
    kind = device.partition(":")[0].partition(".")[0]
    return "stateful" if wanted == USUAL_ENGINE and kind in _NOT_PAGING else wanted
