"""Why the remote tier did not do what was asked of it, by kind: for counting."""

from enum import StrEnum

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    MaxConnectionsError,
    OutOfMemoryError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError


class Failure(StrEnum):
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    """It answered with an error: a wrong password, a missing right, a read-only replica, ..."""
    FULL = "full"
    """Out of memory."""
    GARBAGE = "garbage"
    """What answers does not speak Redis' protocol."""
    BUSY = "busy"
    """All our connections wait for answers."""
    DAMAGED = "damaged"
    """A stored value was none of its key's; it is deleted."""
    DROPPED = "dropped"
    """A value was not written: too many waited for that, or it is too large."""
    LEASE_LOST = "lease_lost"
    """A lease ran out while it was held."""


def kind_of_failure(error: Exception) -> Failure:
    match error:
        case TimeoutError() | RedisTimeoutError():
            return Failure.TIMEOUT
        case MaxConnectionsError():
            return Failure.BUSY
        case OutOfMemoryError():
            return Failure.FULL
        case ResponseError() | AuthenticationError() | AuthorizationError():
            return Failure.REFUSED
        case OSError() | RedisConnectionError():
            return Failure.UNREACHABLE
    return Failure.GARBAGE
