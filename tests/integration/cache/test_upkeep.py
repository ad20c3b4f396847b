"""`pelton cache`: what there is, purging it, warming it."""

import asyncio
import functools

import orjson
import pytest
from typer.testing import CliRunner

from pelton.cache.keys import answer_key, resend_key
from pelton.cli import app
from pelton.commands.common import Exit


@pytest.fixture
def pelton(valkey):
    """`pelton("stats", "--json")`: the command against this test's Valkey."""

    def run(*arguments, **environment):
        environment = {"PELTON_CACHE__REDIS_URL": valkey.url, **environment}
        call = functools.partial(CliRunner().invoke, app, ["cache", *map(str, arguments)], env=environment)
        return asyncio.to_thread(call)

    return run


@pytest.fixture
async def stocked(caches):
    """A cache with answers of two models and two tenants, and a resend."""
    cache = await caches()
    keys = {
        (model, tenant): answer_key(model=model, tenant=tenant, fingerprint=b"", prompt="p", sampling={})
        for model in ("small", "l*rge")
        for tenant in ("acme", "")
    }
    keys["resend", ""] = resend_key(tenant="acme", reply_topic="r", reply_partition=0, correlation_id=b"1", body=b"{}")
    for key in keys.values():
        cache.put(key, b"value")
    await cache._outbox.send()
    return keys


async def test_stats_by_model_and_tenant(stocked, caches, redis, pelton):
    """Entries and memory of each, other people's keys left out; and how the answers came about, over all workers."""
    await redis.set("pelton:session", b"x")
    await redis.rpush("pelton:a1:small:acme:list", b"y")  # no value of ours, but under our name
    for outcomes in (["miss", "hit-local"], ["miss", "miss"]):
        cache = await caches()
        for outcome in outcomes:
            cache.count(outcome)
        await cache.close()
    shown = await pelton("stats", "--json")
    found = orjson.loads(shown.stdout)
    assert shown.exit_code == Exit.OK
    entries = {(entry["kind"], entry["model"], entry["tenant"]): entry for entry in found["entries"]}
    assert {owner: entry["entries"] for owner, entry in entries.items()} == {
        ("answer", "small", "acme"): 2,
        ("answer", "small", ""): 1,
        ("answer", "l*rge", "acme"): 1,
        ("answer", "l*rge", ""): 1,
        ("resend", None, "acme"): 1,
    }
    assert entries["answer", "small", ""]["bytes"] == await redis.memory_usage(stocked["small", ""])
    assert found["outcomes"] == {"miss": 3, "hit-local": 1}
    table = (await pelton("stats")).stdout
    assert "l*rge" in table
    assert "75.0%" in table


async def test_counts_wait_for_redis(caches, frozen, redis, eventually):
    """What cannot be added to the shared counts now is added later, once."""
    cache = await caches(timeout_ms=50)
    with frozen():
        while cache.remote.answering.passes:
            await cache.get_many(["pelton:a1:m:t:d"])
        cache.count("miss")
        await cache._health.flush_outcomes()
        cache.count("miss")
    await eventually(lambda: cache.remote.answering.passes)
    await cache._health.flush_outcomes()
    assert await redis.hget("pelton:outcomes", "miss") == b"2"


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--model", "l*rge"], {("small", "acme"), ("small", ""), ("resend", "")}),
        (["--tenant", "acme"], {("small", ""), ("l*rge", "")}),
        (["--tenant", ""], {("small", "acme"), ("l*rge", "acme"), ("resend", "")}),
        (["--model", "small", "--tenant", "acme"], {("small", ""), ("l*rge", "acme"), ("l*rge", ""), ("resend", "")}),
        (["--all"], set()),
    ],
)
async def test_purge_deletes_what_it_names(stocked, redis, pelton, options, left):
    """And nothing else, sessions least of all; it says how much that was."""
    await redis.set("pelton:s1:acme:session", b"history")
    done = await pelton("purge", *options, "--json")
    assert done.exit_code == Exit.OK
    assert orjson.loads(done.stdout) == {"deleted": len(stocked) - len(left)}
    assert {name for name, key in stocked.items() if await redis.exists(key)} == left
    assert await redis.exists("pelton:s1:acme:session") == 1


@pytest.mark.parametrize("options", [[], ["--all", "--model", "small"], ["--all", "--tenant", ""]])
async def test_purge_wants_to_be_told_what(pelton, options):
    """Nothing is deleted by leaving something out."""
    refused = await pelton("purge", *options)
    assert refused.exit_code == Exit.UNUSABLE
    assert "--all" in refused.stderr


@pytest.mark.parametrize("command", [["stats"], ["purge", "--all"]])
@pytest.mark.parametrize(
    ("url", "told"), [("redis://:secret@127.0.0.1:1", "redis://127.0.0.1:1 is not there"), ("", "begin with")]
)
async def test_no_redis_is_told(pelton, command, url, told):
    """In one line, without the password."""
    failed = await pelton(*command, PELTON_CACHE__REDIS_URL=url)
    assert failed.exit_code == Exit.UNUSABLE
    assert told in failed.stderr
    assert "secret" not in failed.stderr


async def test_a_large_cache_is_walked_page_by_page(redis, pelton):
    """More entries than a page holds: all are seen, and all are deleted."""
    keys = [answer_key(model="m", tenant="", fingerprint=b"", prompt=str(index), sampling={}) for index in range(3_500)]
    await redis.mset(dict.fromkeys(keys, b"value"))
    (entry,) = orjson.loads((await pelton("stats", "--json")).stdout)["entries"]
    assert entry["entries"] == 3_500
    assert "3,500 entries" in (await pelton("purge", "--all")).stdout
    assert await redis.dbsize() == 1  # the word of the purge
