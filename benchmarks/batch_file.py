"""A large batch file: checked, sent and collected, killed in the middle and taken up again.

    python -m benchmarks.batch_file [--lines N] [--check-lines N] [--serve-lines N] [--killed-at SHARE]

`pelton files check`, `pelton submit` and `pelton serve` as processes of their own, with a worker whose engine takes no
time and a real Kafka, all on the same cores. Of each the wall clock, CPU time and peak memory; the load of the machine
is told beside them, as it decides what the wall clock means. The first run of `submit` is killed when it has that share
of the answers; `resumed` is the time from the start of the second to the first answer that it adds. Then each line must
have exactly one answer. Prints a table and the same as JSON; exits with 1 where it has not.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from openai import OpenAI
from rich.console import Console
from rich.table import Table

from benchmarks.support.common import PROMPT, Measurement
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.producers.batch.file import is_answer
from pelton.stack.ports import free_port
from pelton.stack.stack import LocalStack, StackConfig
from pelton.workers.kafka.topics import ensure_topics

LOOK_S = 0.05
LONG_S = 600.0
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process. `resumed_s` is None for one that began anew; `load` is the machine's mean of the last minute."""

    what: str
    lines: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    load: float
    resumed_s: float | None = None

    @property
    def per_second(self) -> float:
        return self.lines / self.wall_s


class Command:
    """A `pelton` command that runs, and what it has cost when it ends."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.began = time.perf_counter()
        self._process = subprocess.Popen(  # noqa: S603  # our own command
            [sys.executable, "-P", "-m", "pelton", *arguments],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self, until: Callable[[], bool]) -> float:
        """Seconds from its start until it holds. Raises `RuntimeError` where the command ends first."""
        while not until():
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                raise RuntimeError("the command has ended too soon")
            time.sleep(LOOK_S)
        return time.perf_counter() - self.began

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> None:
        self._process.terminate()

    def end(self, what: str, lines: int, resumed_s: float | None = None) -> Cost:
        """Wait for it. `lines` were done by it."""
        _, _, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = 0  # it is reaped
        wall_s, cpu_s = time.perf_counter() - self.began, usage.ru_utime + usage.ru_stime
        return Cost(what, lines, wall_s, cpu_s, usage.ru_maxrss * 1024 / MEGABYTE, os.getloadavg()[0], resumed_s)


def write_lines(path: Path, lines: int) -> None:
    head = {"method": "POST", "url": "/v1/chat/completions"}
    with path.open("wb") as file:
        for number in range(lines):
            messages = [{"role": "user", "content": f"{number}: {PROMPT}"}]
            body = {"model": "default", "messages": messages, "max_tokens": 64}
            file.write(orjson.dumps({"custom_id": f"q-{number}", **head, "body": body}) + b"\n")


def checked(folder: Path, lines: int) -> Cost:
    source = folder / "check.jsonl"
    write_lines(source, lines)
    cost = Command(["files", "check", str(source)], {}).end("checked", lines)
    source.unlink()
    return cost


async def submitted(folder: Path, bootstrap: str, lines: int, killed_at: float) -> tuple[list[Cost], int]:
    """Both runs, and how many lines have other than one answer."""
    source, out = folder / "in.jsonl", folder / "out.jsonl"
    write_lines(source, lines)
    this = Measurement.new(bootstrap, "batch-file")
    await ensure_topics(this.kafka)
    async with this.worker(PELTON_CACHE__ENABLED="false"):
        costs = await asyncio.to_thread(_twice, source, out, _environment(this.kafka), lines, killed_at)
    return costs, wrong_results(out, lines)


async def served(folder: Path, bootstrap: str, lines: int) -> tuple[Cost, int]:
    """The same lines as a batch over HTTP, from the upload to the last byte of the output."""
    source, out, port = folder / "in.jsonl", folder / "served.jsonl", free_port()
    write_lines(source, lines)
    this = Measurement.new(bootstrap, "batch-file-served")
    await ensure_topics(this.kafka)
    environment = {
        **_environment(this.kafka),
        "PELTON_KAFKA__CREATE_TOPICS": "true",  # of the batches' state
        "PELTON_SERVE__STORAGE": str(folder / "storage"),
        "PELTON_SERVE__MAX_FILE_BYTES": str(2 * source.stat().st_size),
    }
    async with this.worker(PELTON_CACHE__ENABLED="false"):
        server = Command(["serve", "--port", str(port)], environment)
        try:
            await asyncio.to_thread(_through_http, server, f"http://127.0.0.1:{port}", source, out)
        finally:
            server.stop()
        return server.end("over HTTP", lines), wrong_results(out, lines)


def _through_http(server: Command, url: str, source: Path, out: Path) -> None:
    """Raises `RuntimeError` for a batch that is not answered as a whole."""
    server.wait(lambda: _listens(f"{url}/healthz"))
    client = OpenAI(base_url=f"{url}/v1", api_key="none", timeout=LONG_S)
    uploaded = client.files.create(file=source, purpose="batch")
    batch = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h")
    while (now := client.batches.retrieve(batch.id)).status in {"validating", "in_progress", "finalizing"}:
        time.sleep(1)
    if now.output_file_id is None:
        raise RuntimeError(f"the batch has no output: {now}")
    with client.files.with_streaming_response.content(now.output_file_id) as content:
        content.stream_to_file(out)


def _listens(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=LONG_S):  # noqa: S310  # our own server
            return True
    except OSError:
        return False


def wrong_results(out: Path, lines: int) -> int:
    """How many lines have other than one answer."""
    results = [0] * lines
    with out.open("rb") as file:
        for line in file:
            entry = orjson.loads(line)
            results[int(entry["custom_id"].removeprefix("q-"))] += is_answer(entry)
    return sum(count != 1 for count in results)


def _twice(source: Path, out: Path, environment: Mapping[str, str], lines: int, killed_at: float) -> list[Cost]:
    arguments = ["submit", str(source), "--out", str(out)]
    first = Command(arguments, environment)
    first.wait(lambda: _lines(out) >= killed_at * lines)
    first.kill()
    killed = first.end("sent and collected until killed", _lines(out))
    before = out.stat().st_size
    second = Command(arguments, environment)
    resumed_s = second.wait(lambda: out.stat().st_size > before)
    return [killed, second.end("the rest", lines - killed.lines, resumed_s)]


def _lines(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 22), b""))


def _environment(kafka: KafkaSettings) -> dict[str, str]:
    return {
        "PELTON_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PELTON_KAFKA__REQUEST_TOPICS": orjson.dumps(kafka.request_topics).decode(),
        "PELTON_KAFKA__REPLY_TOPIC": kafka.reply_topic,
    }


def _measure(folder: Path, asked: argparse.Namespace) -> tuple[list[Cost], int]:
    """What was asked for, and how many lines have other than one answer."""
    costs = [checked(folder, asked.check_lines)] if asked.check_lines else []
    wrong = 0
    if not (asked.lines or asked.serve_lines):
        return costs, wrong
    with LocalStack(StackConfig()) as stack:
        bootstrap = stack.kafka.bootstrap_servers
        if asked.lines:
            both, wrong = asyncio.run(submitted(folder, bootstrap, asked.lines, asked.killed_at))
            costs += both
        if asked.serve_lines:
            cost, more = asyncio.run(served(folder, bootstrap, asked.serve_lines))
            costs.append(cost)
            wrong += more
    return costs, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000, help="of the file that is sent; 0: none is")
    parser.add_argument("--check-lines", type=int, default=1_000_000, help="of the file that is checked; 0: none is")
    parser.add_argument("--serve-lines", type=int, default=0, help="of a batch over HTTP (default: none is sent)")
    parser.add_argument("--killed-at", type=float, default=0.4, help="share of the answers (default: 0.4)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pelton-batch-file-") as name:
        costs, wrong = _measure(Path(name), asked)
    table = Table("", "lines", "lines/s", "wall", "CPU", "peak", "resumed after", "load")
    for cost in costs:
        resumed = "" if cost.resumed_s is None else f"{cost.resumed_s:.1f} s"
        table.add_row(
            *(cost.what, f"{cost.lines:,}", f"{cost.per_second:,.0f}", f"{cost.wall_s:.0f} s", f"{cost.cpu_s:.0f} s"),
            *(f"{cost.peak_mb:.0f} MB", resumed, f"{cost.load:.1f}"),
        )
    Console().print(table, f"{wrong:,} lines have other than one answer.")
    shown = [{**asdict(cost), "per_second": cost.per_second} for cost in costs]
    print(orjson.dumps({"costs": shown, "wrong": wrong}).decode())
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
