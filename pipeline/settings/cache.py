"""Settings of what Redis keeps: answers, and histories of sessions."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, model_validator

from pelton.pipeline.settings.section import NotNegative, Positive, Seconds, Secret, Section


class CacheSettings(Section):
    """The reply cache: a tier in each worker's memory, and one in Redis or Valkey that all share."""

    enabled: bool = True
    """Whether answers are kept and shared at all."""
    redis_url: str | None = Field(default=None, repr=False)
    """`redis://`, `rediss://` (TLS) or `unix://`; unset, each worker has only its own tier."""
    username: str | None = None
    """Of the server's ACL, where the URL names none; so for the password. The user needs the keys `pelton:*` and the
    command categories read, write, scripting and connection."""
    password: SecretStr | None = None
    """Better given as the variable `PELTON_CACHE__PASSWORD`."""
    ssl_cafile: FilePath | None = None
    """Certificates that the server's is checked against; unset: the system's."""
    secret: Secret | None = None
    """Known to all workers and to nobody else: answers and session histories are sealed with it, and what is not is not
    read. Set or changed, it makes what is stored unreadable: answers are generated anew, sessions end."""
    local_bytes: Positive = 100_000_000
    """Memory that a worker's own tier may take, its bookkeeping included."""
    local_ttl_s: Seconds = 300.0
    """How long an answer is kept in a worker's own tier."""
    ttl_s: Seconds = 86_400.0
    """How long an answer is kept in Redis, give or take a tenth."""
    timeout_ms: Annotated[float, Field(gt=0)] = 10.0
    """What a request may lose to a Redis that does not answer; after a few times it is not asked until it does. Answers
    of 100 kB and more take longer to read when many come at once."""
    lease_ttl_ms: Positive = 5_000
    """After a worker's death in the middle of an answer, those who wait for it wait at most about this long."""
    lease_wait_ms: Positive = 60_000
    """How long a request waits for another worker to generate its answer before it is generated twice."""
    resend_window_s: Seconds = 600.0
    """A request that is sent again (same sender, id and body) within this time gets the same reply again."""
    share_across_tenants: bool = False
    """Let tenants share answers. One can then measure whether another has asked the same."""

    @model_validator(mode="after")
    def _url_fits(self) -> Self:
        check_url(self.redis_url)
        if self.ssl_cafile is not None and _scheme(self.redis_url) != "rediss":
            raise ValueError("ssl_cafile has no use without a redis_url that begins with rediss://")
        return self


class SessionSettings(Section):
    """Conversations whose history is kept in Redis (`cache.redis_url`)."""

    redis_url: str | None = Field(default=None, repr=False)
    """A server for histories alone, with the user, password and certificates of the section `cache`: one that keeps its
    data over a restart and evicts none. Unset, `cache.redis_url`."""
    ttl_s: Positive = 604_800
    """How long a history is kept after its last turn."""
    max_context_tokens: Positive | None = None
    """The longest prompt that a history may make; its oldest turns are dropped for it. Unset: the model's context."""
    wait_ms: NotNegative = 5_000.0
    """How long a request waits for Redis, when it is away, before it ends with `session_unavailable`."""

    @model_validator(mode="after")
    def _url_fits(self) -> Self:
        check_url(self.redis_url)
        return self


def _scheme(url: str | None) -> str:
    return (url or "").partition("://")[0]


def check_url(url: str | None) -> None:
    """Raises ValueError, without the URL, which may have a password in it."""
    if url is not None and _scheme(url) not in {"redis", "rediss", "unix"}:
        raise ValueError("redis_url must begin with redis://, rediss:// or unix://")
    if url is not None and _scheme(url) != "unix" and not _is_whole(url):
        raise ValueError(
            "redis_url cannot be read: in its user and password write / as %2F, # as %23 and ? as %3F, or set "
            "cache.username and cache.password instead"
        )


def _is_whole(url: str) -> bool:
    """Whether host and port are where they should be, and nothing of a password has come to lie behind them."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and "@" not in parts.path + parts.query + parts.fragment
    except ValueError:  # its message quotes the URL
        return False
