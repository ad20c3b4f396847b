"""A request is taken back: wherever it is, its sender is told, and nobody else loses anything by it."""

from tests.replies import correlation_id, error_code, outcome
from tests.waiting import until

SLOW = {"itl_ms": 25, "min_output_tokens": 40, "mean_output_tokens": 40}
"""One second for an answer."""
ENDLESS = {"itl_ms": 250, "min_output_tokens": 512, "mean_output_tokens": 512, "max_output_tokens": 512}


async def test_what_waits_or_runs_for_itself_ends(scene):
    """In the line and in the engine alike; the reply says `cancelled`, and there is no dead letter."""
    await scene.begin(partitions=1, simulated={**ENDLESS, "max_running": 1})
    async with scene.worker() as worker:
        await scene.ask("runs", text="1")
        await until(lambda: worker.generated)
        await scene.ask("waits", text="2")
        await until(lambda: len(worker.worker.parts.queue))
        await scene.cancel("waits")
        assert [(correlation_id(reply), error_code(reply)) for reply in await scene.read(1)] == [("waits", "cancelled")]
        await scene.cancel("runs")
        replies = await scene.read(2)
    assert {correlation_id(reply): error_code(reply) for reply in replies} == {
        "waits": "cancelled",
        "runs": "cancelled",
    }
    assert await scene.client.read_all(scene.at.dead_letters) == []


async def test_a_follower_leaves_alone(scene):
    """Leader and other followers are answered."""
    await scene.begin(partitions=1, simulated=SLOW)
    async with scene.worker() as worker:
        for name in ("leads", "leaves", "stays"):
            await scene.ask(name)
        await until(lambda: worker.worker.parts.sharing.single_flight.waiting == 2)
        await scene.cancel("leaves")
        replies = await scene.by_id(3)
    assert error_code(replies["leaves"]) == "cancelled"
    assert (outcome(replies["leads"]), outcome(replies["stays"])) == ("miss", "joined")


async def test_a_generation_that_nobody_wants_any_more_ends(scene):
    """The leader is cancelled, then the last of its followers: the engine is free for others."""
    await scene.begin(partitions=1, simulated={**ENDLESS, "max_running": 1})
    async with scene.worker() as worker:
        for name in ("leads", "follows"):
            await scene.ask(name)
        await until(lambda: worker.worker.parts.sharing.single_flight.waiting == 1)
        for count, name in enumerate(("leads", "follows"), start=1):
            await scene.cancel(name)
            assert len(await scene.read(count)) == count
        await scene.ask("next", text="other", max_completion_tokens=1)
        replies = await scene.by_id(3)
    assert [error_code(replies[name]) for name in ("leads", "follows", "next")] == ["cancelled", "cancelled", None]
    assert len(await scene.read_all()) == 3


async def test_what_waits_for_another_worker_ends(scene, redis_url):
    """And the one behind it waits on."""
    await scene.begin(partitions=2, simulated={**SLOW, "itl_ms": 60}, cache={"redis_url": redis_url, "timeout_ms": 500})
    async with scene.workers(2) as (first, second):
        await scene.ask("a", partition=min(first.partitions))
        await until(lambda: first.generated)
        for name in ("leaves", "stays"):
            await scene.ask(name, partition=min(second.partitions))
        await until(
            lambda: (
                second.worker.parts.sharing.single_flight.parked
                and second.worker.parts.sharing.single_flight.waiting == 2
            )
        )
        await scene.cancel("leaves")
        replies = await scene.by_id(3)
    assert error_code(replies["leaves"]) == "cancelled"
    assert (outcome(replies["a"]), outcome(replies["stays"])) == ("miss", "joined")
    assert not second.generated


async def test_tenant_and_id_have_to_match(scene):
    """Another tenant's cancel does nothing; nor does one that came before the request was sent again."""
    await scene.begin(simulated=SLOW)
    async with scene.worker():
        await scene.cancel("a", "acme")
        await scene.ask("a", ("pelton-tenant", b"acme"))
        await scene.cancel("a", "bolt")
        await scene.cancel("a")
        (reply,) = await scene.read(1)
    assert outcome(reply) == "miss"


async def test_a_request_that_no_worker_has_fetched_yet_is_cancelled(scene):
    """A cancel that is read before its request is remembered."""
    await scene.begin(partitions=1, simulated={**SLOW, "max_running": 1}, worker={"max_waiting_requests": 1})
    async with scene.worker() as worker:
        for number in range(5):
            await scene.ask(str(number), text=str(number))
        await scene.cancel("4")
        replies = await scene.read(5, timeout_s=60)
    assert {correlation_id(reply): error_code(reply) for reply in replies} == {
        **dict.fromkeys("0123"),
        "4": "cancelled",
    }
    assert "4" not in worker.generated
