"""While the broker is away, that is all that the log says of Kafka; what is said while it is there is shown."""

import asyncio
import logging

import pytest
from aiokafka.errors import KafkaConnectionError

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.workers.kafka import broker_wait, outage
from pelton.workers.kafka.outage import BrokerWatch, OutageFilter
from pelton.workers.notices import ABOUT_KAFKA, Notice

KAFKA = KafkaSettings(bootstrap_servers="broker:9093")
client = logging.getLogger("aiokafka.client")
ours = logging.getLogger("pelton.workers.somewhere")


class Shown(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def shown():
    handler, root = Shown(), logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


def holding(shown: Shown) -> OutageFilter:
    held = OutageFilter([shown], lambda: None)
    shown.addFilter(held)
    return held


def test_lines_about_kafka_are_held_and_others_are_not(shown):
    """The client's warnings and our own of that kind wait; they are shown once, in their order."""
    held = holding(shown)
    client.error("cannot connect")
    ours.warning("cancels cannot be read", extra=ABOUT_KAFKA)
    ours.warning("a request is bad")
    client.info("a word of no weight")
    assert shown.lines == ["a request is bad", "a word of no weight"]
    held.release()
    held.release()
    assert shown.lines[2:] == ["cannot connect", "cancels cannot be read"]


def test_what_was_not_said_is_not_said_to_be_over(shown):
    """A notice that was dropped ends in silence; the next one is shown from its beginning to its end."""
    held, notice = holding(shown), Notice(ours)
    notice.say("publishing fails")
    held.drop()
    notice.over("publishing goes on")
    held.release()
    assert shown.lines == []
    notice.say("publishing fails again")
    notice.over("it goes on again")
    held.release()
    assert shown.lines == ["publishing fails again", "it goes on again"]


def test_a_flood_is_held_in_bounded_memory(shown):
    """Of very many lines the last are kept."""
    held = holding(shown)
    for number in range(10 * outage.MAX_HELD):
        client.error("attempt %d", number)
    held.release()
    assert len(shown.lines) == outage.MAX_HELD


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(broker_wait, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(broker_wait, "RETRY_MAX_S", 0.001)
    monkeypatch.setattr(outage, "LOOK_S", 0.001)
    monkeypatch.setattr(outage, "SETTLE_S", 0.02)


async def watched(shown: Shown, failures: int, told: list[bool]) -> list[str]:
    """What is shown of three lines about Kafka when the broker answers after so many failures; what is `told`."""
    left, answered = [failures], asyncio.Event()

    async def attempt() -> None:
        if left[0]:
            left[0] -= 1
            raise KafkaConnectionError("refused")
        answered.set()

    watch = BrokerWatch(KAFKA, attempt, told.append)
    shown.addFilter(watch.filter)
    running = asyncio.create_task(watch.run())
    client.error("cannot connect")
    ours.warning("suspects cannot be read", extra=ABOUT_KAFKA)
    await asyncio.wait_for(answered.wait(), 5)
    client.error("the coordinator is dead")
    await asyncio.sleep(0.1)  # past the time in which consequences are expected
    running.cancel()
    return shown.lines


@pytest.mark.usefixtures("at_once")
async def test_an_outage_is_two_lines(shown):
    """One that Kafka is away and one that it is there; its consequences right after it are left out, too."""
    told: list[bool] = []
    away, there = await watched(shown, 5, told)
    assert told == [True] * 5 + [False]
    assert "broker:9093 cannot be reached" in away
    assert "broker:9093 is there" in there


@pytest.mark.usefixtures("at_once")
async def test_trouble_with_a_broker_that_answers_is_shown(shown):
    """As one of several brokers, or a group's coordinator, may be away alone."""
    assert await watched(shown, 0, []) == ["cannot connect", "suspects cannot be read", "the coordinator is dead"]
