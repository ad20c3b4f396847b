"""The rig's odd records: the same for a seed, each as odd as it claims, and none that a reader stops at."""

import random
from itertools import chain

import pytest
from aiokafka.record.memory_records import MemoryRecords

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.wire.contract import UNREADABLE
from pelton.workers.kafka.sieve import Sieve
from tests.chaos.faults.odd_records import OddRecords
from tests.chaos.history import Kind
from tests.chaos.load import Load

KAFKA = KafkaSettings(group_id="chaos")


def volley(seed: int):
    """Every odd record of a volley; times apart they are a function of the seed."""
    odd = OddRecords(KAFKA, seed, Load(KAFKA))
    rng = random.Random(seed)
    return list(chain(odd._requests(rng, 1), odd._cancels(rng), odd._suspects(rng), odd._letters(rng)))


def records(batch: bytes):
    plain, passed_over = Sieve().sift(batch, 0, 1)
    return list(MemoryRecords(plain).next_batch()), passed_over


@pytest.fixture(scope="module")
def odd():
    return volley(1)


def test_a_seed_makes_the_same_again(odd):
    """Topics, partitions, ids and what is due, in the same order."""
    again = volley(1)
    assert [(one.topic, one.partition, one.content, one.correlation_id) for one in again] == [
        (one.topic, one.partition, one.content, one.correlation_id) for one in odd
    ]
    assert [one.partition for one in volley(2)] != [one.partition for one in odd]


def test_every_topic_that_is_read_has_some(odd):
    """Requests, cancels, suspects and dead letters, unreadable ones among each."""
    unreadable = {one.topic for one in odd for record in records(one.batch)[0] if UNREADABLE in dict(record.headers)}
    assert unreadable == {one.topic for one in odd}
    assert len(unreadable) == 4


def test_what_is_due_fits_what_is_sent(odd):
    """A reader makes one record of each batch; it is unreadable where that is the error that is due."""
    for one in odd:
        (record,), passed_over = records(one.batch)
        if one.content is not None:
            assert (one.content.due == "unreadable_record") == (UNREADABLE in dict(record.headers))
            assert one.content.kind is Kind.GOOD or one.content.due
            assert bool(passed_over) <= (one.correlation_id is None)
