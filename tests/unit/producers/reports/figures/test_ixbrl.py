"""Tagged numbers have the value that their tags give them."""

from decimal import Decimal

import pytest

from pelton.producers.reports.figures import parse_table
from pelton.producers.reports.sources.ixbrl import tagged_numbers, tagged_rows

FILING = """<html xmlns="http://www.w3.org/1999/xhtml" xmlns:ix="http://www.xbrl.org/2013/inlineXBRL"
 xmlns:xbrli="http://www.xbrl.org/2003/instance" xmlns:xbrldi="http://xbrl.org/2006/xbrldi"><body>
<xbrli:context id="c1"><xbrli:period><xbrli:startDate>2019-01-01</xbrli:startDate>
<xbrli:endDate>2019-12-31</xbrli:endDate>
</xbrli:period></xbrli:context>
<xbrli:context id="c2"><xbrli:entity><xbrli:segment>
<xbrldi:explicitMember dimension="d">x:RetailMember</xbrldi:explicitMember>
</xbrli:segment></xbrli:entity><xbrli:period><xbrli:instant>2018-12-31</xbrli:instant></xbrli:period></xbrli:context>
<xbrli:unit id="usd"><xbrli:measure>iso4217:USD</xbrli:measure></xbrli:unit>
<xbrli:unit id="eps"><xbrli:divide><xbrli:unitNumerator><xbrli:measure>iso4217:USD</xbrli:measure></xbrli:unitNumerator>
<xbrli:unitDenominator><xbrli:measure>xbrli:shares</xbrli:measure></xbrli:unitDenominator></xbrli:divide></xbrli:unit>
<xbrli:unit id="pure"><xbrli:measure>xbrli:pure</xbrli:measure></xbrli:unit>
<p>(<ix:nonFraction name="g:NetIncomeLoss" contextRef="c1" unitRef="usd" scale="6" sign="-">1,204</ix:nonFraction>)
<ix:nonFraction name="g:EarningsPerShare" contextRef="c1" unitRef="eps" scale="0">1.20</ix:nonFraction>
<ix:nonFraction name="g:TaxRate" contextRef="c1" unitRef="pure" scale="-2">21.5</ix:nonFraction>
<ix:nonFraction name="g:Assets" contextRef="c2" unitRef="usd" scale="3"
 format="ixt:num-comma-decimal">1.234,5</ix:nonFraction>
<ix:nonFraction name="g:Debt" contextRef="c2" unitRef="usd" format="ixt:fixed-zero">—</ix:nonFraction>
<ix:nonFraction name="g:Odd" contextRef="c2" unitRef="usd" scale="x">5</ix:nonFraction></p></body></html>"""


def test_scale_sign_unit_and_period_come_from_the_tags():
    loss, per_share, rate, assets, debt = tagged_numbers(FILING)
    assert (loss.concept, loss.quantity.amount, loss.quantity.unit) == (
        "Net income loss",
        Decimal(-1_204_000_000),
        "USD",
    )
    assert loss.period == "2019-01-01 to 2019-12-31"
    assert (per_share.quantity.amount, per_share.quantity.unit) == (Decimal("1.20"), "USD/share")
    assert (rate.quantity.amount, rate.quantity.unit) == (Decimal("21.5"), "%")
    assert (assets.quantity.amount, assets.members, assets.period) == (Decimal(1_234_500), "Retail", "2018-12-31")
    assert debt.quantity.amount == 0


def test_the_grid_keeps_the_values():
    """What `parse_table` reads from the grid is what the tags said."""
    numbers = tagged_numbers(FILING)
    table = parse_table(tagged_rows(numbers))
    assert [cell.quantity.amount for cell in table.numeric] == [number.quantity.amount for number in numbers]


@pytest.mark.parametrize("document", ["", "no markup", "<", b"\x00\xff"])
def test_what_is_no_document_is_an_error(document):
    with pytest.raises(ValueError, match="not an iXBRL document"):
        tagged_numbers(document)


def test_entities_are_not_expanded():
    """Neither a file of the machine nor a bomb of entities gets into a number."""
    bomb = '<!DOCTYPE x [<!ENTITY a "999"><!ENTITY f SYSTEM "file:///etc/hostname">]>' + FILING.replace(
        "1,204", "&a;&f;"
    )
    assert "Net income loss" not in [number.concept for number in tagged_numbers(bomb)]
