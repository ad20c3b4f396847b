"""The first look at a real Valkey: what will not pass is an error, what may is said, and each has its cause."""

import asyncio
import ssl
from collections.abc import Callable

import pytest
import trustme

from pelton.cache.connection import CacheUnavailable, connected
from pelton.cache.first_look import look_at_redis, look_at_servers
from pelton.cache.sessions.store import Fence, SessionStore
from pelton.pipeline.settings.cache import CacheSettings, SessionSettings
from pelton.stack.ports import LOOPBACK
from tests.integration.cache.odd_valkey import EVICTING, LIMITED, LOCKED, PASSWORD, OddValkey, Sentinel, in_cluster_mode
from tests.listening import Serve, listening

Url = Callable[[str], str]


async def refusal(**settings: object) -> str:
    with pytest.raises(CacheUnavailable) as caught:
        await look_at_redis(CacheSettings.model_validate(settings))
    return str(caught.value)


async def test_a_server_that_works_is_passed_over_in_silence(redis_url):
    """Likewise where none is set."""
    assert await look_at_redis(CacheSettings(redis_url=redis_url)) is None
    assert await look_at_redis(CacheSettings()) is None


async def test_cluster_mode_is_refused():
    """Its keys lie apart: sessions and batches of reads would fail for ever."""
    with in_cluster_mode() as server:
        told = await refusal(redis_url=server.url)
        assert "cluster mode" in told
        assert "set cache.redis_url" in told
        store = SessionStore(CacheSettings(redis_url=server.url), SessionSettings())
        assert await store.raise_fences([Fence.fresh("group", "topic", 0)]) == [False]
        assert store.refused
        await store.close()


async def test_a_sentinel_and_a_replica_are_not_the_server():
    """The one keeps nothing; the other may become the primary."""
    with Sentinel() as sentinel:
        assert "not to a Sentinel" in await refusal(redis_url=sentinel.url)
    with OddValkey() as primary, OddValkey("--replicaof", LOOPBACK, str(primary.port)) as replica:
        told = await look_at_redis(CacheSettings(redis_url=replica.url))
        assert told is not None
        assert "set cache.redis_url to its primary" in told


async def test_passwords_and_rights_name_their_settings():
    """None of them passes by itself; the session store and the commands say the same."""
    with OddValkey(*LOCKED) as server:
        assert "PELTON_CACHE__PASSWORD" in await refusal(redis_url=server.url)
        wrong = {"redis_url": server.url, "password": "wrong"}
        assert "'default': check cache.username and cache.password" in await refusal(**wrong)
        limited = {"redis_url": server.url, "username": LIMITED, "password": PASSWORD}
        assert "the user 'limited'" in await refusal(**limited)
        with pytest.raises(CacheUnavailable, match=r"cache\.password"):
            async with connected(CacheSettings(redis_url=server.url)) as client:
                await client.ping()
        right = {"redis_url": server.url, "password": PASSWORD}
        assert await look_at_redis(CacheSettings.model_validate(right)) is None


async def test_a_policy_that_drops_histories_is_named():
    """Where there is no limit on memory, no policy matters."""
    with OddValkey(*EVICTING) as server:
        told = await look_at_redis(CacheSettings(redis_url=server.url))
        assert told is not None
        assert "maxmemory-policy allkeys-lru" in told
    with OddValkey(*EVICTING[2:]) as server:
        assert await look_at_redis(CacheSettings(redis_url=server.url)) is None


async def test_the_server_of_histories_is_looked_at_too(redis_url):
    """Under its own setting; and where there is one, it does not matter what the server of answers drops."""
    nowhere = SessionSettings(redis_url="redis://127.0.0.1:1")
    [told] = await look_at_servers(CacheSettings(redis_url=redis_url), nowhere)
    assert "PELTON_SESSION__REDIS_URL" in told
    assert told.endswith("Until then sessions are unavailable.")
    with OddValkey(*EVICTING) as dropping, OddValkey(*LOCKED) as locked:
        cache = CacheSettings(redis_url=dropping.url)
        assert await look_at_servers(cache, SessionSettings(redis_url=redis_url)) == []
        assert len(await look_at_servers(cache, SessionSettings())) == 1
        with pytest.raises(CacheUnavailable, match="asks for a password"):
            await look_at_servers(cache, SessionSettings(redis_url=locked.url))


async def test_what_is_away_may_come():
    """A worker starts without it, and says so."""
    away = await look_at_redis(CacheSettings(redis_url="redis://127.0.0.1:1"))
    assert away is not None
    assert "PELTON_CACHE__REDIS_URL" in away
    unknown = await look_at_redis(CacheSettings(redis_url="redis://no.such.host.invalid"))
    assert unknown is not None
    assert "not known to DNS" in unknown


def answering(answer: bytes) -> Serve:
    """Answers whatever it hears, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)

    return serve


async def test_a_port_of_something_else():
    """A web server; one that closes, as Kafka does, which is no passing state when it happens each time."""
    async with listening(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert "not as Redis does" in await refusal(redis_url=f"redis://127.0.0.1:{port}")
        assert "begin cache.redis_url with redis://" in await refusal(redis_url=f"rediss://127.0.0.1:{port}")
    async with listening(answering(b"")) as port:
        assert "names no Redis" in await refusal(redis_url=f"redis://127.0.0.1:{port}")


async def test_tls_that_does_not_fit(redis_url):
    """On one side only, or with a certificate of an unknown CA."""
    authority, certificates = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(certificates)
    async with listening(answering(b""), certificates) as port:
        assert "expects TLS (rediss://)" in await refusal(redis_url=f"redis://127.0.0.1:{port}")
        assert "set cache.ssl_cafile" in await refusal(redis_url=f"rediss://127.0.0.1:{port}")
    assert "begin cache.redis_url with redis://" in await refusal(redis_url=redis_url.replace("redis://", "rediss://"))
