"""A repeated request costs a look-up; what may be shared, with whom, and what a sender may say about it."""

from collections import Counter

import orjson
import pytest
from openai.types.chat import ChatCompletion

from tests.replies import content, outcome


async def test_a_repeated_request_is_answered_from_memory(scene):
    """The second answer is the first one's text under an id of its own, valid to the letter, with nothing generated."""
    await scene.begin()
    async with scene.worker() as worker:
        await scene.ask("a")
        await scene.read(1)
        await scene.ask("b")
        replies = await scene.by_id(2)
    assert len(worker.generated) == 1
    assert (outcome(replies["a"]), outcome(replies["b"])) == ("miss", "hit-local")
    first, second = (ChatCompletion.model_validate_json(replies[name].value) for name in "ab")
    assert (first.choices, first.usage, first.model) == (second.choices, second.usage, second.model)
    assert first.id != second.id
    assert second.created >= first.created


async def test_another_worker_finds_the_answer_in_redis(scene, redis_url):
    """Its own memory has it from then on."""
    await scene.begin(cache={"redis_url": redis_url})
    async with scene.worker():
        await scene.ask("a")
        await scene.read(1)
    async with scene.worker() as second:
        for count, name in ((2, "b"), (3, "c")):
            await scene.ask(name)
            replies = await scene.by_id(count)
    assert not second.generated
    assert [outcome(replies[name]) for name in "abc"] == ["miss", "hit-remote", "hit-local"]


async def test_what_the_header_asks_for(scene):
    """`refresh` generates and keeps, `bypass` generates and neither reads nor keeps nor says anything."""
    await scene.begin(partitions=1)
    uses = ["use", "bypass", "refresh", "use", "bypass", "use"]
    async with scene.worker() as worker:
        for number, use in enumerate(uses):
            await scene.ask(str(number), ("pelton-cache", use.encode()))
            replies = await scene.by_id(number + 1)
    told = [outcome(replies[str(number)]) for number in range(len(uses))]
    assert told == ["miss", None, "miss", "hit-local", None, "hit-local"]
    assert len(worker.generated) == 4
    sample = worker.metrics.registry.get_sample_value
    for name in ("miss", "hit-local", "bypass"):
        assert sample("pelton_cache_requests_total", {"outcome": name}) == 2


@pytest.mark.parametrize("share", [False, True])
async def test_tenants_share_only_where_they_may(scene, share):
    """By default each tenant's request is generated for it."""
    await scene.begin(cache={"share_across_tenants": share})
    tenants = ("acme", "bolt", "acme")
    async with scene.worker() as worker:
        for number, tenant in enumerate(tenants):
            await scene.ask(str(number), ("pelton-tenant", tenant.encode()))
            replies = await scene.by_id(number + 1)
    told = [outcome(replies[str(number)]) for number in range(3)]
    assert told == (["miss", "hit-local", "hit-local"] if share else ["miss", "miss", "hit-local"])
    assert len(worker.generated) == (1 if share else 2)


async def test_without_the_cache_nothing_is_shared(scene):
    """`cache.enabled = false`: each request is generated, and no reply speaks of a cache."""
    await scene.begin(cache={"enabled": False})
    async with scene.worker() as worker:
        for _ in range(3):
            await scene.ask("same")
        replies = await scene.read(3)
    assert len(worker.generated) == 3
    assert {outcome(reply) for reply in replies} == {None}


async def test_what_is_left_to_chance_is_not_shared(scene):
    """Without temperature 0 or a seed each request gets its own answer; with a seed they share it."""
    await scene.begin(partitions=1)
    async with scene.worker() as worker:
        for number in range(2):
            await scene.ask(f"free-{number}", temperature=1)
            await scene.ask(f"seeded-{number}", temperature=1, seed=5)
        replies = await scene.by_id(4)
    assert Counter(outcome(reply) for reply in replies.values())[None] == 2
    assert len(worker.generated) == 3


@pytest.mark.parametrize("temperature", [0, 1])
async def test_a_request_sent_again_gets_the_same_reply_again(scene, redis_url, temperature):
    """Byte for byte, sampled or not, from another worker too; another body under the same id is a new request."""
    await scene.begin(cache={"redis_url": redis_url})
    async with scene.worker():
        await scene.ask("a", temperature=temperature)
        (first,) = await scene.read(1)
    async with scene.worker() as second:
        await scene.ask("a", temperature=temperature)
        again = [reply for reply in await scene.read(2) if outcome(reply) == "resent"]
        assert not second.generated
        await scene.ask("a", temperature=temperature, user="somebody else")
        replies = await scene.read(3)
    assert [reply.value for reply in again] == [first.value]
    assert dict(again[0].headers)["pelton-source"] != dict(first.headers)["pelton-source"]
    assert len({orjson.loads(reply.value)["id"] for reply in replies}) == 2


async def test_an_error_is_not_remembered(scene):
    """Sent again, a request that failed is tried again."""
    await scene.begin(simulated={"itl_ms": 10})
    async with scene.worker():
        await scene.ask("a", ("pelton-deadline", scene.in_s(0.02)))
        (failed,) = await scene.read(1)
        await scene.ask("a")
        replies = await scene.read(2)
    (answer,) = [reply for reply in replies if reply.value != failed.value]
    assert outcome(failed) is None
    assert outcome(answer) == "miss"
    assert content(answer)
