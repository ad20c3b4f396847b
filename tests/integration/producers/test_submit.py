"""Whole batches through a real broker: complete, each line once, and taken up after a kill at any moment."""

import asyncio
import collections
import contextlib
import functools
import os
import random
import signal
import sys

import orjson
import pytest

from pelton.pipeline.errors import ModelNotFound
from pelton.producers.batch import run
from pelton.producers.batch import submit as submitting
from pelton.producers.batch.journal import Journal
from pelton.producers.errors import BatchError, NoProgress, TopicMissing

submit = functools.partial(submitting.submit, timeout_s=60)


def batch_line(custom_id, content="hello", **changes):
    body = {"model": "default", "messages": [{"role": "user", "content": content}]}
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return orjson.dumps({**line, **changes}) + b"\n"


def write_batch(path, count):
    path.write_bytes(b"".join(batch_line(f"id-{number}", f"question {number}") for number in range(count)))
    return path


def results(out):
    return [orjson.loads(line) for line in out.read_bytes().splitlines()]


def assert_complete(out, count):
    """Every line of `write_batch` has its own answer, once."""
    answers = [
        (line["custom_id"], line["response"]["body"]["choices"][0]["message"]["content"]) for line in results(out)
    ]
    assert sorted(answers) == sorted((f"id-{number}", f"echo: question {number}") for number in range(count))


async def assert_sent_once(all_requests, count):
    """The request topic has each line of the batch exactly once."""
    sent = collections.Counter(dict(record.headers)["kafka_correlationId"] for record in await all_requests())
    assert len(sent) == count
    assert set(sent.values()) == {1}


async def start(kafka, source, out, *options):
    """The command, as a process of its own."""
    environment = os.environ | {
        "PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(kafka.request_topics).decode(),
        "PELTON_KAFKA__REPLY_TOPIC": kafka.reply_topic,
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "pelton", "submit", str(source), "--out", str(out), "--timeout", "20", *options),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def sends(process, worker, count):
    """Wait until `count` more requests have reached the worker; False when the process has ended before."""
    ended = asyncio.create_task(process.wait())
    seen = asyncio.create_task(worker.wait_seen(len(worker.seen) + count))
    await asyncio.wait([ended, seen], return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    return not seen.cancel()


async def test_a_batch_of_every_kind_of_line(kafka, stand_in, answer_with, tmp_path):
    """Answers, error replies, unreadable replies and lines that cannot be sent each get their line, OpenAI's way."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    large = batch_line("large", "x" * 1_100_000)
    source.write_bytes(
        batch_line("good") + batch_line("bad", "fail") + batch_line("odd", "odd") + b"no json\n\n" + large
    )
    error = ModelNotFound("No such model.", param="model").body()
    replies = {"hello": answer_with.completion("hi"), "fail": orjson.dumps(error), "odd": b"?"}

    def answer(record):
        return [replies[orjson.loads(record.value)["messages"][0]["content"]]] * 2  # the second is to be ignored

    seen = []
    async with stand_in(answer):
        summary = await submit(kafka, source, out, on_progress=seen.append)
    assert (summary.requests, summary.answered, summary.failed, summary.sent) == (5, 1, 4, 3)
    assert (seen[-1].requests, seen[-1].answered, seen[-1].failed, seen[-1].in_flight) == (5, 1, 4, 0)
    lines = {line["custom_id"]: line for line in results(out)}
    assert len(results(out)) == 5
    assert all(line["id"].startswith("batch_req_") for line in lines.values())
    good, bad = lines["good"], lines["bad"]
    assert (good["error"], good["response"]["status_code"], good["response"]["request_id"]) == (None, 200, "here")
    assert good["response"]["body"] == orjson.loads(replies["hello"])
    assert (bad["error"], bad["response"]["status_code"], bad["response"]["body"]) == (None, 404, error)
    codes = {custom_id: lines[custom_id]["error"]["code"] for custom_id in ("odd", None, "large")}
    assert codes == {"odd": "invalid_reply", None: "invalid_json_line", "large": "request_too_large"}
    assert all(lines[custom_id]["response"] is None for custom_id in codes)


async def test_a_finished_batch_run_again(kafka, stand_in, all_requests, tmp_path):
    """It sends nothing, does not even need Kafka, and reports what the first run reported."""
    source, out = write_batch(tmp_path / "in.jsonl", 20), tmp_path / "out.jsonl"
    async with stand_in():
        first = await submit(kafka, source, out)
    nowhere = kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    again = await submit(nowhere, source, out)
    assert (first.sent, again.sent) == (20, 0)
    assert (again.run_id, again.requests, again.answered, again.failed) == (first.run_id, 20, 20, 0)
    assert_complete(out, 20)
    await assert_sent_once(all_requests, 20)


async def test_killed_again_and_again(kafka, stand_in, all_requests, tmp_path):
    """Killed with -9 at random moments, the batch ends complete, every line sent once and answered once."""
    count, chance = 600, random.Random(7)
    source, out = write_batch(tmp_path / "in.jsonl", count), tmp_path / "out.jsonl"
    kills = 0
    async with stand_in() as worker:
        for _ in range(40):
            process = await start(kafka, source, out, "--max-in-flight", "24")
            if await sends(process, worker, chance.randrange(1, 160)):
                await asyncio.sleep(chance.random() * 0.01)  # not always at the same place in the course of a batch
                with contextlib.suppress(ProcessLookupError):  # it may just have finished
                    process.kill()
            _, told = await process.communicate()
            if process.returncode != -signal.SIGKILL:
                break
            kills += 1
    assert process.returncode == 0, told
    assert kills > 3
    assert_complete(out, count)
    await assert_sent_once(all_requests, count)


async def test_files_cut_off_anywhere(kafka, stand_in, all_requests, tmp_path, monkeypatch):
    """Whatever is left of journal and output behind the header: nothing is sent again, lost or doubled.

    A journal that lacks its last lines is what a kill leaves between Kafka's acknowledgement and the journal.
    """
    monkeypatch.setattr(run, "CHECKPOINT_S", 0)
    count, chance = 60, random.Random(3)
    source, out = write_batch(tmp_path / "in.jsonl", count), tmp_path / "out.jsonl"
    journal = tmp_path / "out.jsonl.journal"
    async with stand_in():
        await submit(kafka, source, out, max_in_flight=10)
        header = journal.read_bytes().index(b"\n") + 1
        for _ in range(6):
            os.truncate(journal, chance.randrange(header, journal.stat().st_size))
            os.truncate(out, chance.randrange(out.stat().st_size))
            summary = await submit(kafka, source, out, max_in_flight=10)
            assert (summary.answered, summary.failed, summary.sent) == (count, 0, 0)
            assert_complete(out, count)
    await assert_sent_once(all_requests, count)


async def test_interrupted(kafka, stand_in, all_requests, tmp_path):
    """Ctrl-C ends it at once with 130 and says how to go on; that works."""
    source, out = write_batch(tmp_path / "in.jsonl", 3_000), tmp_path / "out.jsonl"
    async with stand_in() as worker:
        process = await start(kafka, source, out, "--max-in-flight", "8")
        assert await sends(process, worker, 50), await process.communicate()
        process.send_signal(signal.SIGINT)
        _, told = await process.communicate()
        assert process.returncode == 130
        assert b"run the same command again" in told
        assert len(worker.seen) < 3_000
        process = await start(kafka, source, out, "--json")
        printed, told = await process.communicate()
    assert process.returncode == 0, told
    assert orjson.loads(printed)["answered"] == 3_000
    assert_complete(out, 3_000)
    await assert_sent_once(all_requests, 3_000)


async def test_nothing_answers(kafka, stand_in, all_requests, tmp_path):
    """Without a worker it gives up in time; a later run waits for the same requests, and sends only the rest."""
    source, out = write_batch(tmp_path / "in.jsonl", 12), tmp_path / "out.jsonl"
    with pytest.raises(NoProgress, match="again"):
        await submit(kafka, source, out, max_in_flight=5, timeout_s=1)
    assert len(await all_requests()) == 5
    async with stand_in():
        summary = await submit(kafka, source, out, max_in_flight=2)
    assert (summary.answered, summary.sent) == (12, 7)
    assert_complete(out, 12)
    await assert_sent_once(all_requests, 12)


async def test_what_does_not_belong_together(kafka, stand_in, tmp_path):
    """Another input, a foreign output, other topics and a running twin are refused, each with its reason."""
    source, out = write_batch(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    with pytest.raises(NoProgress):
        await submit(kafka, source, out, timeout_s=1)
    with pytest.raises(BatchError, match="belongs to another input"):
        await submit(kafka, write_batch(tmp_path / "other.jsonl", 5), out)
    with pytest.raises(BatchError, match="no journal of a run beside it"):
        await submit(kafka, source, source)
    with pytest.raises(BatchError, match="the settings"):
        await submit(kafka.model_copy(update={"reply_topic": "elsewhere"}), source, out)
    with pytest.raises(TopicMissing):
        await submit(kafka.model_copy(update={"reply_topic": "elsewhere"}), source, tmp_path / "new.jsonl")
    with pytest.raises(BatchError, match="cannot be read"):
        await submit(kafka, tmp_path / "nowhere.jsonl", tmp_path / "new.jsonl")
    with Journal(out), pytest.raises(BatchError, match="Another process"):
        await submit(kafka, source, out)
    async with stand_in():
        await submit(kafka, source, out)
    assert_complete(out, 4)


@pytest.mark.parametrize("code", [0, 1], ids=["all answered: 0", "a line failed: 1"])
async def test_the_exit_code_tells_the_outcome(code, kafka, stand_in, answer_with, tmp_path):
    """0 or 1 by the results, and the same again for the finished batch."""
    source, out = write_batch(tmp_path / "in.jsonl", 1), tmp_path / "out.jsonl"
    replies = [answer_with.completion("hi"), orjson.dumps(ModelNotFound("No such model.").body())]
    async with stand_in(lambda _: [replies[code]]):
        for _ in range(2):
            process = await start(kafka, source, out)
            printed, told = await process.communicate()
            assert process.returncode == code, told
            assert printed == b""
            assert f"{1 - code} answered, {code} failed".encode() in told
