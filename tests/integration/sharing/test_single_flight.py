"""Many equal requests at once: one generation, and an answer to each under its own id."""

import asyncio
from collections import Counter

import orjson
import pytest

from tests.faulty.engine import Mark
from tests.replies import content, correlation_id, error_code, outcome
from tests.waiting import until

PATIENT = {"timeout_ms": 500}
"""On a busy machine Valkey may take longer than usual; here nobody is to go on without it."""
SLOW = {"itl_ms": 20, "min_output_tokens": 40, "mean_output_tokens": 40}
"""0.8 s for an answer."""


async def test_fifty_equal_requests_at_five_workers_are_generated_once(scene, redis_url):
    """One generation; fifty replies with ids of their own, the right correlation ids, and one and the same answer."""
    await scene.begin(partitions=10, simulated=SLOW, cache={**PATIENT, "redis_url": redis_url})
    async with scene.workers(5) as workers:
        await asyncio.gather(*(scene.ask(str(number), partition=number % 10) for number in range(50)))
        replies = await scene.read(50)
    assert sum(len(worker.generated) for worker in workers) == 1
    assert sorted(map(int, map(correlation_id, replies))) == list(range(50))
    assert len({orjson.loads(reply.value)["id"] for reply in replies}) == 50
    assert len(set(map(content, replies))) == 1
    outcomes = Counter(map(outcome, replies))
    assert outcomes["miss"] == 1
    assert outcomes.keys() <= {"miss", "joined", "hit-local", "hit-remote"}
    assert outcomes["joined"] > 0  # how many is a matter of when they came
    counted = sum(
        worker.metrics.registry.get_sample_value("pelton_cache_requests_total", {"outcome": "joined"}) or 0
        for worker in workers
    )
    assert counted == outcomes["joined"]


@pytest.mark.usefixtures("faulty_engine")
async def test_an_error_is_nobody_elses(scene, redis_url):
    """Requests that fail, fail each for itself: nothing is replayed to those that wait, and nothing is kept."""
    await scene.begin(
        partitions=1,
        simulated=SLOW,
        worker={"max_attempts": 1},
        cache={**PATIENT, "redis_url": redis_url},
    )
    async with scene.worker():
        for number in range(4):
            await scene.ask(str(number), text=f"{Mark.FAIL} {scene.text}", max_completion_tokens=7)
        replies = await scene.read(4)
    assert [error_code(reply) for reply in replies] == ["engine_error"] * 4
    assert len({dict(reply.headers)["pelton-source"] for reply in replies}) == 4
    assert {outcome(reply) for reply in replies} == {None}


async def test_the_deadline_of_one_that_joined_is_its_own(scene):
    """Who waits for another's answer is told when its time is up; the others get theirs."""
    await scene.begin(partitions=1, simulated=SLOW)
    async with scene.worker() as worker:
        await scene.ask("a")
        await until(lambda: worker.generated)
        await scene.ask("hasty", ("pelton-deadline", scene.in_s(0.3)))
        await scene.ask("b")
        replies = await scene.by_id(3)
    assert error_code(replies["hasty"]) == "deadline_exceeded"
    assert (outcome(replies["a"]), outcome(replies["b"])) == ("miss", "joined")
    assert len(worker.generated) == 1


async def test_followers_are_left_like_what_waits_in_the_line(scene):
    """A drain that cuts a generation off answers none of its flight; the next worker generates once for all."""
    await scene.begin(partitions=1, simulated={**SLOW, "itl_ms": 500}, worker={"drain_timeout_s": 0.1})
    async with scene.worker() as worker:
        for number in range(5):
            await scene.ask(str(number))
        await until(lambda: worker.worker.parts.sharing.single_flight.waiting == 4)
    assert await scene.read_all() == []
    simulated = scene.at.settings.engine.simulated.model_copy(update={"itl_ms": 0})
    async with scene.worker(engine=scene.at.settings.engine.model_copy(update={"simulated": simulated})) as second:
        replies = await scene.read(5)
    assert sorted(map(correlation_id, replies)) == list("01234")
    assert len(second.generated) == 1


async def test_a_worker_that_leaves_hands_the_lease_on(scene, redis_url):
    """It generates what another waits for and is drained: the other goes on long before the lease would have ended."""
    await scene.begin(
        partitions=2,
        simulated={**SLOW, "itl_ms": 100},
        worker={"drain_timeout_s": 0.1},
        cache={**PATIENT, "redis_url": redis_url, "lease_ttl_ms": 60_000},
    )
    async with scene.worker() as stays:
        async with scene.worker() as leaves:
            await until(lambda: stays.partitions and leaves.partitions)
            await scene.ask("a", partition=min(leaves.partitions))
            await until(lambda: leaves.generated)
            await scene.ask("b", partition=min(stays.partitions))
            await until(lambda: stays.worker.parts.sharing.single_flight.parked)
            assert not stays.generated
        replies = await scene.by_id(2)
    assert len(stays.generated) == 1
    assert {outcome(reply) for reply in replies.values()} <= {"miss", "joined", "hit-local"}


async def test_who_has_waited_too_long_goes_alone(scene, redis_url):
    """Another worker's generation that takes longer than `cache.lease_wait_ms` is not waited for."""
    await scene.begin(
        partitions=2, simulated={**SLOW, "itl_ms": 60}, cache={**PATIENT, "redis_url": redis_url, "lease_wait_ms": 300}
    )
    async with scene.workers(2) as (first, second):
        await scene.ask("a", partition=min(first.partitions))
        await until(lambda: first.generated)
        await scene.ask("b", partition=min(second.partitions))
        replies = await scene.read(2)
    assert [outcome(reply) for reply in replies] == ["miss", "miss"]


async def test_what_waits_for_another_worker_fills_no_line(scene, redis_url):
    """A line of one place: its request waits for another worker, outside, and the next one is generated meanwhile."""
    await scene.begin(
        partitions=2,
        simulated=SLOW,
        worker={"max_waiting_requests": 1, "max_waiting_tokens": 600},
        cache={**PATIENT, "redis_url": redis_url},
    )
    async with scene.workers(2) as (first, second):
        await scene.ask("a", partition=min(first.partitions))
        await until(lambda: first.generated)
        await scene.ask("b", partition=min(second.partitions))
        await scene.ask("c", text="another", partition=min(second.partitions), max_completion_tokens=5)
        replies = await scene.read(3)
    assert correlation_id(replies[0]) == "c"
    assert {correlation_id(reply): outcome(reply) for reply in replies} == {"a": "miss", "b": "joined", "c": "miss"}


async def test_who_waits_moves_with_its_partition(scene, redis_url):
    """A second worker takes a partition over in the middle of a generation: all are answered once, and by that one."""
    cache = {**PATIENT, "redis_url": redis_url}
    await scene.begin(partitions=2, simulated={**SLOW, "itl_ms": 100}, cache=cache)
    async with scene.worker() as first:
        await until(lambda: len(first.partitions) == 2)
        for number in range(6):
            await scene.ask(str(number), partition=number % 2)
        await until(lambda: first.worker.parts.sharing.single_flight.waiting == 5)
        async with scene.worker() as second:
            await until(lambda: second.partitions)
            await until(lambda: first.worker.parts.sharing.single_flight.waiting < 5)
            replies = await scene.by_id(6)
    assert sorted(replies) == list("012345")
    assert len(await scene.read_all()) == 6
    assert (len(first.generated), len(second.generated)) == (1, 0)
