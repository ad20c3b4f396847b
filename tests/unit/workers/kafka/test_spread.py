"""Each topic's partitions are spread over all members, and no more of them move than that takes."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pelton.workers.kafka.consumers import Share, _sticky_assignor, spread_topics
from tests.dice import DICE

TOPICS = {"bulk": 12, "urgent": 12, "other": 5}


def cluster(topics: dict[str, int]) -> Any:
    return SimpleNamespace(
        topics=lambda: set(topics),
        partitions_for_topic=lambda name: set(range(topics[name])) if name in topics else None,
    )


def join(topics: dict[str, int], members: int) -> dict[str, Share]:
    """What they have when they have come one after the other."""
    assignors = [_sticky_assignor() for _ in range(members)]
    for count in range(1, members + 1):
        metadata = {str(number): assignors[number].metadata(set(topics)) for number in range(count)}
        given = assignors[0].assign(cluster(topics), metadata)
        for member, assignment in given.items():
            assignors[int(member)].on_assignment(assignment)
    return {member: {topic: list(parts) for topic, parts in each.assignment} for member, each in given.items()}


def test_workers_that_come_one_by_one_share_each_topic() -> None:
    """And not only their number: else one would have all of a flood, and another would be idle."""
    for members in (2, 3, 5):
        shares = join(TOPICS, members)
        for topic, count in TOPICS.items():
            counts = [len(share.get(topic, ())) for share in shares.values()]
            assert sum(counts) == count
            assert max(counts) - min(counts) <= 1


@given(st.lists(st.integers(0, 13), min_size=1, max_size=4), st.integers(1, 5), DICE)
def test_nobody_gets_more_and_what_is_even_stays(sizes: list[int], members: int, rng: Any) -> None:
    """From any even distribution of any topics."""
    places = [(f"t{topic}", number) for topic, size in enumerate(sizes) for number in range(size)]
    rng.shuffle(places)
    shares: dict[str, Share] = {str(member): {} for member in range(members)}
    for number, (topic, partition) in enumerate(places):
        shares[str(number % members)].setdefault(topic, []).append(partition)
    spread = spread_topics(shares)
    assert sorted((t, p) for share in spread.values() for t, parts in share.items() for p in parts) == sorted(places)
    for member, share in spread.items():
        assert sum(map(len, share.values())) == sum(map(len, shares[member].values()))
    for number in range(len(sizes)):
        counts = [len(share.get(f"t{number}", ())) for share in spread.values()]
        assert max(counts) - min(counts) <= 1
    assert spread_topics(spread) == spread
