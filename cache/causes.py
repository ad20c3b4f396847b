"""Why Redis or Valkey cannot be used, in words that name the setting to change, and whether it may pass by itself."""

import ssl
from dataclasses import dataclass
from socket import gaierror
from urllib.parse import unquote, urlsplit

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterCrossSlotError,
    ClusterDownError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from pelton.pipeline.settings.cache import CacheSettings

TLS_SCHEME = "rediss"


@dataclass(frozen=True, slots=True)
class Cause:
    """`reason` goes on after "Redis at ...". One that is not `passing` stays until somebody changes something."""

    reason: str
    passing: bool


def cause_of(settings: CacheSettings, error: BaseException) -> Cause:
    """What `error`, which the client raised or the server answered, comes from."""
    origin = error.__cause__ or error.__context__ or error
    certain = _of_the_account(settings, error) or _of_the_server(error) or _of_tls(origin)
    return certain or _of_the_connection(settings, error, origin)


def is_cut_off(error: BaseException) -> bool:
    """Whether the connection was closed: by chance where the server is going down, always where it expects TLS."""
    return isinstance(error.__context__, ConnectionResetError) or "closed by server" in str(error).lower()


def _of_the_account(settings: CacheSettings, error: BaseException) -> Cause | None:
    user = settings.username or unquote(urlsplit(settings.redis_url or "").username or "") or "default"
    if isinstance(error, NoPermissionError):
        return Cause(
            f"does not let the user {user!r} do what Pelton does ({_words(error)}): give it the keys pelton:* and the "
            "categories read, write, scripting and connection, or set cache.username to another",
            passing=False,
        )
    if isinstance(error, AuthenticationError):
        if "authentication required" in str(error).lower():
            return Cause("asks for a password: set cache.password (PELTON_CACHE__PASSWORD)", passing=False)
        return Cause(f"refuses the user {user!r}: check cache.username and cache.password", passing=False)
    return None


def _of_the_server(error: BaseException) -> Cause | None:
    match error:
        case ClusterCrossSlotError() | ClusterDownError() | MovedError() | AskError():
            return Cause(
                "is in cluster mode, where keys that Pelton uses together lie apart: set cache.redis_url to a server "
                "without it (cluster-enabled no)",
                passing=False,
            )
        case ReadOnlyError():
            return Cause("is a replica, which takes no writes: set cache.redis_url to its primary", passing=True)
        case InvalidResponse():
            return Cause("answers, but not as Redis does: set cache.redis_url to a Redis or Valkey", passing=False)
        case ResponseError() if "unknown command" in str(error).lower():
            command = _words(error).partition(",")[0]
            return Cause(
                f"does not know a command ({command}): set cache.redis_url to a Redis or Valkey itself, not to a "
                "Sentinel or proxy",
                passing=False,
            )
        case ResponseError():
            return Cause(f"refuses what is asked of it ({_words(error)})", passing=True)
    return None


def _of_tls(origin: BaseException) -> Cause | None:
    match origin:
        case ssl.SSLCertVerificationError():
            return Cause(
                f"shows a certificate that is not trusted ({origin.verify_message.rstrip('.')}): set cache.ssl_cafile "
                "to the CA that signed it, and cache.redis_url to a name that it is for",
                passing=False,
            )
        case ssl.SSLError() if "certificate" in str(origin).lower():
            return Cause(
                "wants a certificate of the client, which Pelton does not show: set tls-auth-clients no there, or "
                "another port in cache.redis_url",
                passing=False,
            )
        case ssl.SSLError():
            return Cause("does not speak TLS on this port: begin cache.redis_url with redis://", passing=False)
    return None


def _of_the_connection(settings: CacheSettings, error: BaseException, origin: BaseException) -> Cause:
    if isinstance(origin, gaierror):
        return Cause("has a name that is not known to DNS: check cache.redis_url", passing=True)
    if isinstance(origin, ConnectionRefusedError | FileNotFoundError):
        return Cause(
            "is not there: start one with `pelton up`, or set cache.redis_url (PELTON_CACHE__REDIS_URL) to where it is",
            passing=True,
        )
    if is_cut_off(error):
        secure = urlsplit(settings.redis_url or "").scheme == TLS_SCHEME
        hint = "does not speak TLS (redis://)" if secure else "expects TLS (rediss://)"
        return Cause(f"closes the connection at once: cache.redis_url names no Redis, or one that {hint}", passing=True)
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return Cause("does not answer in time: see that it runs, and that cache.redis_url names it", passing=True)
    return Cause(f"cannot be reached ({_words(error)}): see that cache.redis_url names it", passing=True)


def _words(error: BaseException) -> str:
    return str(error).rstrip(".") or repr(error)
