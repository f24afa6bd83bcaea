"""`ovchat models compare`: the figures beside each other, and bars whose lengths are in the figures' proportion."""

from gateway.client.comparison import BAR_WIDTH, bar, bar_lines, heading_lines, problem_lines, table_rows
from shared.schemas.models import Recipe, VariantRecord, WeightFormat
from tests.helpers.quality_card import a_card


def a_record(
    variant: WeightFormat, megabytes: float, agreement: float | None, problem: str | None = None
) -> VariantRecord:
    card = None
    if agreement is not None:
        card = a_card(agreement, weights_bytes=int(megabytes * 1e6))
    return VariantRecord(
        model="demo",
        variant=variant,
        weight_format=variant,
        recipe=Recipe(),
        source_model="org/demo",
        revision=None,
        model_type="llama",
        context_length=512,
        size_bytes=1,
        weights_bytes=int(megabytes * 1e6),
        compression_rate=269 / megabytes,
        stack="default",
        versions={},
        created_at="2026-01-01T00:00:00Z",
        verification=None,
        quality=card,
        quality_problem=problem,
    )


def test_the_table_has_the_figures_and_dashes_for_what_was_not_measured() -> None:
    records = [a_record("fp16", 269, 1.0), a_record("int8", 134.5, 0.954), a_record("int4", 86, None)]
    headings, rows = table_rows(records)
    assert all(len(row) == len(headings) for row in rows)
    assert rows[1] == ("int8", "134 MB", "2.00x", "95.4 %", "0.0460", "1.048", "1.2 s", "40")
    assert rows[2][3:] == ("–",) * 5
    assert heading_lines(records)[0] == ("demo on 2,100 tokens of the texts ovchat-1; times on A processor, 2 threads")


def test_bars_are_in_proportion() -> None:
    records = [a_record("fp16", 200, 1.0), a_record("int8", 100, 0.5), a_record("int4", 50, None)]
    lines = bar_lines(records)
    weights = lines.index("weights")
    lengths = [line.count("█") for line in lines[weights + 1 : weights + 4]]
    assert lengths == [BAR_WIDTH, BAR_WIDTH // 2, BAR_WIDTH // 4]
    agreement = lines.index("same next token as fp16")
    assert lines[agreement + 2].endswith("50.0 %")
    assert lines[agreement + 3].split() == ["int4", "–"]
    assert (bar(0), bar(1), bar(1.5 / 8 / BAR_WIDTH)) == ("", "█" * BAR_WIDTH, "▎")


def test_models_without_any_card_have_no_bars_but_those_of_their_sizes() -> None:
    records = [a_record("int4", 50, None, "no memory")]
    assert [line for line in bar_lines(records) if line and not line.startswith(" ")] == ["weights"]
    assert heading_lines(records) == []
    assert problem_lines(records) == ["", "int4: no memory"]
    assert "in the background" in problem_lines([a_record("int4", 50, None)])[1]
