"""Names in tables can be copied from a terminal of whatever width."""

import io

import pytest
from rich.console import Console

from pelton.commands.backlog import Row, _table
from pelton.commands.shared.tables import folding_table


@pytest.mark.parametrize("width", [30, 60, 80])
def test_nothing_is_cut(width: int) -> None:
    """A long name goes on in the next line."""
    out = io.StringIO()
    table = folding_table("name", "path", figures=("count",))
    table.add_row("a-name-of-forty-characters-and-some-more", "/a/path/that/is/long/as/paths/are", "1,234,567")
    Console(file=out, width=width).print(table)
    assert "…" not in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= width


def test_topics_of_a_backlog_are_told_apart() -> None:
    """Their names may begin alike."""
    out = io.StringIO()
    Console(file=out, width=60).print(
        _table([Row("inference.requests.of-a-team", 1_234_567, 123.0), Row("b", 0, None)])
    )
    cells = [line[2:].partition(" ")[0] for line in out.getvalue().splitlines()]
    assert "inference.requests.of-a-team" in "".join(cells)
    assert "2.8 h" in out.getvalue()
