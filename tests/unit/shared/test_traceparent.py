import pytest

from shared.tracing.traceparent import Traceparent, new_span_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("text", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f" 00-{TRACE}-{SPAN}-01 ", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"01-{TRACE}-{SPAN}-01-more", True),
    ],
)
def test_what_the_standard_allows_is_read(text: str, is_sampled: bool) -> None:
    assert Traceparent.parse(text) == Traceparent(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\n00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_it_forbids_is_ignored(text: str) -> None:
    assert Traceparent.parse(text) is None


def test_it_is_written_as_it_is_read() -> None:
    own = Traceparent.new()
    assert Traceparent.parse(str(own)) == own
    child = Traceparent(TRACE, SPAN, is_sampled=False).child()
    assert (child.trace_id, child.is_sampled) == (TRACE, False)
    assert child.span_id != SPAN


def test_no_span_id_is_zero() -> None:
    assert all(len(name) == 16 and int(name, 16) for name in (new_span_id() for _ in range(100)))
