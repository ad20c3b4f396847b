"""A generation belongs to none of its requests: whoever began it may leave, and it goes on for those who wait."""

from tests.replies import content, error_code, outcome
from tests.waiting import until

SLOW = {"itl_ms": 25, "min_output_tokens": 40, "mean_output_tokens": 40}
"""One second for an answer."""
SLOWER = {**SLOW, "itl_ms": 200}
"""Eight seconds: longer than a rebalance."""


async def test_the_one_that_began_it_is_cancelled(scene):
    """It is told so at once; the others get what was under way: one generation in all."""
    await scene.begin(partitions=1, simulated=SLOW)
    async with scene.worker() as worker:
        for name in ("began", "b", "c"):
            await scene.ask(name)
        await until(lambda: worker.worker.parts.sharing.single_flight.waiting == 2)
        await scene.cancel("began")
        (first,) = await scene.read(1)
        replies = await scene.by_id(3)
    assert error_code(first) == error_code(replies["began"]) == "cancelled"
    assert (outcome(replies["b"]), outcome(replies["c"])) == ("joined", "joined")
    assert len(worker.generated) == 1
    assert len(await scene.read_all()) == 3


async def test_the_one_that_began_it_passes_its_deadline(scene):
    """It is told so; the others get what was under way: one generation in all."""
    await scene.begin(partitions=1, simulated=SLOW)
    async with scene.worker() as worker:
        await scene.ask("hasty", ("pelton-deadline", scene.in_s(0.6)))
        await until(lambda: worker.generated)
        for name in ("b", "c"):
            await scene.ask(name)
        replies = await scene.by_id(3)
    assert error_code(replies["hasty"]) == "deadline_exceeded"
    assert (outcome(replies["b"]), outcome(replies["c"])) == ("joined", "joined")
    assert len(worker.generated) == 1
    assert len(await scene.read_all()) == 3


async def test_the_partition_of_the_one_that_began_it_is_lost(scene, redis_url):
    """Which of two partitions goes is Kafka's choice, so that on each one began a generation that the other joined.

    The former owner finishes both, for the request that it still has; the new owner answers the other with that.
    """
    cache = {"timeout_ms": 500, "redis_url": redis_url, "lease_wait_ms": 60_000}
    await scene.begin(partitions=2, simulated=SLOWER, cache=cache)
    async with scene.worker() as first:
        await until(lambda: len(first.partitions) == 2)
        for partition in (0, 1):
            await scene.ask(f"began-{partition}", partition=partition, text=f"{partition} {scene.text}")
        await until(lambda: len(first.generated) == 2)
        for partition in (0, 1):
            await scene.ask(f"joined-{partition}", partition=1 - partition, text=f"{partition} {scene.text}")
        single_flight = first.worker.parts.sharing.single_flight
        await until(lambda: single_flight.waiting == 2)
        async with scene.worker() as second:
            await until(lambda: second.partitions and single_flight.waiting == 0, 30)
            assert len(first.worker.parts.inference.running) == 2, "both go on"
            replies = await scene.by_id(4)
    assert (len(first.generated), second.generated) == (2, [])
    assert {error_code(reply) for reply in replies.values()} == {None}
    for partition in (0, 1):
        assert content(replies[f"began-{partition}"]) == content(replies[f"joined-{partition}"])
    assert len(await scene.read_all()) == 4
