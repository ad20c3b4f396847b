"""The sieve: whatever bytes a fetch brings, aiokafka can read what comes out, and neighbours come out unchanged."""

import gzip
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.pipeline.wire.contract import UNREADABLE
from pelton.workers.kafka.batches import Head, RawRecord, batch, write_records
from pelton.workers.kafka.sieve import Sieve

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
PACK: dict[int, Callable[[bytes], Any]] = {
    1: gzip.compress,
    2: cramjam.snappy.compress_raw,
    3: cramjam.lz4.compress,
    4: cramjam.zstd.compress,
}


def produced(values: Sequence[bytes], codec: int = 0, base: int = 0) -> bytes:
    """A batch as aiokafka's producer makes it."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 24)
    for index, value in enumerate(values):
        builder.append(index, 1_000, b"key", value, [("name", b"header")])
    built = bytes(builder.build())
    return base.to_bytes(8, "big") + built[8:]


def raw(records: Sequence[RawRecord], base: int = 0) -> bytes:
    head = Head(base, 0, 0, 2, 0, 0, max(0, len(records) - 1), 1_000, 1_000, -1, -1, -1, 0)
    return batch(head, write_records(records), len(records))


def bomb(codec: int, size: int) -> bytes:
    payload = bytes(PACK[codec](write_records([RawRecord(0, 0, None, b"a" * size, ())])))
    plain = batch(Head(0, 0, 0, 2, 0, 0, 0, 1_000, 1_000, -1, -1, -1, 1), payload, 1)
    # The same with the codec in its attributes, which `batch` clears.
    body = bytearray(plain[21:])
    body[1] |= codec
    return plain[:17] + calc_crc32c(bytes(body)).to_bytes(4, "big") + bytes(body)


def read(data: bytes, fetch_offset: int = 0, end: int = 1_000, sieve: Sieve | None = None) -> list:
    """What aiokafka's fetcher makes of what comes out."""
    readable, _ = (sieve or Sieve()).sift(data, fetch_offset, end)
    partition = TopicPartition("requests", 0)
    records = PartitionRecords(partition, MemoryRecords(readable), [], fetch_offset, None, None, True, 1)
    return list(records)


def cause(record) -> str | None:
    value = dict(record.headers).get(UNREADABLE)
    return None if value is None else value.decode()


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_every_codec_is_read(codec: int) -> None:
    """Each record of a compressed batch arrives with its offset, key, value and headers."""
    found = read(produced([b"first", b"second"], codec, base=5))
    assert [(record.offset, record.key, record.value, record.headers) for record in found] == [
        (5, b"key", b"first", (("name", b"header"),)),
        (6, b"key", b"second", (("name", b"header"),)),
    ]


def test_an_uncompressed_batch_passes_as_it_is() -> None:
    data = produced([b"first"])
    assert Sieve().sift(data, 0, 10)[0] is data


def test_a_header_name_that_is_not_utf8_marks_its_record_alone() -> None:
    """Neighbours in the same batch come through; the record keeps its bytes and says what is wrong."""
    data = raw(
        [
            RawRecord(0, 0, None, b"good", ()),
            RawRecord(0, 1, b"key", b"bad", ((b"kafka_correlationId", b"id"), (b"\xff\xfe", b"x"))),
            RawRecord(0, 2, None, b"fine", ()),
        ]
    )
    good, bad, fine = read(data)
    assert (good.value, cause(good), fine.value, cause(fine)) == (b"good", None, b"fine", None)
    assert (bad.offset, bad.key, bad.value) == (1, b"key", b"bad")
    assert dict(bad.headers)["kafka_correlationId"] == b"id"
    assert "not UTF-8" in (cause(bad) or "")


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_bomb_costs_no_more_memory_than_the_bound(codec: int) -> None:
    """What unpacks to more than is allowed is passed over, with its own bytes, and is not unpacked for it."""
    data = bomb(codec, 8 << 20)
    tracemalloc.start()
    (record,) = read(data, sieve=Sieve(most_batch=1 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "unpacks to more than 1,048,576 bytes" in (cause(record) or "")
    assert record.value == data
    assert peak < 5 << 20


def test_a_damaged_batch_is_passed_over_and_the_next_is_read() -> None:
    """The position moves behind the damaged one, and what it held is kept."""
    first, second = produced([b"a", b"b"]), produced([b"c"], base=2)
    damaged = first[:-1] + bytes([first[-1] ^ 1])
    gone, kept = read(damaged + second)
    assert (gone.offset, gone.value, cause(gone)) == (0, damaged, "offsets 0 to 1: its checksum is wrong")
    assert (kept.offset, kept.value) == (2, b"c")


def test_many_bombs_in_one_fetch_share_one_bound() -> None:
    """Small batches that each unpack to just what is allowed are left for the next fetch, not unpacked together."""
    data = b"".join(index.to_bytes(8, "big") + bomb(4, 900_000)[8:] for index in range(50))
    found = read(data, sieve=Sieve(left=2 << 20, most_batch=1 << 20))
    assert [record.offset for record in found] == [0, 1, 2]


@settings(max_examples=300, deadline=None)
@given(
    codec=st.sampled_from([0, 1, 2, 3, 4]),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    mend=st.booleans(),
    cut=st.integers(0, 400),
)
def test_no_bytes_stop_a_fetch(codec: int, flips: list, mend: bool, cut: int) -> None:
    """Whatever a batch is changed to, with a right checksum too, what comes out is readable and moves on."""
    data = bytearray(produced([b"value" * 9, b"x", b"y" * 40], codec))
    for at, byte in flips:
        data[(at % (len(data) - 12)) + 12] = byte
    if mend:
        data[17:21] = calc_crc32c(bytes(data[21:])).to_bytes(4, "big")
    whole = bytes(data[: len(data) - cut] if cut < 60 else data)
    for record in read(whole + produced([b"next"], base=3)):
        assert record.offset >= 0
