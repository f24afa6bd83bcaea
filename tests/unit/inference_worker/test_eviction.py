"""Which replicas make room: examples, and what holds for every choice."""

from hypothesis import given
from hypothesis import strategies as st

from inference_worker.eviction import Candidate, choose_victims


def candidate(name: str, size: int = 100, *, load: float = 1.0, idle: float = 0.0) -> Candidate:
    return Candidate(name, size, load, idle)


def test_the_one_that_is_quickly_loaded_again_goes_first() -> None:
    candidates = [candidate("slow", load=60), candidate("quick", load=2)]
    assert choose_victims(candidates, missing_bytes=1, missing_places=0) == ("quick",)


def test_the_one_that_nobody_used_for_long_goes_first() -> None:
    candidates = [candidate("used", load=5), candidate("forgotten", load=60, idle=3600)]
    assert choose_victims(candidates, missing_bytes=1, missing_places=0) == ("forgotten",)


def test_a_large_one_spares_the_small_one() -> None:
    candidates = [candidate("small", 50, load=0.1), candidate("large", 500, load=30)]
    assert choose_victims(candidates, missing_bytes=400, missing_places=0) == ("large",)


def test_nothing_is_ended_in_vain() -> None:
    assert choose_victims([candidate("a"), candidate("b")], missing_bytes=201, missing_places=0) == ()
    assert choose_victims([], missing_bytes=0, missing_places=1) == ()


candidates_strategy = st.lists(
    st.builds(
        Candidate,
        st.uuids().map(str),
        st.integers(0, 1000),
        st.floats(0, 100),
        st.floats(0, 10_000),
    ),
    max_size=6,
    unique_by=lambda found: found.variant,
)


@given(candidates_strategy, st.integers(-100, 3000), st.integers(-2, 4))
def test_what_is_chosen_suffices_and_none_is_needless(found: list[Candidate], missing: int, places: int) -> None:
    chosen = choose_victims(found, missing_bytes=missing, missing_places=places)
    sizes = {each.variant: each.reserved_bytes for each in found}
    freed = sum(sizes[name] for name in chosen)
    if chosen:
        assert freed >= missing
        assert len(chosen) >= places
        for name in chosen:
            assert freed - sizes[name] < missing or len(chosen) - 1 < places
    elif missing > 0 or places > 0:
        assert sum(sizes.values()) < missing or len(found) < places
