"""What an owner saves of a batch's results, and where its progress points, whenever it is killed."""

import asyncio
import threading
from typing import Any

import pytest

from pelton.pipeline.settings.loading import Settings
from pelton.producers.batch.results import RunNames
from pelton.producers.http.batches.collecting import Collector
from pelton.producers.http.batches.documents import Batch, Order, Progress, Status, parse_progress
from pelton.producers.http.batches.run import BatchRun, RunParts
from pelton.producers.http.batches.spool import Spool
from pelton.producers.kafka.sender_spans import SenderSpans

LINES = 4


class Place:
    """A reader, a storage and a writer in one: `position` is the reader's, `written` what Kafka has."""

    max_request_bytes = 1_000

    def __init__(self) -> None:
        self.position = 0
        self.parts: dict[str, bytes] = {}
        self.written: list[Progress] = []
        self.storing = threading.Event()
        self.may_store = threading.Event()
        self.fails = False

    def put_part(self, _batch_id: str, name: str, content: bytes) -> None:
        self.storing.set()
        assert self.may_store.wait(10)
        if self.fails:
            self.fails = False
            raise OSError("the disk is full")
        self.parts[name] = content

    async def write(self, keyed: list[tuple[bytes, bytes]], _requests: Any) -> None:
        self.written.append(parse_progress(keyed[0][1]))

    def taken_over(self, progress: Progress) -> set[int]:
        """The lines whose results the next owner would have."""
        with Spool(LINES) as spool:
            for part in progress.parts:
                spool.load(self.parts[part])
            return {line for line in range(1, LINES + 1) if line in spool}


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def collector(place):
    """Its reader gives the reply to line N at offset N - 1."""
    with Spool(LINES) as spool:

        def add(line: int) -> None:
            spool.add(line, b"{}", ok=True)
            place.position = line

        made = Collector(place, RunNames("b"), spool, SenderSpans(None, "requests"))
        made.reply = add  # type: ignore[attr-defined]  # what the reader would do
        yield made


@pytest.fixture
def run(place) -> BatchRun:
    order = Order("b", "", "file-1", None, 0)
    batch = Batch(order, Progress(Status.IN_PROGRESS, requests=LINES, lines=LINES))
    return BatchRun(batch, RunParts(Settings(), place, None), place)  # type: ignore[arg-type]  # all three in one


@pytest.mark.parametrize("first", ["goes on", "is cancelled", "fails"])
async def test_no_progress_points_behind_a_result_that_is_not_saved(run, place, collector, first):
    """Two saves that meet, whatever becomes of the first: each progress has all results below its offset."""
    collector.reply(1)
    one = asyncio.create_task(run._save(collector))
    assert await asyncio.to_thread(place.storing.wait, 10)
    collector.reply(2)
    two = asyncio.create_task(run._save(collector))
    await asyncio.sleep(0)
    if first == "is cancelled":
        one.cancel()
    place.fails = first == "fails"
    place.may_store.set()
    ended = await asyncio.gather(one, two, return_exceptions=True)
    assert ended[1] is None
    for progress in place.written:
        assert place.taken_over(progress) >= set(range(1, progress.reply_offset + 1))
    assert place.taken_over(place.written[-1]) == {1, 2}
    assert collector.unsaved_bytes == 0
