"""The checker can fail: workers that break a rule of exactly-once delivery are caught, each by a storm made for it."""

import pytest

ONE_ZOMBIE = (
    # Two workers; one is frozen until the other has surely taken over, and wakes up with work half done.
    *("--workers=2", "--only", "freeze", "--faults=1", "--lasts=8.5", "--lead=8", "--minutes=0.2", "--requests=500"),
)
SLOW = {
    # Nothing is answered in the first seconds after a take-over: the window in which the position can go stale.
    "PELTON_ENGINE__SIMULATED__ITL_MS": "100",
    "PELTON_ENGINE__SIMULATED__MIN_OUTPUT_TOKENS": "48",
}
# Some dead letters are larger than their topic takes: these sends fail in the best of weathers.
FINE_WEATHER = ("--workers=2", "--faults=0", "--minutes=0.05", "--requests=1000")


@pytest.mark.parametrize(
    ("mutant", "storm", "settings", "wrong"),
    [
        ("one-id-per-worker", ONE_ZOMBIE, {}, "twice"),
        ("position-first", ONE_ZOMBIE, SLOW, "twice"),
        ("unawaited-sends", FINE_WEATHER, {}, "letter_missing"),
    ],
)
def test_a_worker_that_breaks_a_rule_is_caught(chaos, mutant, storm, settings, wrong):
    """The verdict names what the broken rule was there to prevent, and the run fails: at the latest the third storm.

    A race is lost often, not always.
    """
    for seed in (1, 2, 3):
        ended = chaos(f"--mutant={mutant}", f"--seed={seed}", "--poison=0", *storm, **settings)
        if ended.verdict[wrong]:
            break
    assert ended.verdict[wrong] > 0, ended.said
    assert not ended.verdict["valid"]
    assert ended.status == 1
