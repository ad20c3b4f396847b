"""What a sender reads whose deadline has passed."""

from pelton.workers.cancellation.deadlines import too_late


def test_seconds_in_place_of_milliseconds_get_a_hint() -> None:
    """A deadline in 1970 is nobody's intent; one of yesterday is."""
    assert "if these are seconds, send them times 1,000" in str(too_late("before", 1_764_318_000))
    assert "end in 1970" in str(too_late("before", 1_764_318_000))
    assert "seconds" not in str(too_late("before", 1_764_318_000_000))
    assert "seconds" not in str(too_late("while it waited"))
