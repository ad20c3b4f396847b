"""Tables get their headers, periods, scales, units and signs from where filings write them."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from pelton.producers.reports.figures import parse_table, parse_text, prompt_view


def cell_of(table, cell_id):
    (found,) = (cell for cell in table.cells if cell.id == cell_id)
    return found


def amount(table, cell):
    return cell_of(table, cell).quantity.amount


def test_scale_and_currency_of_a_header_hold_for_the_cells():
    table = parse_table([["", "2019 €m", "2018 €m"], ["Sales", "166", "(57)"]])
    cell = cell_of(table, "T1.r2.c3")
    assert (cell.label, cell.period, cell.quantity.unit) == ("Sales", "2018", "EUR")
    assert cell.quantity.amount == Decimal(-57_000_000)


def test_the_scale_may_stand_in_the_text_around():
    table = parse_table([["", "2019"], ["Sales", "$1.5"]], context="The table shows sales (in millions):")
    assert amount(table, "T1.r2.c2") == Decimal(1_500_000)


def test_a_scale_that_nobody_states_is_not_known():
    assert not cell_of(parse_table([["", "2019"], ["Sales", "$1.5"]]), "T1.r2.c2").quantity.scale_known


def test_per_share_and_percent_rows_are_not_scaled():
    rows = [
        ["(In millions, except per share data)", "2019"],
        ["Sales", "$5"],
        ["Earnings per share", "$1.20"],
        ["Margin", "4%"],
    ]
    table = parse_table(rows)
    assert amount(table, "T1.r2.c2") == Decimal(5_000_000)
    assert (amount(table, "T1.r3.c2"), cell_of(table, "T1.r3.c2").quantity.unit) == (Decimal("1.20"), "USD/share")
    assert amount(table, "T1.r4.c2") == 4


def test_header_rows_join_and_span():
    rows = [
        ["", "Fiscal Year 2018", "", "Fiscal Year 2017", ""],
        ["", "Sales", "% of Total", "Sales", "% of Total"],
        ["APAC", "$5", "40%", "$4", "38%"],
    ]
    table = parse_table(rows)
    assert table.headings[2] == "Fiscal Year 2018 % of Total"
    assert cell_of(table, "T1.r3.c5").period == "2017"


def test_a_table_may_have_several_blocks():
    rows = [
        ["", "", "As of 2019", ""],
        ["", "Cost", "Gains", "Value"],
        ["Bonds", "$1", "$2", "$3"],
        ["", "", "As of 2018", ""],
        ["", "Cost", "Gains", "Value"],
        ["Bonds", "$4", "$5", "$9"],
    ]
    table = parse_table(rows)
    assert cell_of(table, "T1.r3.c2").period == "2019"
    assert cell_of(table, "T1.r6.c4").heading == "As of 2018 Value"


def test_groups_qualify_the_rows_below():
    rows = [
        ["", "Gross", "Net"],
        ["December 31, 2019", "", ""],
        ["Total", "$5", "$4"],
        ["December 31, 2018", "", ""],
        ["Total", "$3", "$2"],
    ]
    cell = cell_of(parse_table(rows), "T1.r5.c3")
    assert (cell.label, cell.period) == ("December 31, 2018 — Total", "December 31, 2018")


def test_signs_run_down_their_columns():
    rows = [
        ["", "2019"],
        ["A", "$5"],
        ["B", "6"],
        ["Shares", "7"],
        ["Share of sales", "100%"],
        ["C", "40"],
        ["D", "60%"],
    ]
    units = {cell.label: cell.quantity.unit for cell in parse_table(rows).numeric}
    assert units == {"A": "USD", "B": "USD", "Shares": "", "Share of sales": "%", "C": "%", "D": "%"}


def test_prose_becomes_a_table_of_its_numbers():
    table = parse_text("Sales were $5 million in 2019. Costs fell 4%.", id="P1")
    assert [(cell.id, cell.text, cell.period) for cell in table.numeric] == [
        ("P1.r1.c1", "$5 million", "2019"),
        ("P1.r2.c1", "4%", ""),
    ]


def test_the_model_sees_ids_labels_and_values():
    view = prompt_view([parse_table([["", "2019"], ["Sales", "$1,452.4"]], caption="Sales (in millions)")])
    assert "T1.c2 = 2019" in view
    assert "- Sales: T1.r2.c2 = $1,452.4 million (2019)" in view


GRIDS = st.lists(st.lists(st.text(alphabet="0123456789 $%().,-ab2019Totalin\n€—", max_size=12), max_size=5), max_size=7)


@given(GRIDS)
def test_any_grid_can_be_parsed(rows):
    """Ragged, empty and nonsensical grids give a table whose ids are unique and point at their cells."""
    table = parse_table(rows)
    assert len({cell.id for cell in table.cells}) == len(table.cells)
    for cell in table.cells:
        assert " ".join(rows[cell.row - 1][cell.column - 1].split()) == cell.text
    prompt_view([table])
