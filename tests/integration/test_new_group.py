"""A group that is new on a topic with records is told of before it answers them all."""

import logging

import pytest

from pelton.workers.kafka.new_group import history, warn_of_history


async def test_all_that_a_new_group_will_answer_is_counted(place, client, chat_body, caplog):
    """Records of every partition, once; another name of the group is new again, and one that has committed is not."""
    at = await place(partitions=3)
    assert await history(at.settings.kafka) == {}
    await client.send_many(at.requests, [chat_body(str(index)) for index in range(30)])
    assert await history(at.settings.kafka) == {at.requests: 30}
    with caplog.at_level(logging.WARNING, "pelton"):
        await warn_of_history(at.settings.kafka)
    assert "all 30 records there" in caplog.text
    async with at.worker():
        await client.read(at.replies, 30)
    assert await history(at.settings.kafka) == {}
    renamed = at.settings.kafka.model_copy(update={"group_id": f"{at.settings.kafka.group_id}-too"})
    assert (await history(renamed))[at.requests] >= 30


async def test_a_broker_that_is_away_is_no_reason_not_to_start(place, caplog):
    """It is only a warning."""
    at = await place(partitions=1)
    away = at.settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    await warn_of_history(away)
    assert not [record for record in caplog.records if record.name.startswith("pelton") and record.levelno > 10]


@pytest.mark.parametrize("copies", [-1, 1])
async def test_the_broker_may_choose_the_number_of_copies(place, copies):
    """`kafka.replication_factor` -1 makes topics as any other number does."""
    at = await place(partitions=2, kafka={"replication_factor": copies})
    assert await history(at.settings.kafka) == {}
