"""Schemas come from a registry over HTTP, and a registry that is away costs time and no record."""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import trustme
from pydantic import SecretStr, ValidationError

from pelton.pipeline.errors import SchemaUnavailable
from pelton.pipeline.settings.worker import SchemaSettings
from pelton.pipeline.wire.record_forms import table as table_module
from pelton.pipeline.wire.record_forms.framing import framed
from pelton.pipeline.wire.record_forms.table import OutputSubject, SchemaTable, form_of
from pelton.workers.requests import Delivery
from pelton.workers.schemas import lookup, registry
from pelton.workers.schemas.lookup import SchemaLookup
from pelton.workers.schemas.registry import NotInRegistry, RegistryAway, SchemaRegistry
from tests.registry import RegistryStandIn
from tests.unit._support.turns import delivery

RECORD = '{"type": "record", "name": "R", "fields": [{"name": "text", "type": "string"}]}'
PATIENCE_S = 10


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(lookup, "RETRY_MAX_S", 0.02)


@pytest.fixture
def stand_in() -> RegistryStandIn:
    return RegistryStandIn()


@pytest.fixture
async def port(stand_in: RegistryStandIn) -> AsyncIterator[int]:
    async with stand_in.serving() as port:
        yield port


def naming(*numbers: int) -> list[Delivery]:
    """Deliveries whose records name these schemas."""
    plain = delivery(1, "")
    return [replace(plain, record=replace(plain.record, value=framed(number, b"\x02x"))) for number in numbers]


async def until_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while text not in caplog.text:  # noqa: ASYNC110  # a log sets no event
            await asyncio.sleep(0.005)


async def looked_up(settings: SchemaSettings, table: SchemaTable, deliveries: list[Delivery]) -> None:
    own = SchemaRegistry.of(settings)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await SchemaLookup(table, own, settings.give_up_s).look_up(deliveries, deliveries)
    finally:
        await own.close()


def on(port: int, scheme: str = "http", **settings: Any) -> SchemaSettings:
    return SchemaSettings(url=f"{scheme}://localhost:{port}/", **settings)


async def test_a_schema_is_asked_for_once(stand_in, port):
    """However many records name it, and in whichever poll."""
    number, table = stand_in.register("s", RECORD), SchemaTable([])
    for _ in range(2):
        await looked_up(on(port), table, naming(number, number))
    assert form_of(framed(number, b"\x02x"), table).values(framed(number, b"\x02x")) == {"text": "x"}
    assert stand_in.asked == {f"/schemas/ids/{number}": 1}


async def test_what_the_registry_does_not_have_is_the_records_fault(stand_in, port, caplog):
    """So is a schema that cannot be used; neither is asked for again at once, and others are read."""
    bad, good = stand_in.register("s", '"string"'), stand_in.register("s", RECORD)
    table = SchemaTable([])
    for _ in range(2):
        await looked_up(on(port), table, naming(99, bad, good))
    assert stand_in.asked.total() == 3
    assert table.wanted(framed(good, b"")) is None
    assert "Schema 99 not found" in caplog.text
    assert "not the schema of a record" in caplog.text


async def test_a_registry_that_is_away_is_waited_for(stand_in, caplog):
    """First nobody listens, then it starts and is not ready, then it answers."""
    number, table = stand_in.register("s", RECORD), SchemaTable([])
    async with stand_in.serving() as port:
        pass
    with caplog.at_level(logging.WARNING):
        waiting = asyncio.create_task(looked_up(on(port, give_up_s=0.001), table, naming(number)))
        await until_logged(caplog, "cannot be fetched")
    stand_in.status = 503
    async with stand_in.serving(port):
        await stand_in.was_asked.wait()
        assert not waiting.done()
        stand_in.status = None
        await waiting
    assert table.wanted(framed(number, b"")) is None


async def test_one_schema_that_cannot_be_fetched_holds_up_nobody_for_ever(stand_in, port, monkeypatch):
    """Its records end with what to mend, later ones at once, until the registry has it; an outage is waited for."""
    give_up_s = 0.2
    monkeypatch.setattr(table_module, "REFUSED_S", 0)
    sick, good, table = stand_in.register("s", RECORD), stand_in.register("t", RECORD), SchemaTable([])
    stand_in.broken = {f"/schemas/ids/{sick}"}
    own = SchemaRegistry.of(on(port))
    schemas = SchemaLookup(table, own, give_up_s)
    began = time.monotonic()
    await asyncio.wait_for(schemas.look_up(records := naming(sick, good), records), PATIENCE_S)
    assert time.monotonic() - began >= give_up_s
    assert table.wanted(framed(good, b"")) is None
    with pytest.raises(SchemaUnavailable, match=rf"schema {sick} .*:{port} answers.*status 500"):
        form_of(framed(sick, b""), table)
    asked = stand_in.asked[f"/schemas/ids/{sick}"]
    await asyncio.wait_for(schemas.look_up(records := naming(sick), records), PATIENCE_S)
    assert stand_in.asked[f"/schemas/ids/{sick}"] == asked + 1
    stand_in.status = 503
    waiting = asyncio.create_task(schemas.look_up(records, records))
    await asyncio.sleep(give_up_s)
    assert not waiting.done()
    stand_in.status, stand_in.broken = None, set()
    await asyncio.wait_for(waiting, PATIENCE_S)
    assert table.form(framed(sick, b"")) is not None
    await own.close()


async def test_nobody_waits_for_a_record_that_has_ended(stand_in, port):
    """Its deadline passed, or its partition went to another worker, while the registry was away."""
    stand_in.status = 503
    deliveries, table = naming(1), SchemaTable([])
    still_open = list(deliveries)
    own = SchemaRegistry.of(on(port))
    waiting = asyncio.create_task(SchemaLookup(table, own, PATIENCE_S).look_up(deliveries, still_open))
    await stand_in.was_asked.wait()
    still_open.clear()
    await asyncio.wait_for(waiting, PATIENCE_S)
    await own.close()


async def test_the_outputs_subject_is_waited_for_also_where_it_is_missing(stand_in, port, caplog):
    """It is the operator's to mend; the records are not at fault."""
    number = stand_in.register("in-value", RECORD)
    table = SchemaTable(["text"], OutputSubject("out-value", "latest"))
    waiting = asyncio.create_task(looked_up(on(port), table, naming(number)))
    await until_logged(caplog, "Subject 'out-value' not found")
    stand_in.register("out-value", RECORD.replace("text", "other"))
    await until_logged(caplog, "no field 'text'")
    assert not waiting.done()
    stand_in.register("out-value", RECORD)
    await waiting
    assert not table.lacks_output


async def test_references_come_before_those_that_need_them(stand_in, port):
    """Each once, and those of references too."""
    stand_in.register("c", '{"type": "enum", "name": "C", "symbols": ["A"]}')
    c = {"name": "C", "subject": "c", "version": 1}
    stand_in.register("b", '{"type": "record", "name": "B", "fields": [{"name": "c", "type": "C"}]}', references=[c])
    b = {"name": "B", "subject": "b", "version": 1}
    number = stand_in.register("a", RECORD, references=[b, c])
    own = SchemaRegistry.of(on(port))
    found = await own.schema(number)
    assert [reference.name for reference in found.references] == ["C", "B"]
    assert (await own.subject(OutputSubject("a", "1"))).id == number
    await own.close()


@pytest.mark.parametrize(
    "settings",
    [{"username": "me", "password": "p:w é"}, {"token": "abc"}],
    ids=["password", "token"],
)
async def test_credentials_are_shown(stand_in, port, settings):
    """And told to nobody else: without them the registry refuses, and the log has a hint and no secret."""
    stand_in.authorization = "Bearer abc" if "token" in settings else "Basic bWU6cDp3IMOp"
    number = stand_in.register("s", RECORD)
    for given, fits in ((settings, True), ({}, False)):
        own = SchemaRegistry.of(on(port, **given))
        if fits:
            await own.schema(number)
        else:
            with pytest.raises(RegistryAway, match=r"schemas\.username"):
                await own.schema(number)
        await own.close()
    assert "p:w" not in repr(on(port, **settings))
    assert isinstance(on(port, **settings).password, SecretStr | None)


async def test_tls_proves_the_registry_and_the_worker(stand_in, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("worker").private_key_and_cert_chain_pem.write_to_path(tmp_path / "worker.pem")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    number = stand_in.register("s", RECORD)
    async with stand_in.serving(tls=server) as port:
        own = SchemaRegistry.of(on(port, "https", ssl_cafile=tmp_path / "ca.pem", ssl_certfile=tmp_path / "worker.pem"))
        assert (await own.schema(number)).text == RECORD
        await own.close()
        stranger = SchemaRegistry.of(on(port, "https"))
        with pytest.raises(RegistryAway, match="certificate"):
            await stranger.schema(number)
        await stranger.close()


async def test_only_a_registry_can_say_that_there_is_no_schema(stand_in, port, monkeypatch):
    """Anything else that answers is a wrong address or a passing fault: no record is given up for it."""
    number = stand_in.register("s", RECORD)
    wrong = SchemaRegistry.of(SchemaSettings(url=f"http://localhost:{port}/elsewhere"))
    own = SchemaRegistry.of(on(port))
    with pytest.raises(RegistryAway, match=r"schemas\.url"):
        await wrong.schema(number)
    with pytest.raises(NotInRegistry):
        await own.schema(number + 1)
    for status in (302, 429, 500):
        stand_in.status = status
        with pytest.raises(RegistryAway, match=str(status)):
            await own.schema(number)
    stand_in.status = 200
    with pytest.raises(RegistryAway, match="not a schema registry's"):
        await own.schema(number)
    stand_in.status = None
    monkeypatch.setattr(registry, "MAX_ANSWER_BYTES", 10)
    with pytest.raises(RegistryAway, match="more than 10"):
        await own.schema(number)
    await wrong.close()
    await own.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"username": "me"},
        {"token": "a", "username": "me", "password": "b"},
        {"ssl_keyfile": __file__},
        {"url": "ftp://x"},
    ],
    ids=["half", "both", "key", "scheme"],
)
def test_settings_that_contradict_each_other_are_refused(settings):
    with pytest.raises(ValidationError):
        SchemaSettings(**settings)
