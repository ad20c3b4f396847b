"""A worker with a map on a real broker: records in, records with answers out, exactly once."""

import asyncio
from collections import Counter

import orjson
import pytest

from tests.integration.sabotage import saboteur
from tests.waiting import until

COUNT = 30
MAP = """
[prompt]
user = "{{ headline }}"
[request]
max_tokens = 5
temperature = 0
[output]
field = "summary"
finish_reason = "end"
"""


@pytest.fixture
def map_file(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text(MAP)
    return path


async def test_records_are_answered_once_though_a_worker_is_killed(place, client, map_file, tmp_path):
    """Each record comes back under its key with its answer, one time, after SIGKILL at three moments of delivery."""

    async def scenario(moment: str) -> None:
        at = await place(partitions=2, worker={"map": map_file})
        sent = {f"k{index}".encode(): {"id": index, "headline": f"news {index}"} for index in range(COUNT)}
        async with saboteur(at.settings.kafka, moment, "KILL", tmp_path, PELTON_WORKER__MAP=str(map_file)) as doomed:
            for key, value in sent.items():
                await client.send_keyed(at.requests, orjson.dumps(value), key=key)
            await until(lambda: not doomed.running)
            async with at.worker():
                await client.read(at.replies, COUNT)
        replies = await client.read_all(at.replies)
        assert Counter(reply.key for reply in replies) == Counter(dict.fromkeys(sent, 1))
        for reply in replies:
            value = orjson.loads(reply.value)
            assert value.pop("summary")
            assert value.pop("end") == "length"
            assert value == sent[reply.key]

    async with asyncio.TaskGroup() as group:
        for moment in ("after-fetch", "after-send", "before-commit"):
            group.create_task(scenario(moment))


async def test_a_record_that_does_not_fit_is_dead_lettered_with_its_bytes(place, client, map_file):
    """Its neighbours are answered; of equal records the second comes from the cache, in its own record."""
    at = await place(partitions=1, worker={"map": map_file})
    bad = [b'{"title": "no headline"}', b"\xff\x00", b"[1]"]
    for value in bad:
        await client.send_keyed(at.requests, value, key=b"bad")
    async with at.worker():
        await client.send_keyed(at.requests, b'{"headline": "same", "id": 1}', key=b"1")
        await client.read(at.replies, len(bad) + 1)
        await client.send_keyed(at.requests, b'{"headline": "same", "id": 2}', key=b"2")
        replies = await client.read(at.replies, len(bad) + 2)
    letters = await client.read(at.dead_letters, len(bad))
    assert sorted(letter.value for letter in letters) == sorted(bad)
    errors = [orjson.loads(reply.value)["error"]["code"] for reply in replies if reply.key == b"bad"]
    assert sorted(errors) == ["invalid_value", "not_an_object", "not_utf8"]
    first, second = (reply for reply in replies if reply.key != b"bad")
    assert dict(second.headers)["pelton-cache"] == b"hit-local"
    assert orjson.loads(second.value) == {**orjson.loads(first.value), "id": 2}
