"""Settings of the cache that contradict each other are refused."""

import pytest
from pydantic import ValidationError

from pelton.pipeline.settings import CacheSettings


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


def test_a_password_is_not_shown():
    """Not even where all settings are printed."""
    shown = repr(CacheSettings(redis_url="redis://127.0.0.1", password="hidden", secret="hidden, and long"))  # noqa: S106  # its own
    assert "hidden" not in shown
