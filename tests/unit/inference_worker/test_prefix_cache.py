from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference_worker.engines.prefix_cache import PrefixCache

_BLOCK = 4


def _cache(capacity_blocks: int = 100) -> PrefixCache:
    return PrefixCache(capacity_blocks=capacity_blocks, block_tokens=_BLOCK)


def _run(cache: PrefixCache, prompt: list[int], answer: list[int], name: str = "a") -> int:
    cached = cache.add(name, prompt)
    cache.generated(name, answer)
    cache.release(name)
    return cached


def test_whole_blocks_of_a_known_beginning_are_cached() -> None:
    cache = _cache()
    assert _run(cache, [*range(10)], [50]) == 0
    assert _run(cache, [*range(10), 77, 78], [50]) == 8
    assert _run(cache, [*range(6)], [50]) == 4
    assert _run(cache, [9, *range(10)], [50]) == 0


def test_the_last_token_is_always_computed() -> None:
    cache = _cache()
    _run(cache, [*range(8)], [50])
    assert _run(cache, [*range(8)], [50]) == 7


def test_an_answer_is_cached_but_for_its_last_token() -> None:
    cache = _cache()
    _run(cache, [1, 2, 3], [4, 5, 6, 7, 8])
    assert cache.add("b", [1, 2, 3, 4, 5, 6, 7, 8, 9]) == 4
    _run(cache, [1, 2, 3, 4, 5, 6, 7, 8, 9], [10], "c")
    assert cache.add("d", [1, 2, 3, 4, 5, 6, 7, 8, 9]) == 8


def test_a_prompt_is_known_once_it_is_computed() -> None:
    cache = _cache()
    cache.add("a", [*range(8)])
    assert cache.add("b", [*range(8)]) == 0
    cache.generated("a", [50])
    assert cache.add("c", [*range(8)]) == 7
    cache.release("b")
    assert cache.add("d", [*range(8)]) == 7


def test_the_longest_unused_is_forgotten_first() -> None:
    cache = _cache(capacity_blocks=6)
    first, second, third = ([number] * 8 for number in (1, 2, 3))
    _run(cache, first, [50])
    _run(cache, second, [50])
    _run(cache, first, [50])
    _run(cache, third, [50])
    assert _run(cache, second, [50]) == 0
    assert _run(cache, third, [50]) == 7


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=20), st.lists(st.integers(0, 2), max_size=9)),
        max_size=30,
    ),
    st.integers(1, 12),
)
def test_it_never_claims_what_was_not_computed_or_cannot_be_held(
    runs: list[tuple[list[int], list[int]]], capacity: int
) -> None:
    cache = _cache(capacity)
    computed: list[list[int]] = []
    for prompt, answer in runs:
        cached = _run(cache, prompt, answer)
        assert 0 <= cached < len(prompt)
        assert cached <= capacity * _BLOCK
        assert cached == 0 or any(known[:cached] == prompt[:cached] for known in computed)
        if answer:
            computed.append([*prompt, *answer[:-1]])


def test_prompts_that_go_on_in_one_half_filled_block_are_known_by_it() -> None:
    cache = _cache()
    _run(cache, [1, 2, 3, 4, 5, 6], [7, 8, 9])
    first, second = cache.shared_end([*range(1, 10), 50]), cache.shared_end([*range(1, 10), 60, 61])
    assert first is not None
    assert first == second
    assert cache.shared_end([1, 2, 3, 4, 5, 6]) is None, "it only begins alike"
    assert cache.shared_end([9, 9, 9]) is None
    _run(cache, [20, 21, 22], [23])
    assert cache.shared_end([20, 21, 22, 30]) != first
