"""Settings of the cache that contradict each other are refused."""

import pytest
from pydantic import ValidationError

from pelton.pipeline.settings.cache import CacheSettings


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"redis_url": "http://127.0.0.1"}, "must begin with"),
        ({"redis_url": "127.0.0.1:6379"}, "must begin with"),
        ({"redis_url": ""}, "must begin with"),
        ({"ssl_cafile": __file__}, "no use"),
        ({"redis_url": "redis://127.0.0.1", "ssl_cafile": __file__}, "no use"),
    ],
)
def test_settings_that_do_not_fit(settings, told):
    """A URL of another scheme, or an authority that would never be asked."""
    with pytest.raises(ValidationError, match=told):
        CacheSettings(**settings)


@pytest.mark.parametrize("sign", "/#?")
def test_a_password_that_breaks_the_url_is_refused_and_not_shown(sign):
    """Half of it would be taken for host, port or path, and be in every message that names the server."""
    with pytest.raises(ValidationError, match="%2F") as caught:
        CacheSettings(redis_url=f"redis://user:hid{sign}den@127.0.0.1:6379")
    assert "hid" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("redis://127.0.0.1", "redis://:a%2Fb%23c%3Fd%40e@cache:6379/0", "rediss://user:pass@[::1]:6380/1"),
        *("redis://cache/0?protocol=2", "unix:///run/redis@home.sock?db=1"),
    ],
)
def test_urls_that_are_whole_are_taken(url):
    """With escaped passwords, IPv6, a database, options, and paths of sockets."""
    assert CacheSettings(redis_url=url).redis_url == url


def test_a_password_is_not_shown():
    """Not even where all settings are printed."""
    shown = repr(CacheSettings(redis_url="redis://127.0.0.1", password="hidden", secret="hidden, and long"))  # noqa: S106  # its own
    assert "hidden" not in shown
    assert "hidden" not in repr(CacheSettings(redis_url="redis://:hidden@127.0.0.1"))
