"""An engine that raises and one that hangs, under a real pool and on a real broker: found out like any other poison."""

import asyncio

import orjson
import pytest

from pelton.workers.supervisor.crash_handler import crash_handler
from pelton.workers.supervisor.exit_codes import WorkerExit
from pelton.workers.supervisor.replica import Crash
from pelton.workers.supervisor.supervisor import Supervisor
from tests.faulty.engine import Mark
from tests.faulty.worker import COMMAND


@pytest.mark.parametrize("fault", [Mark.RAISE, Mark.HANG])
async def test_what_the_engine_cannot_stand_is_found_and_the_rest_is_answered(
    fault, place, client, chat_body, monkeypatch
):
    """The request is dead-lettered with its attempts; eleven others that were in the engine with it are answered."""
    at = await place(partitions=1)
    kafka = at.settings.kafka
    for name, value in {
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA__GROUP_ID": kafka.group_id,
        "KAFKA__REQUEST_TOPICS": orjson.dumps(kafka.request_topics).decode(),
        "KAFKA__REPLY_TOPIC": kafka.reply_topic,
        "KAFKA__CANCELS_TOPIC": kafka.cancels_topic,
        "KAFKA__CREATE_TOPICS": "true",
        "ENGINE__KIND": "simulated",
        "WORKER__STALL_TIMEOUT_S": "0.5",
        "WORKER__MAX_LONE_CRASHES": "1",
    }.items():
        monkeypatch.setenv(f"PELTON_{name}", value)
    crashes: list[Crash] = []
    follow_up = crash_handler(kafka)

    async def on_crash(crash: Crash) -> None:
        crashes.append(crash)
        await follow_up(crash)

    await client.send_many(at.requests, [chat_body(fault if index == 7 else f"good {index}") for index in range(12)])
    pool = Supervisor(at.settings.worker, COMMAND, on_crash)
    running = asyncio.create_task(pool.run())
    replies = await client.read(at.replies, 12, 40)
    codes = {int(dict(reply.headers)["kafka_correlationId"]): orjson.loads(reply.value) for reply in replies}
    assert {index: body["error"]["code"] for index, body in codes.items() if "error" in body} == {7: "poisoned"}
    assert len(replies) == len(codes) == 12
    (letter,) = await client.read_all(at.dead_letters)
    assert int(dict(letter.headers)["pelton-attempt"]) == len(crashes)
    assert [entry.source.offset for entry in crashes[-1].in_engine] == [7]
    pool.stop()
    assert await running == WorkerExit.DRAINED
