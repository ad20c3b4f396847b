"""One record's trouble is its own: every station of a request's way does its work through here.

Whatever work on one request raises becomes that request's error reply and dead letter, and no other's: a `PeltonError`
as it is, anything else as an `InternalError`, which says where it happened. Work on many at once is done one by one
where it fails for all, so that only those fail that fail alone.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from pelton.pipeline.errors import InternalError, PeltonError
from pelton.workers.requests import Delivery, Failed

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Done = TypeVar("Done")


def fault(error: Exception, station: str, delivery: Delivery) -> PeltonError:
    """The error that reports a failure to the request's sender; `station` is a verb: what was being done."""
    if isinstance(error, PeltonError):
        return error
    log.error(
        "This worker failed to %s %s, which ends by it",
        *(station, delivery.record.source), exc_info=error, extra=delivery.log_fields,
    )  # fmt: skip
    return InternalError(
        f"The worker failed to {station} this request ({type(error).__name__}). The fault is not the sender's: the "
        "request is kept as a dead letter, and the worker's log has the details."
    )


def refusal(error: Exception, station: str, delivery: Delivery) -> Failed:
    """The end of a request by a failure."""
    return Failed(delivery, fault(error, station, delivery))


def each(
    station: str, items: Iterable[Item], work: Callable[[Item], Done], delivery: Callable[[Item], Delivery]
) -> tuple[list[Done], list[Failed]]:
    """Work on one after the other; who fails is refused."""
    done: list[Done] = []
    refused: list[Failed] = []
    for item in items:
        try:
            done.append(work(item))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this request's
            refused.append(refusal(error, station, delivery(item)))
    return done, refused


def together(
    station: str,
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], Sequence[Done]],
    delivery: Callable[[Item], Delivery],
) -> tuple[list[Done], list[Failed]]:
    """Work on all at once; where that fails, one by one."""
    if not items:
        return [], []
    try:
        return list(work(items)), []
    except Exception:  # noqa: BLE001  # who it was shows next
        return each(station, items, lambda item: work([item])[0], delivery)


async def each_async(
    station: str, items: Iterable[Item], work: Callable[[Item], Awaitable[Done]], delivery: Callable[[Item], Delivery]
) -> tuple[list[Done], list[Failed]]:
    """As `each`, for work that waits."""
    done: list[Done] = []
    refused: list[Failed] = []
    for item in items:
        try:
            done.append(await work(item))
        except Exception as error:  # noqa: BLE001  # as in `each`
            refused.append(refusal(error, station, delivery(item)))
    return done, refused


async def together_async(
    station: str,
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], Awaitable[Sequence[Done]]],
    delivery: Callable[[Item], Delivery],
) -> tuple[list[Done], list[Failed]]:
    """As `together`, for work that waits."""
    if not items:
        return [], []
    try:
        return list(await work(items)), []
    except Exception:  # noqa: BLE001  # as in `together`

        async def alone(item: Item) -> Done:
            return (await work([item]))[0]

        return await each_async(station, items, alone, delivery)


class harmless:  # noqa: N801  # read as the statement that it makes, as those of contextlib
    """For what nobody waits for, such as figures: a failure is logged, and delivery goes on."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if not isinstance(error, Exception):
            return False
        log.error("This worker failed to %s; requests go on without it", self._what, exc_info=error)
        return True
