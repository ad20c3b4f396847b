"""Many report jobs while services and workers are killed: each has one result, and no text is paid for twice.

`PELTON_TEST_JOBS` sets how many jobs (`make report-chaos` takes 500), `PELTON_TEST_SEED` whom it hits, and when.
"""

import asyncio
import logging
import os
import random
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.reports import ReportSettings
from pelton.producers.reports.assembly.report import JobState, Report
from pelton.producers.reports.client import ReportClient
from pelton.producers.reports.service.records import SectionState
from pelton.producers.reports.service.topics import ensure_topics
from pelton.producers.reports.spec.model import JobSpec
from pelton.stack.process import ChildProcess

log = logging.getLogger(__name__)

JOBS = int(os.environ.get("PELTON_TEST_JOBS", "30"))
SEED = int(os.environ.get("PELTON_TEST_SEED", "1"))
SECTIONS = 6
LIMIT_S = 200 + JOBS
KILL_EVERY = 10
"""Jobs: somebody is killed when so many more have just been sent, so that there is something under way."""
MOST_KILLS = 4 + JOBS // KILL_EVERY
TABLE = "item,2019,2018\nSales,1200,1000\nCosts,700,650\n"


def job(number: int) -> JobSpec:
    """Five sections, and a summary that needs them all."""
    names = [f"s{index}" for index in range(SECTIONS)]
    prompt = "{{ material }} {{ section.title }}{% for s in sections %} {{ s.text }}{% endfor %}"
    sections = [
        {"id": name, "title": name, "prompt": prompt, "figures": "off", "needs": names[:-1] if name == "s5" else []}
        for name in names
    ]
    source = {"name": "table", "format": "csv", "content": f"{TABLE}Row {number},1,2\n"}
    fields = {"id": f"job-{number}", "entity": f"Company {number}", "period": "2019"}
    return JobSpec.model_validate({**fields, "sources": [source], "sections": sections, "max_attempts": 10})


class Fleet:
    """Services and workers, each started again when it was killed."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._processes: dict[str, ChildProcess] = {}
        self.kills: Counter[str] = Counter()

    def start(self, name: str) -> None:
        arguments = ["reports", "serve"] if name.startswith("service") else ["worker"]
        self._processes[name] = ChildProcess(
            name,
            [sys.executable, "-m", "pelton", *arguments],
            log_file=self._folder / f"{name}.log",
            grace_s=20,
            environment=self._environment,
        )

    def kill(self, name: str) -> None:
        self._processes[name].kill()
        self.kills[name.partition("-")[0]] += 1
        self.start(name)

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()


async def read_all(bootstrap: str, topic: str) -> list[Any]:
    """Every committed record."""
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await reader.start()
    try:
        places = [TopicPartition(topic, number) for number in range(4)]
        reader.assign(places)
        ends = await reader.end_offsets(places)
        found: list[Any] = []
        while [place for place in places if await reader.position(place) < ends[place]]:
            for records in (await reader.getmany(timeout_ms=500)).values():
                found += records
        return found
    finally:
        await reader.stop()


@pytest.mark.timeout(LIMIT_S + 60)
async def test_each_job_finishes_once(kafka_bootstrap, tmp_path):
    """Killed at random, they finish every job once and complete; no text is generated again after its commit."""
    name = uuid.uuid4().hex[:8]
    reports = ReportSettings(
        group_id=f"reports-{name}",
        partitions=4,
        max_active_jobs=16,
        **{f"{topic}_topic": f"reports-{topic}-{name}" for topic in ("jobs", "results", "status", "sections")},
        **{f"{topic}_topic": f"reports-{topic}-{name}" for topic in ("replies", "cancels")},
    )
    kafka = KafkaSettings(
        bootstrap_servers=kafka_bootstrap,
        group_id=f"workers-{name}",
        request_topics=(f"requests-{name}",),
        reply_topic=f"replies-{name}",
        cancels_topic=f"cancels-{name}",
        suspects_topic=f"suspects-{name}",
        session_timeout_ms=6_000,
        create_topics=True,
        partitions=4,
        reply_topics_allowed=(reports.replies_topic,),
    )
    fleet = Fleet(tmp_path, _environment(kafka, reports))
    dice = random.Random(SEED)
    members = ["service-0", "service-1", "worker-0", "worker-1"]
    try:
        for member in members:
            await asyncio.to_thread(fleet.start, member)
        await ensure_topics(kafka, reports)
        async with ReportClient(kafka, reports) as client:
            for number in range(JOBS):
                await client.submit(job(number))
                if number % KILL_EVERY == KILL_EVERY - 1:
                    await asyncio.sleep(dice.uniform(0, 0.5))
                    await asyncio.to_thread(fleet.kill, dice.choice(members))
                    await asyncio.sleep(dice.uniform(1, 3))
            async with asyncio.timeout(LIMIT_S):
                while sum(status.state.final for status in (await client.statuses()).values()) < JOBS:
                    await asyncio.sleep(dice.uniform(1, 3))
                    if fleet.kills.total() < MOST_KILLS:
                        await asyncio.to_thread(fleet.kill, dice.choice(members))
    finally:
        await asyncio.to_thread(fleet.stop)
    log.info("%d jobs, killed: %s", JOBS, dict(fleet.kills))
    await _check(kafka, reports)


async def _check(kafka: KafkaSettings, reports: ReportSettings) -> None:
    found = [
        Report.model_validate_json(record.value)
        for record in await read_all(kafka.bootstrap_servers, reports.results_topic)
    ]
    assert Counter(report.id for report in found) == Counter(f"job-{number}" for number in range(JOBS))
    for report in found:
        assert report.state is JobState.DONE, report.message
        assert [section.id for section in report.sections] == [f"s{index}" for index in range(SECTIONS)]
        assert all(section.text.startswith("sim:") for section in report.sections)
    texts: dict[bytes, set[str]] = {}
    for record in await read_all(kafka.bootstrap_servers, reports.sections_topic):
        drafts = SectionState.decode(record.value).drafts
        assert len(drafts) <= 1
        texts.setdefault(record.key, set()).update(draft.text for draft in drafts)
    assert len(texts) == JOBS * SECTIONS
    assert {len(written) for written in texts.values()} == {1}
    sent = [
        dict(record.headers)["kafka_correlationId"]
        for record in await read_all(kafka.bootstrap_servers, kafka.request_topics[0])
    ]
    assert len(sent) == len(set(sent))
    log.info("%d requests for %d texts", len(sent), len(texts))


def _environment(kafka: KafkaSettings, reports: ReportSettings) -> dict[str, str]:
    chosen = {"KAFKA": kafka.model_dump(mode="json", exclude_defaults=True)}
    chosen["REPORTS"] = reports.model_dump(mode="json", exclude_defaults=True)
    simulated = {"ttft_ms": 5, "itl_ms": 1, "itl_ms_per_row": 0}
    chosen["ENGINE"] = {"kind": "simulated", "simulated": simulated}
    return {
        f"PELTON_{section}__{name.upper()}": value if isinstance(value, str) else _json(value)
        for section, fields in chosen.items()
        for name, value in fields.items()
    }


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
