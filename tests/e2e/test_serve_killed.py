"""`pelton serve` is killed: batches go on elsewhere, and clients that try again notice nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import orjson

from tests.listening import listening, pass_on
from tests.serve_chaos.case import Place, Server, serving
from tests.serve_chaos.points import POINTS
from tests.serve_chaos.rig import TOPICS, run_all, working
from tests.serve_chaos.verdict import batch_lines

MAX_TELLING = (
    "in the middle of sending a chunk",
    "results stored, not told",
    "the answers stored, the errors not",
    "the cancel stored, its client waits",
)
LINES = 600


async def test_killed_at_a_point_another_server_ends_the_batch(kafka_bootstrap, tmp_path):
    """No line is lost, doubled or sent twice, and nothing is left in the storage; `make serve-chaos` has all points."""
    points = [point for point in POINTS if point.name in MAX_TELLING]
    assert len(points) == len(MAX_TELLING)
    stack = {"PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap}
    cases = await run_all(stack, points, tmp_path, lines=LINES, parallel=len(points))
    assert {case.point.name: case.wrong for case in cases} == {point.name: [] for point in points}


class Name:
    """One port in front of servers: each connection goes to the next that takes it."""

    def __init__(self, *servers: Server) -> None:
        self._ports = [server.port for server in servers]
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Name"]:
        async with listening(self._serve) as self.port:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in self._ports:
            self._ports.append(self._ports.pop(0))
            try:
                there, back = await asyncio.open_connection("127.0.0.1", self._ports[-1])
            except OSError:
                continue
            await asyncio.gather(pass_on(reader, back), pass_on(there, writer))
            return


async def test_two_servers_behind_one_name(kafka_bootstrap, tmp_path):
    """One is killed under questions and a batch: OpenAI's client, which tries again, gets every answer."""
    environment = {
        **TOPICS,
        "PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap,
        "PELTON_KAFKA__REQUEST_TOPICS": '["behind-one-name.requests"]',
        "PELTON_KAFKA__REPLY_TOPIC": "behind-one-name.replies",
        "PELTON_KAFKA__GROUP_ID": "behind-one-name",
        "PELTON_SERVE__BATCHES_TOPIC": "behind-one-name",
        "PELTON_SERVE__STORAGE": str(tmp_path / "files"),
        "PELTON_SERVE__MAX_IN_FLIGHT": "64",
    }
    place = Place(environment, tmp_path, LINES)
    async with (
        working(environment, tmp_path),
        serving("first", place, {}) as first,
        serving("second", place, {}) as second,
        Name(first, second).listening() as name,
        openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{name.port}/v1", api_key="none", max_retries=5) as client,
    ):
        uploaded = await client.files.create(file=("in.jsonl", batch_lines(LINES)), purpose="batch")
        batch = await client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        while not (await client.batches.retrieve(batch.id)).request_counts.completed:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.05)
        asking = [asyncio.create_task(ask(client, number)) for number in range(20)]
        await asyncio.sleep(0)
        await asyncio.to_thread(first.process.kill)
        answers = await asyncio.gather(*asking)
        async with asyncio.timeout(200):
            while (done := await client.batches.retrieve(batch.id)).status != "completed":  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        files = [each for each in (done.output_file_id, done.error_file_id) if each]
        contents = [(await client.files.content(each)).content for each in files]
    assert all(answers)
    ids = [orjson.loads(line)["custom_id"] for content in contents for line in content.splitlines()]
    assert sorted(ids) == sorted(f"q-{number}" for number in range(LINES))


async def ask(client: openai.AsyncOpenAI, number: int) -> str | None:
    completion = await client.chat.completions.create(
        model="default", messages=[{"role": "user", "content": f"What is {number}?"}], timeout=150
    )
    return completion.choices[0].message.content
