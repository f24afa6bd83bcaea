from __future__ import annotations

import pytest

from inference_worker.engine_choice import choose_engine
from shared.schemas.models import EngineName
from shared.settings import EngineSetting


@pytest.mark.parametrize(
    ("setting", "model_type", "device", "engine"),
    [
        ("auto", "llama", "CPU", "continuous_batching"),
        ("auto", "llama", "GPU", "continuous_batching"),
        ("auto", "qwen3", "GPU.1", "continuous_batching"),
        ("auto", "", "CPU", "continuous_batching"),
        ("auto", "llama", "NPU", "stateful"),
        ("auto", "llama", "AUTO", "stateful"),
        ("auto", "llama", "AUTO:GPU,CPU", "stateful"),
        ("auto", "llama", "HETERO:GPU,CPU", "stateful"),
        ("auto", "mpt", "CPU", "stateful"),
        ("auto", "granitemoehybrid", "GPU.0", "stateful"),
        ("continuous_batching", "mpt", "NPU", "continuous_batching"),
        ("optimum", "llama", "CPU", "optimum"),
        ("stateful", "llama", "CPU", "stateful"),
        ("sample", "mpt", "NPU", "sample"),
    ],
)
def test_the_setting_goes_before_the_model_and_the_model_before_the_device(
    setting: EngineSetting, model_type: str, device: str, engine: str
) -> None:
    assert choose_engine(setting, model_type=model_type, device=device) == engine


@pytest.mark.parametrize(
    ("setting", "model_type", "device", "checked", "engine"),
    [
        ("auto", "unheard_of", "CPU", "stateful", "stateful"),
        ("auto", "unheard_of", "CPU", "continuous_batching", "continuous_batching"),
        ("auto", "unheard_of", "NPU", "continuous_batching", "stateful"),
        ("auto", "mpt", "CPU", "continuous_batching", "stateful"),
        ("optimum", "unheard_of", "CPU", "stateful", "optimum"),
    ],
)
def test_what_was_found_at_publish_counts_where_no_table_knows_the_family(
    setting: EngineSetting, model_type: str, device: str, checked: EngineName, engine: str
) -> None:
    assert choose_engine(setting, model_type=model_type, device=device, checked=checked) == engine
