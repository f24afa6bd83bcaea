"""The spans that a part of the platform ends, kept for the test to read."""

from shared.tracing.spans import EndedSpan, Spans


class KeptSpans(Spans):
    """Keeps what it is given, in order."""

    is_on = True

    def __init__(self) -> None:
        self.kept: list[EndedSpan] = []

    def add(self, span: EndedSpan) -> None:
        """Keep one span."""
        self.kept.append(span)
