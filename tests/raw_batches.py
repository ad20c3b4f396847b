"""Record batches as no client library would send them: built byte by byte, and sent as they are."""

from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.errors import KafkaError, NoError, for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c

from pelton.workers.kafka.batches import Head, RawRecord, batch, write_records

PACK: dict[str, Any] = {"gzip": gzip_encode, "snappy": snappy_encode, "lz4": lz4_encode, "zstd": zstd_encode}
CODEC_NUMBERS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
DATED_MS = 1_700_000_000_000
_BODY_AT, _CRC_AT = 21, 17


def raw_batch(record: RawRecord, codec: str | None = None, timestamp_ms: int = DATED_MS) -> bytes:
    """A batch of one record, compressed or not."""
    payload = write_records([record])
    return (
        with_codec(PACK[codec](payload), CODEC_NUMBERS[codec], timestamp_ms) if codec else _batch(payload, timestamp_ms)
    )


def with_codec(payload: bytes, number: int, timestamp_ms: int = DATED_MS) -> bytes:
    """A batch that claims to hold one record, compressed by the codec with that number."""
    plain = _batch(payload, timestamp_ms)
    body = bytearray(plain[_BODY_AT:])
    body[1] |= number
    return plain[:_CRC_AT] + calc_crc32c(bytes(body)).to_bytes(4, "big") + bytes(body)


def _batch(payload: bytes, timestamp_ms: int) -> bytes:
    return batch(Head(0, 0, -1, 2, 0, 0, 0, timestamp_ms, timestamp_ms, -1, -1, -1, 1), payload, 1)


async def produce_raw(bootstrap: str, topic: str, partition: int, data: bytes) -> int:
    """Send a batch's bytes as they are; return its offset. Raises `KafkaError`, also where the broker refuses it."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        await client._wait_on_metadata(topic)  # a client without a public way to do this
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        response = await client.send(leader, ProduceRequest(None, -1, 10_000, [(topic, [(partition, data)])]))
        ((_, (answer,)),) = response.topics
        error: type[KafkaError] = for_code(answer[1])
        if error is not NoError:
            raise error(f"topic {topic}, partition {partition}")
        return int(answer[2])
    finally:
        await client.close()
