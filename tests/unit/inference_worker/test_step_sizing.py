from __future__ import annotations

from inference_worker.engines.step_sizing import StepCost, measure_step_cost, tokens_per_step


class Host:
    """A host whose steps cost what a `StepCost` says."""

    def __init__(self, cost: StepCost, step_tokens: int = 256) -> None:
        self.cost = cost
        self.step_tokens = step_tokens
        self.prefilled = 0

    def prefill(self, tokens: int) -> list[float]:
        self.prefilled += tokens
        return [
            self.cost.fixed_ms + min(self.step_tokens, tokens - at) * (self.cost.token_ms + self.cost.position_ms * at)
            for at in range(0, tokens, self.step_tokens)
        ]


def test_the_cost_of_a_host_is_found_again() -> None:
    true = StepCost(8.0, 0.27, 0.0003)
    found = measure_step_cost(Host(true).prefill, 8192)
    assert abs(found.fixed_ms - true.fixed_ms) < 0.5
    assert abs(found.token_ms - true.token_ms) < 0.01
    assert abs(found.position_ms - true.position_ms) < 0.00003


def test_a_slow_model_is_not_given_a_long_prefill() -> None:
    """Accident: sizing the steps of a large model on a small host takes minutes before it serves."""
    host = Host(StepCost(100.0, 20.0, 0.01))
    measure_step_cost(host.prefill, 8192)
    assert host.prefilled < 500


def test_steps_stay_within_twice_the_target_at_the_end_of_the_context() -> None:
    cost = StepCost(8.0, 0.27, 0.0003)
    for slots in (1, 32, 64):
        prefill = tokens_per_step(cost, target_ms=120, slots=slots, context_length=8192) - slots
        assert prefill >= 16
        step_ms = cost.fixed_ms + slots * cost.token_ms + prefill * (cost.token_ms + cost.position_ms * 8192)
        assert step_ms < 240


def test_prefill_goes_on_even_where_decoding_alone_is_too_slow() -> None:
    assert tokens_per_step(StepCost(50.0, 30.0, 0.1), target_ms=120, slots=32, context_length=8192) == 48
