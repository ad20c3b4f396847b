"""TLS to Redis: with the right authority the cache works, without it nothing is sent.

The Valkey that pip installs has no TLS, so a relay in front of it speaks it.
"""

import asyncio
import shutil
import ssl
import subprocess
from contextlib import asynccontextmanager

import pytest

from pelton.cache.connection import CacheUnavailable, check
from pelton.cache.replies.failures import Failure
from pelton.cache.replies.tiered import TieredCache
from pelton.pipeline.settings.cache import CacheSettings
from tests.listening import listening, pass_on

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Key and self-signed certificate for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command = [openssl, "req", "-x509", *new_key, *subject, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


@asynccontextmanager
async def _relay(port, certificate):
    """A TLS server that passes everything on to a plain one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])

    async def serve(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    async with listening(serve, context) as relay:
        yield f"rediss://127.0.0.1:{relay}/0"


async def test_tls_with_its_authority(valkey, redis, certificate, new_key):
    """`rediss://` and `ssl_cafile`: what is put arrives."""
    async with _relay(valkey.port, certificate) as url:
        cache = TieredCache(CacheSettings(redis_url=url, ssl_cafile=certificate[1], timeout_ms=60_000))
        await cache.start()
        key = new_key()
        cache.put(key, b"value")
        await cache.close()
    assert await redis.exists(key) == 1


async def test_an_unknown_authority_is_refused(valkey, certificate, new_key):
    """The cache does without Redis, and a check says why."""
    failures = []
    async with _relay(valkey.port, certificate) as url:
        settings = CacheSettings(redis_url=url)
        cache = TieredCache(settings, on_failure=failures.append)
        await cache.start()
        assert await cache.get_many([new_key()]) == {}
        await cache.close()
        with pytest.raises(CacheUnavailable, match=r"(?i)certificate"):
            await check(settings)
    assert set(failures) == {Failure.UNREACHABLE}
