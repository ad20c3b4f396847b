"""Of which periods the numbers of a table are: by their headings, labels and groups, and by the rows around them."""

from pelton.producers.reports.figures.lexing.periods import Period, mentions
from pelton.producers.reports.figures.model import Cell, Table


def movements(table: Table) -> dict[int, tuple[Period, ...]]:
    """The years of rows between two balances: "Granted" above "Outstanding at June 30, 2019" is of 2019."""
    if any(mentions(heading) for heading in table.headings):
        return {}
    found: dict[int, tuple[Period, ...]] = {}
    waiting: list[int] | None = None
    labels = {cell.row: cell.label for cell in table.numeric}
    for row, label in labels.items():
        years = [mention.period.year for mention in mentions(label) if mention.period.year]
        if years:
            found.update(dict.fromkeys(waiting or (), (Period(years[-1]),)))
            waiting = []
        elif waiting is not None:
            waiting.append(row)
    return found


def latest_two(table: Table) -> tuple[Period, ...]:
    """The periods that a column of changes compares: the two latest of the headings, the later first."""
    found = {mention.period for heading in table.headings for mention in mentions(heading) if mention.period.year}
    latest = sorted(found, key=lambda period: (period.year, period.month, period.part), reverse=True)
    return tuple(latest[:2])


def cell_periods(cell: Cell, group: str, own: str) -> tuple[Period, ...]:
    """From the column's header, the row's label and the group above; a month of one joins the year of another."""
    found = [tuple(mention.period for mention in mentions(text)) for text in (cell.heading, own, group)]
    heading, label, above = found
    if heading and label and not any(period.year for period in label):
        return tuple(_join(one, two) for one in heading for two in label)
    if heading and not any(period.year for period in heading) and any(period.year for period in label):
        return tuple(_join(one, two) for one in label for two in heading)
    return heading or label or above


def _join(one: Period, two: Period) -> Period:
    return Period(one.year or two.year, one.month or two.month, one.part or two.part, one.day or two.day)
