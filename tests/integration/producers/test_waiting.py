"""What a sender sees while nothing comes, and inputs that are no plain file, through the commands themselves."""

import asyncio
import os
import shlex
import sys

import orjson
from aiokafka import AIOKafkaConsumer

from pelton.pipeline.errors import ModelNotFound
from pelton.producers.kafka.group_state import GroupState, group_state


async def pelton(kafka, *arguments, stdin=None, in_bash=False):
    """Run the command, or a line of the shell; returns exit code and stderr."""
    environment = os.environ | {
        "PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(kafka.request_topics).decode(),
        "PELTON_KAFKA__REPLY_TOPIC": kafka.reply_topic,
        "PELTON_KAFKA__GROUP_ID": kafka.request_topics[0],
    }
    command = (sys.executable, "-P", "-m", "pelton")
    run = ("bash", "-c", f"{shlex.join(command)} {arguments[0]}") if in_bash else (*command, *arguments)
    process = await asyncio.create_subprocess_exec(
        *run, env=environment, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate(stdin)
    return process.returncode, err.decode()


async def test_a_question_without_workers_says_so(kafka):
    """Long before its time is up; and a batch likewise."""
    name = kafka.request_topics[0]
    code, err = await pelton(kafka, "ask", "Why?", "--timeout", "6")
    assert code == 3
    assert f"Waiting: no worker is in the group {name}, 1 request not answered yet: start one with" in err
    assert "No reply within 6 s" in err


async def test_the_group_is_seen(kafka):
    """Its members, and what it has not committed."""
    topic = kafka.request_topics[0]
    ours = kafka.model_copy(update={"group_id": f"group-{topic}"})
    assert await group_state(ours, topic) == GroupState(ours.group_id, 0, 0)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.bootstrap_servers, group_id=ours.group_id)
    await consumer.start()
    try:
        found = await group_state(ours, topic)
    finally:
        await consumer.stop()
    assert found == GroupState(ours.group_id, 1, 0)
    assert str(found) == f"1 worker in the group {ours.group_id}, 0 requests not answered yet"


def line(custom_id, content):
    body = {"model": "default", "messages": [{"role": "user", "content": content}]}
    whole = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return orjson.dumps(whole) + b"\n"


async def test_streams_are_inputs_and_errors_are_counted(kafka, stand_in, answer_with, tmp_path):
    """`-`, process substitution, and the failed ones of an earlier output; the end says how many failed of what."""
    source, out, again = tmp_path / "in.jsonl", tmp_path / "out.jsonl", tmp_path / "again.jsonl"
    half = line("half", "HALF").replace(b"HALF", rb"\ud83d")
    source.write_bytes(line("good", "hi") + line("bad", "fail") + half)
    error = orjson.dumps(ModelNotFound("No such model.", param="model").body())

    def answer(record):
        text = orjson.loads(record.value)["messages"][0]["content"]
        return [error if text == "fail" else answer_with.completion(text)]

    async with stand_in(answer) as worker:
        code, err = await pelton(kafka, "submit", "-", "--out", str(out), stdin=source.read_bytes())
        assert code == 1
        assert "3 requests: 1 answered, 2 failed" in err
        assert "  1 model_not_found\n" in err
        assert "  1 invalid_json_line\n" in err
        assert {entry["custom_id"] for entry in map(orjson.loads, out.read_bytes().splitlines())} == {
            "good",
            "bad",
            "half",
        }
        sent = len(worker.seen)
        command = f"submit <(cat {source}) --out {again} --retry-failed {out}"
        code, err = await pelton(kafka, command, in_bash=True)
        assert "2 requests: 0 answered, 2 failed" in err
        assert len(worker.seen) == sent + 1


async def test_a_failed_start_leaves_nothing_behind(kafka, tmp_path):
    """No journal and no output, so that nothing is in the way of the next one; what is somebody else's stays."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(line("good", "hi"))
    nowhere = kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    code, _ = await pelton(nowhere, "submit", str(source), "--out", str(out))
    assert code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]
    foreign = tmp_path / "out.jsonl.journal"
    foreign.write_bytes(b"somebody's notes, without an end")
    code, err = await pelton(kafka, "submit", str(source), "--out", str(out))
    assert code == 2
    assert "is no file of a batch run" in err
    assert foreign.read_bytes() == b"somebody's notes, without an end"
