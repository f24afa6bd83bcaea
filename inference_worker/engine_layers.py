"""An engine's configuration from its layers: each value from the strongest layer that has it, and its source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.schemas.engine_config import EXCLUSIVE, ConfigSource, EngineConfig, EngineSettingView

#: Fields that choose between layers and mean nothing to an engine.
_NOT_SHOWN = frozenset({"tuning", "properties"})


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says."""

    source: ConfigSource
    config: EngineConfig


@dataclass(frozen=True, slots=True)
class EffectiveConfig:
    """The merged configuration; `sources` names fields and plugin properties, which never share a name."""

    config: EngineConfig = field(default_factory=EngineConfig)
    sources: Mapping[str, ConfigSource] = field(default_factory=dict)

    def settings(self) -> dict[str, EngineSettingView]:
        """Return every value with its source, fields before properties."""
        values: dict[str, bool | int | str] = {
            name: value
            for name in EngineConfig.model_fields
            if name not in _NOT_SHOWN and (value := getattr(self.config, name)) is not None
        }
        values.update(sorted(self.config.properties.items()))
        return {name: EngineSettingView(value=value, source=self.sources[name]) for name, value in values.items()}


def merge(layers: Iterable[Layer]) -> EffectiveConfig:
    """Merge layers, the weakest first; properties one by one, and of two fields that exclude each other the last."""
    values: dict[str, object] = {}
    properties: dict[str, str] = {}
    sources: dict[str, ConfigSource] = {}
    for layer in layers:
        said = layer.config.model_dump(exclude_none=True, exclude={"properties"})
        for pair in EXCLUSIVE:
            for name, other in (pair, pair[::-1]):
                if name in said:
                    values.pop(other, None)
                    sources.pop(other, None)
        values.update(said)
        properties.update(layer.config.properties)
        sources.update(dict.fromkeys((*said, *layer.config.properties), layer.source))
    return EffectiveConfig(EngineConfig.model_validate({**values, "properties": properties}), sources)
