"""A mapped topic in Avro and Protobuf on a real broker, with a registry that goes away and comes back."""

import io
from typing import Any

import orjson
import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer

from pelton.pipeline.wire.record_forms.framing import framed, unframed
from pelton.workers import worker
from tests.registry import RegistryStandIn

NEWS = {"type": "record", "name": "News", "fields": [{"name": "headline", "type": "string"}]}
ANSWERED = {**NEWS, "fields": [*NEWS["fields"], {"name": "summary", "type": ["null", "string"]}]}
PROTO = 'syntax = "proto3"; message News { string headline = 1; string summary = 2; }'
MAP = """
[prompt]
user = "{{ headline }}"
[output]
field = "summary"
"""


def avro(schema: dict, value: dict) -> bytes:
    stream = io.BytesIO()
    schemaless_writer(stream, parse_schema(schema), value)
    return stream.getvalue()


@pytest.fixture
def map_file(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text(MAP)
    return path


@pytest.fixture
async def registry():
    """The stand-in and its address."""
    stand_in = RegistryStandIn()
    async with stand_in.serving() as port:
        yield stand_in, {"url": f"http://127.0.0.1:{port}"}


async def test_records_wait_for_their_registry_and_none_is_lost(place, client, map_file, registry):
    """While it is away nothing fails; then each record has its answer, and those of no schema are kept as they are.

    So are those of a schema that it fails at when it is back.
    """
    stand_in, schemas = registry
    number, proto = stand_in.register("a", orjson.dumps(ANSWERED).decode()), stand_in.register("p", PROTO, "PROTOBUF")
    sick = stand_in.register("b", orjson.dumps(ANSWERED).decode())
    stand_in.broken = {f"/schemas/ids/{sick}"}
    stand_in.status = 503
    at = await place(partitions=1, worker={"map": map_file}, schemas={**schemas, "give_up_s": 0.1})
    good = {
        b"avro": framed(number, avro(ANSWERED, {"headline": "a", "summary": None})),
        b"proto": framed(proto, b"\0\n\x01b"),
    }
    bad = {
        b"sick": framed(sick, b"x"),
        b"none": framed(99, b"x"),
        b"cut": framed(number, b"\x09"),
        b"frame": b"\x00\x01",
    }
    for key, value in {**bad, **good, b"json": b'{"headline": "c"}'}.items():
        await client.send_keyed(at.requests, value, key=key)
    async with at.worker():
        await stand_in.was_asked.wait()
        assert not await client.read_all(at.replies)
        stand_in.status = None
        replies = {reply.key: reply.value for reply in await client.read(at.replies, 7)}
    letters = {letter.key: letter.value for letter in await client.read(at.dead_letters, len(bad))}
    assert letters == bad
    codes = {key: orjson.loads(replies[key])["error"]["code"] for key in bad}
    assert codes == {
        b"sick": "schema_unavailable",
        b"none": "unknown_schema",
        b"cut": "schema_mismatch",
        b"frame": "schema_mismatch",
    }
    assert f"{schemas['url']} answers, and fails at this one" in replies[b"sick"].decode()
    read: Any = schemaless_reader(io.BytesIO(unframed(replies[b"avro"]).payload), parse_schema(ANSWERED), None)
    assert read["headline"] == "a"
    assert read["summary"]
    assert replies[b"proto"].startswith(good[b"proto"])
    assert orjson.loads(replies[b"json"])["summary"]


async def test_another_schema_writes_what_comes_out(place, client, tmp_path, registry):
    """The subject of the map, whose schema has the answer; records with equal prompts share it."""
    stand_in, schemas = registry
    number = stand_in.register("news-value", orjson.dumps(NEWS).decode())
    written = stand_in.register("summaries-value", orjson.dumps(ANSWERED).decode())
    (tmp_path / "map.toml").write_text(MAP + 'subject = "summaries-value"\n[request]\ntemperature = 0\n')
    at = await place(partitions=1, worker={"map": tmp_path / "map.toml"}, schemas=schemas)
    async with at.worker():
        for key in (b"1", b"2"):
            await client.send_keyed(at.requests, framed(number, avro(NEWS, {"headline": "same"})), key=key)
            replies = await client.read(at.replies, int(key))
    first, second = replies
    assert first.value == second.value
    assert dict(second.headers)["pelton-cache"] == b"hit-local"
    assert unframed(first.value).schema_id == written
    assert stand_in.asked.total() == 2


async def test_a_worker_that_is_drained_while_it_waits_leaves_its_records(
    place, client, map_file, registry, monkeypatch
):
    """They are uncommitted: the next worker answers each once, those that came behind them too."""
    monkeypatch.setattr(worker, "CANCEL_S", 0.5)
    stand_in, schemas = registry
    number = stand_in.register("a", orjson.dumps(ANSWERED).decode())
    stand_in.status = 503
    at = await place(partitions=1, worker={"map": map_file}, schemas=schemas)
    await client.send_keyed(at.requests, framed(number, avro(ANSWERED, {"headline": "a", "summary": None})), key=b"1")
    async with at.worker():
        await stand_in.was_asked.wait()
        await client.send_keyed(at.requests, b'{"headline": "b"}', key=b"2")
    stand_in.status = None
    async with at.worker():
        await client.read(at.replies, 2)
    assert sorted(reply.key for reply in await client.read_all(at.replies)) == [b"1", b"2"]
    assert not await client.read_all(at.dead_letters)
