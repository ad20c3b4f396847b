"""One record's trouble is its own, for work on one and on many."""

import time

from hypothesis import given
from hypothesis import strategies as st

from pelton.pipeline.errors import InternalError, InvalidValue
from pelton.pipeline.offsets import OffsetTracker
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.records import RequestRecord, Source
from pelton.workers.containment import each, harmless, together, together_async
from pelton.workers.requests import Delivery


def delivery(offset: int) -> Delivery:
    source = Source("requests", 0, offset)
    record = RequestRecord(source, None, b"", (), 0, 0)
    return Delivery(record, read_envelope(source, (), ReplyPolicy("replies")), OffsetTracker(), time.monotonic(), 0.0)


@given(st.lists(st.booleans(), max_size=20))
async def test_only_those_fail_that_fail_alone(bad: list[bool]) -> None:
    """Whether the work is on one or on all, the others' results are as if those were not there."""
    items = list(enumerate(bad))

    def work(some: list[tuple[int, bool]]) -> list[int]:
        if any(is_bad for _, is_bad in some):
            raise MemoryError
        return [number for number, _ in some]

    async def work_async(some: list[tuple[int, bool]]) -> list[int]:
        return work(some)

    wanted = [number for number, is_bad in items if not is_bad]
    for done, refused in (
        together("try", items, work, lambda item: delivery(item[0])),  # type: ignore[arg-type]
        await together_async("try", items, work_async, lambda item: delivery(item[0])),  # type: ignore[arg-type]
        each("try", items, lambda item: work([item])[0], lambda item: delivery(item[0])),
    ):
        assert done == wanted
        assert [end.delivery.record.source.offset for end in refused] == [n for n, is_bad in items if is_bad]
        assert all(isinstance(end.error, InternalError) for end in refused)


def test_an_error_of_the_senders_is_told_as_it_is() -> None:
    def work(_: int) -> int:
        raise InvalidValue("odd.", param="stop")

    _, (refused,) = each("try", [1], work, delivery)
    assert (refused.error.code, refused.error.param) == ("invalid_value", "stop")


def test_what_nobody_waits_for_harms_nobody() -> None:
    with harmless("count"):
        raise ValueError("odd")
