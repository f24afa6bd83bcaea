"""What a replica is said to need."""

from inference_worker.memory_need import memory_need, sample_memory_need

MIB = 1 << 20


def test_a_large_model_peaks_while_it_loads_and_a_large_cache_afterwards() -> None:
    weights = 1000 * MIB
    small_cache = memory_need(weights_bytes=weights, kv_cache_bytes=100 * MIB)
    assert small_cache.load_bytes > small_cache.serving_bytes > weights
    large_cache = memory_need(weights_bytes=weights, kv_cache_bytes=4000 * MIB)
    assert large_cache.load_bytes == large_cache.serving_bytes > weights + 4000 * MIB


def test_what_was_seen_corrects_what_was_guessed_but_the_cache_is_still_empty() -> None:
    need = memory_need(weights_bytes=1000 * MIB, kv_cache_bytes=500 * MIB)
    assert need.held(0) == need.serving_bytes
    assert need.held(5000 * MIB) == 5500 * MIB


def test_a_sample_takes_what_it_says() -> None:
    assert sample_memory_need(7 * MIB).load_bytes == 7 * MIB
    assert 0 < sample_memory_need(None).load_bytes < 200 * MIB
