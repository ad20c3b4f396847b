"""Values that are noted at once count as those that are noted one by one."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from pelton.pipeline.batch_histogram import BatchHistogram

BOUNDS = (0.1, 1.0, 10.0)
amounts = st.one_of(st.sampled_from([0.0, *BOUNDS, 11.0]), st.floats(0, 100))


def shown(registry: CollectorRegistry) -> dict[str, float]:
    lines = generate_latest(registry).decode().splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if line.startswith("seconds_") and "_created" not in line)
    return {name: round(float(value), 6) for name, value in samples.items()}


@given(st.lists(st.lists(amounts, max_size=5), max_size=5))
def test_many_at_once_are_as_many_one_by_one(batches: list[list[float]]) -> None:
    """The same buckets, count and sum as the library's own, the bounds themselves included; labels too."""
    one_by_one, at_once = CollectorRegistry(), CollectorRegistry()
    single = Histogram("seconds", "Seconds.", ["stage"], buckets=BOUNDS, registry=one_by_one)
    batched = BatchHistogram("seconds", "Seconds.", ["stage"], buckets=BOUNDS, registry=at_once)
    one, many = single.labels("a"), batched.labels("a")
    for batch in batches:
        many.observe_all(batch)
        for amount in batch:
            one.observe(amount)
    assert shown(at_once) == shown(one_by_one)
