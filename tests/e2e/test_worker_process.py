"""`pelton worker` and its producers as processes: a real model, exits without loss, and what keeps it from starting."""

import asyncio
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from openai.types.chat import ChatCompletion

SLOW = {
    "PELTON_ENGINE__KIND": "simulated",
    "PELTON_ENGINE__SIMULATED__ITL_MS": "5",
    "PELTON_ENGINE__SIMULATED__MAX_RUNNING": "8",
}
COUNT = 160


def test_a_question_is_answered_by_the_real_model(pelton):
    """`pelton ask` prints SmolLM2's answer; its JSON is OpenAI's; a model nobody serves is a clear error."""
    pelton.start_worker()
    asked = pelton.run("ask", "What is 2 + 2?", "--temperature", "0", "--max-tokens", "40", "--json")
    assert asked.returncode == 0, asked.stderr
    completion = ChatCompletion.model_validate_json(asked.stdout)
    assert "4" in (completion.choices[0].message.content or "")
    assert completion.model == "smollm2-135m-instruct"

    again = pelton.run("ask", "What is 2 + 2?", "--temperature", "0", "--max-tokens", "40")
    assert again.stdout.strip() == completion.choices[0].message.content.strip()

    unknown = pelton.run("ask", "Hello?", "--model", "gpt-17")
    assert unknown.returncode == 1
    assert "'gpt-17' is not served here: use 'smollm2-135m-instruct' or 'default'" in unknown.stderr

    [worker] = pelton.workers
    worker.stop()
    assert "leaked" not in pelton.log()  # what libraries write at the end of a process that still holds theirs


async def _publish(bootstrap: str, topic: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for index in range(COUNT):
            body = {"model": "default", "messages": [{"role": "user", "content": str(index)}]}
            await producer.send(topic, orjson.dumps(body), headers=[("kafka_correlationId", str(index).encode())])
        await producer.flush()


async def _answered(bootstrap: str, topic: str, count: int) -> Counter[int]:
    """Replies by correlation id: at least `count`, and whatever else is there by then."""
    found: Counter[int] = Counter()
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as reader:
        async with asyncio.timeout(120):
            while len(found) < count:
                for records in (await reader.getmany(timeout_ms=500)).values():
                    found.update(int(dict(record.headers)["kafka_correlationId"]) for record in records)
    return found


def test_sigterm_under_load_loses_nothing_and_exits_in_time(pelton, kafka_bootstrap):
    """Told to leave in the middle of its work a worker exits 0 within its drain deadline; what it left is answered."""
    leaving = pelton.start_worker(**SLOW)
    asyncio.run(_publish(kafka_bootstrap, pelton.requests))
    before = asyncio.run(_answered(kafka_bootstrap, pelton.replies, 20))
    assert len(before) < COUNT
    started = time.monotonic()
    assert leaving.stop() == 0
    assert time.monotonic() - started < 30
    assert "drained" in pelton.log(0)
    pelton.start_worker(**SLOW)
    answered = asyncio.run(_answered(kafka_bootstrap, pelton.replies, COUNT))
    assert answered == Counter(range(COUNT))


def test_submit_gives_every_line_its_result(pelton, tmp_path):
    """Of 100 lines with 5 broken ones 95 are completed and 5 fail, each under its custom_id; the exit code is 1."""
    pelton.start_worker(**{**SLOW, "PELTON_ENGINE__SIMULATED__ITL_MS": "0"})
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    broken: dict[int, dict[str, Any]] = {
        10: {"messages": []},
        30: {"temprature": 1},
        50: {"model": "gpt-17"},
        70: {"n": 9},
        90: {"stop": 7},
    }
    with source.open("w") as file:
        for index in range(100):
            body = {"model": "default", "messages": [{"role": "user", "content": str(index)}], **broken.get(index, {})}
            line = {"custom_id": f"line-{index}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")
    submitted = pelton.run("submit", str(source), "--out", str(out), "--json")
    assert submitted.returncode == 1, submitted.stderr
    results = {line["custom_id"]: line["response"] for line in map(json.loads, out.read_text().splitlines())}
    assert set(results) == {f"line-{index}" for index in range(100)}
    failed = {
        name: response["body"]["error"]["code"] for name, response in results.items() if "error" in response["body"]
    }
    assert failed == {
        "line-10": "invalid_value",
        "line-30": "unknown_parameter",
        "line-50": "model_not_found",
        "line-70": "invalid_value",
        "line-90": "invalid_value",
    }
    assert {r["status_code"] for name, r in results.items() if name not in failed} == {200}


def test_submit_killed_half_way_goes_on_where_it_stopped(pelton, kafka_bootstrap, tmp_path, eventually):
    """Killed -9 in the middle and run again, it completes every line and sends nothing that Kafka had already taken."""
    pelton.start_worker(**SLOW)
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    line = '{{"custom_id": "{0}", "method": "POST", "url": "/v1/chat/completions", "body": {{"model": "default", "messages": [{{"role": "user", "content": "{0}"}}]}}}}\n'  # noqa: E501  # one line of the file
    source.write_text("".join(line.format(index) for index in range(COUNT)))
    killed = pelton.start("submit", str(source), "--out", str(out), "--max-in-flight", "50")
    eventually(lambda: out.exists() and len(out.read_bytes().splitlines()) >= 40, 60)
    killed.kill()
    killed.wait()
    assert len(out.read_bytes().splitlines()) < COUNT
    resumed = pelton.run("submit", str(source), "--out", str(out), "--max-in-flight", "50", "--json")
    assert resumed.returncode == 0, resumed.stderr
    results = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(int(result["custom_id"]) for result in results) == list(range(COUNT))
    assert asyncio.run(_sent(kafka_bootstrap, pelton.requests)) == COUNT
    rerun = pelton.run("submit", str(source), "--out", str(out), "--json")
    assert rerun.returncode == 0
    assert asyncio.run(_sent(kafka_bootstrap, pelton.requests)) == COUNT


async def _sent(bootstrap: str, topic: str) -> int:
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap) as reader:
        ends = await reader.end_offsets(list(reader.assignment()))
        return sum(ends.values())


def test_what_keeps_a_worker_from_starting_is_said_in_one_line(pelton, tmp_path):
    """Bad settings and no model end with exit code 2 and a message that names the setting; no traceback."""
    bad_file = tmp_path / "bad.toml"
    bad_file.write_text("[worker]\nmax_waiting_tokens = -1\n")
    simulated = {"PELTON_ENGINE__KIND": "simulated"}
    cases = {
        "worker.max_waiting_tokens": (["worker", "--config", str(bad_file)], simulated),
        "worker.metrics_host": (
            ["worker"],
            {**simulated, "PELTON_WORKER__METRICS_PORT": "9", "PELTON_WORKER__METRICS_HOST": "192.0.2.1"},
        ),
        "engine.kv_memory_gib": (["worker"], {"PELTON_ENGINE__KV_MEMORY_GIB": "100000"}),
        "model.path": (["worker"], {"PELTON_MODEL__PATH": "/nowhere/model"}),
    }
    with ThreadPoolExecutor() as pool:
        ended = {
            named: pool.submit(pelton.run, *arguments, **settings) for named, (arguments, settings) in cases.items()
        }
    for named, run in ended.items():
        refused = run.result()
        assert refused.returncode == 2, refused.stderr
        assert named in refused.stderr
        assert "Traceback" not in refused.stderr
