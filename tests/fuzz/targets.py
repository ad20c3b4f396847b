"""Everything that reads bytes from outside, each with good inputs to begin from and the errors that it may raise."""

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import Any

import orjson
from rich.console import Console

from pelton.cache.sessions.history import History, Turn, packed
from pelton.cache.value_format import Damaged, ValueFormat
from pelton.commands.dlt import view
from pelton.pipeline.errors import OutOfMemory, RequestError, TenantNotProven
from pelton.pipeline.offsets import BadMetadata, OffsetTracker, Progress
from pelton.pipeline.outside_text import escaped, shown
from pelton.pipeline.wire.chat import Message
from pelton.pipeline.wire.dead_letter import dead_letter
from pelton.pipeline.wire.decoding import decode_request
from pelton.pipeline.wire.headers import ReplyPolicy, read_envelope
from pelton.pipeline.wire.record_forms.avro import AvroSchema
from pelton.pipeline.wire.record_forms.framing import framed
from pelton.pipeline.wire.record_forms.protobuf import ProtobufSchema
from pelton.pipeline.wire.record_forms.schema import RegisteredSchema
from pelton.pipeline.wire.record_forms.table import SchemaTable
from pelton.pipeline.wire.record_map import RecordMap
from pelton.pipeline.wire.records import Headers, RequestRecord, Source
from pelton.pipeline.wire.tenants import TenantPolicy, signature
from pelton.pipeline.wire.tracing import continue_trace
from pelton.producers.batch.file import _parse, answered_line
from pelton.producers.dead_letters.letters import DeadLetter, LetterPosition, note, read_record
from pelton.producers.dead_letters.replay_sender import as_request
from pelton.producers.errors import ReplyError
from pelton.producers.replies import Reply
from pelton.workers.cancellation.cancel_topic import Cancels
from pelton.workers.prepare.control_strings import ControlStrings
from pelton.workers.quarantine.crash_history import CrashHistory
from pelton.workers.quarantine.suspect_records import SuspectRecords
from tests.fuzz.mutate import mutated

SOURCE = Source("requests", 3, 41)
KEY = b"the key of acme!"
CONSOLE = Console(quiet=True)
PRINTED = 0.02
"""Of the letters: laying out a table takes a hundred times as long as reading what is in it."""


@dataclass(frozen=True, slots=True)
class Target:
    """`run` reads one input; `seeds` are good ones, `allowed` what it may raise for others."""

    seeds: tuple[bytes, ...]
    run: Callable[[Random, bytes], None]
    allowed: tuple[type[Exception], ...] = ()

    def input(self, rng: Random) -> bytes:
        return mutated(rng, self.seeds)


def _dumped(*values: Any) -> tuple[bytes, ...]:
    return tuple(map(orjson.dumps, values))


# --- requests

BODIES = _dumped(
    {"model": "default", "messages": [{"role": "user", "content": "How much?"}], "temperature": 0, "seed": 7},
    {"model": "m", "messages": [{"role": "system", "content": [{"type": "text", "text": "a"}]}], "stop": ["x", "y"]},
    {"model": "m", "messages": [{"role": "user", "content": ""}], "logprobs": True, "top_logprobs": 3, "n": 1},
    {"model": "m", "messages": [], "metadata": {"a": "b"}, "tools": [], "max_tokens": 5, "response_format": {}},
)
HEADER_VALUES = (
    *(b"id-1", b"inference.replies", b"\0\0\0\1", b"acme", b"1700000000000", b"use", b"chat-7", b"high"),
    b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    signature(KEY, "request", {"pelton-tenant": b"acme"}, BODIES[0]),
)
HEADER_NAMES = (
    *("kafka_correlationId", "correlation_id", "kafka_replyTopic", "kafka_replyPartition", "traceparent", "tracestate"),
    *("pelton-tenant", "pelton-tenant-signature", "pelton-priority", "pelton-deadline", "pelton-session"),
    *("pelton-cache", "pelton-", "Pelton-Tenant", "x", "", "pelton-dlt-replayed", "pelton-signature"),
)
POLICIES = (
    ReplyPolicy("inference.replies", (re.compile("replies\\..*"),)),
    ReplyPolicy("inference.replies", tenants=TenantPolicy({"requests": "acme"}, {"bolt": KEY})),
)


def headers_of(rng: Random, data: bytes, names: Sequence[str] = HEADER_NAMES) -> Headers:
    """The input's pieces as values under names that mean something, or nearly."""
    values = data.split(b"\n") if rng.random() < 0.5 else [data]  # as often as not
    return [(_name(rng, names), None if rng.random() < 0.05 else value) for value in values[:20]]


def _name(rng: Random, names: Sequence[str]) -> str:
    name = rng.choice(names)
    return name if rng.random() < 0.9 else mutated(rng, [name.encode()]).decode(errors="replace")


def _envelope(rng: Random, data: bytes) -> None:
    headers = [*headers_of(rng, data), *headers_of(rng, rng.choice(HEADER_VALUES))]
    envelope = read_envelope(SOURCE, headers, rng.choice(POLICIES), rng.choice((None, data)), data)
    orjson.dumps([envelope.reply_topic, envelope.tenant, envelope.session, envelope.deadline_ms])
    if envelope.fault is not None:
        orjson.dumps(envelope.fault.body())
    if envelope.traceparent is not None:
        continue_trace(envelope.traceparent)


AVRO = """{"type": "record", "name": "R", "fields": [
    {"name": "a", "type": "string"}, {"name": "b", "type": ["null", "long"]},
    {"name": "c", "type": {"type": "array", "items": {"type": "map", "values": "double"}}},
    {"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"""
PROTO = """syntax = "proto3"; import "google/protobuf/struct.proto"; import "google/protobuf/any.proto";
message M { string a = 1; repeated M c = 2; google.protobuf.Struct s = 3; google.protobuf.Any any = 4; }"""
MAPPED = (
    b'{"a": "x"}',
    framed(1, b"\x02x\x02\x08\x01\x14\x02\x02k" + b"\0" * 10 + b"\x02"),
    framed(2, b"\x00\n\x01x\x12\x03\n\x01y\x1a\x07\n\x05\n\x01k\x12\0\x22\x05\n\x03a/b"),
)


@cache
def _map() -> RecordMap:
    table = SchemaTable([])
    table.add(1, AvroSchema.of(RegisteredSchema(1, "AVRO", AVRO)))
    table.add(2, ProtobufSchema.of(RegisteredSchema(2, "PROTOBUF", PROTO)))
    return RecordMap("{{ a }}", None, {}, "a", "text", schemas=table)


def _mapped(_: Random, data: bytes) -> None:
    record, made = RequestRecord(SOURCE, None, data, (), 0, 0), _map()
    try:
        made.decode(record, max_bytes=1_000_000)
    except RequestError as error:
        orjson.dumps(error.body())
    else:
        made.reply(record, b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}')


def _body(_: Random, data: bytes) -> None:
    try:
        decode_request(data, max_bytes=1_000_000)
    except RequestError as error:
        orjson.dumps(error.body())


CONTROL = ControlStrings({"<|im_start|>", "<|im_end|>", "<s>", "</s>", "[INST]", "<unused1>", "<unused12>"})


def _text(_: Random, data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    if "".join(CONTROL.cut(text, "\ufdd0").split("\ufdd0")) != text.replace("\ufdd0", ""):
        raise AssertionError("the pieces are not the text")
    if not shown(text).replace("\u200c", "").replace("\u200d", "").isprintable():
        raise AssertionError("what is shown can act")
    escaped(text, lines=True).encode()


# --- what workers tell each other

RECORDS = (
    SuspectRecords("group", frozenset({"requests"})),
    SuspectRecords("group", frozenset({"requests"}), b"secret"),
)
SUSPECT_KEY, SUSPECT_VALUE, SUSPECT_HEADERS = RECORDS[1].write(SOURCE, CrashHistory(3, 2, 1))


def _suspect(rng: Random, data: bytes) -> None:
    key, value = rng.choice(((data, SUSPECT_VALUE), (SUSPECT_KEY, data), (SUSPECT_KEY, None), (None, data)))
    headers = rng.choice((SUSPECT_HEADERS, headers_of(rng, data)))
    record = SimpleNamespace(key=key, value=value, headers=headers, timestamp=1, timestamp_type=rng.randint(-1, 2))
    suspicion = rng.choice(RECORDS).read(record)
    if suspicion is not None and suspicion.blame is not None and not 0 <= suspicion.blame.alone < 2**32 - 1:
        raise AssertionError("a count that the journal cannot hold")


CANCELS = (Cancels(TenantPolicy()), Cancels(TenantPolicy(keys={"acme": KEY})))


def _cancel(rng: Random, data: bytes) -> None:
    rng.choice(CANCELS).note(headers_of(rng, data), rng.choice((None, data)), data, rng.choice((0, 2**63 - 1, -1)))


METADATA = tuple(
    Progress(5, horizon, (5, *more)).metadata().encode()
    for horizon, more in ((9, ()), (99, (7, 9)), (5_000, tuple(range(7, 4_000, 3))))
)


def _metadata(rng: Random, data: bytes) -> None:
    progress = Progress.decode(rng.choice((0, 5, 2**62)), data.decode("utf-8", "replace"))
    OffsetTracker(progress).admits(progress.horizon)


# --- what is kept

VALUES = ValueFormat(10_000), ValueFormat(10_000, b"secret")
VALUE_KEY = "pelton:a1:model:acme:00ff"
ANSWER = orjson.dumps({"choices": [{"message": {"content": "yes"}, "logprobs": None}], "usage": {}})
TURN = Turn("requests-0-1", (Message(role="user", content="a"),), ANSWER)
HISTORY = History((Message(role="system", content="Be brief."),), (TURN,))


def _value(rng: Random, data: bytes) -> None:
    reader = rng.choice(VALUES)
    value, _ = reader.decode(VALUE_KEY, data)
    if len(value) > reader.most:
        raise AssertionError("more was unpacked than is ever stored")


def _sealed(rng: Random, data: bytes) -> None:
    """With a checksum that holds: what lies behind it is read."""
    reader = rng.choice(VALUES)
    _value(rng, data + reader._checksum(VALUE_KEY, data))


def _history(_: Random, data: bytes) -> None:
    packed(History.from_json(data))


# --- what comes back

FAILED = RequestRecord(SOURCE, b"k", BODIES[0], [("kafka_correlationId", b"id")], 1, 0)
LETTERS = tuple(
    orjson.dumps([[name, (value or b"").decode("latin-1")] for name, value in record.headers])
    for record in (
        dead_letter(
            RequestRecord(SOURCE, b"k", BODIES[0], [("kafka_correlationId", b"id")], 1, 0), OutOfMemory("x"), "g"
        ),
        SimpleNamespace(headers=note(LetterPosition(3, 40), "requests-1-9", b"secret")[1]),
    )
)
LETTER_NAMES = tuple({name for letter in LETTERS for name, _ in orjson.loads(letter)})


def _letter(rng: Random, data: bytes) -> None:
    headers = [(name, value.encode("latin-1")) for name, value in orjson.loads(rng.choice(LETTERS))]
    headers[rng.randrange(len(headers))] = headers_of(rng, data, LETTER_NAMES)[0]
    timestamp = rng.choice((0, -1, 2**62))
    record = SimpleNamespace(
        headers=headers, key=rng.choice((None, data)), value=rng.choice((None, data)), timestamp=timestamp,
        partition=3, offset=41,
    )  # fmt: skip
    found = read_record(record, rng.choice((None, b"secret")))
    if isinstance(found, DeadLetter):
        if rng.random() < PRINTED:
            CONSOLE.print(view.details(found, None), view.body(found), *view.row(found, None))
        view.as_json(found, None, whole=True)
        if found.origin is not None and found.correlation_id is not None:
            as_request(found, 5)


LINES = _dumped(
    {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}},
    {"custom_id": 7, "method": "GET", "body": []},
)


def _line(_: Random, data: bytes) -> None:
    line = _parse(1, data)
    orjson.dumps([line.custom_id, line.fault and line.fault.message])


REPLIES = _dumped(
    {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    },
    {"error": {"message": "no", "type": "t", "param": None, "code": "c"}},
)


def _reply(rng: Random, data: bytes) -> None:
    reply = Reply(b"id", data, {name: value or b"" for name, value in headers_of(rng, data)})
    answered_line("id", "a", reply)
    reply.completion()


TARGETS: dict[str, Target] = {
    "headers": Target(HEADER_VALUES, _envelope),
    "body": Target(BODIES, _body),
    "mapped records": Target(MAPPED, _mapped),
    "text": Target((b"<|im_start|>user\nHi<|im_end|>", b"<unused12><s>[INST]", b"\x1b]52;c;Zm9v\x07"), _text),
    "suspects": Target((SUSPECT_KEY, SUSPECT_VALUE or b""), _suspect, (ValueError,)),
    "cancels": Target(HEADER_VALUES, _cancel, (ValueError, TenantNotProven)),
    "commit metadata": Target(METADATA, _metadata, (BadMetadata,)),
    "cache values": Target(
        tuple(one.encode(VALUE_KEY, value, 1) for one in VALUES for value in (b"", b"a" * 900)), _value, (Damaged,)
    ),
    "sealed cache values": Target(
        (VALUES[0].encode(VALUE_KEY, b"a" * 900, 1)[:-8], VALUES[1].encode(VALUE_KEY, zlib.compress(b"a"), 1)[:-16]),
        _sealed,
        (Damaged,),
    ),
    "histories": Target((HISTORY.to_json(), b'{"system":[],"turns":[]}'), _history, (Damaged,)),
    "dead letters": Target((*LETTERS, *BODIES, b"3:40", b"requests-dlt"), _letter),
    "batch lines": Target(LINES, _line),
    "replies": Target(REPLIES, _reply, (ReplyError,)),
}
