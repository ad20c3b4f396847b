"""The job service over a real Kafka."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer

from pelton.producers.errors import NoProgress
from pelton.producers.reports.assembly.report import JobState
from pelton.producers.reports.errors import ReportError

PARTITIONS = 2
"""As `place` has them."""


async def test_a_job_becomes_a_report(place, make_job, say):
    """From a submission to a finished report, with its progress on the status topic."""
    seen = []
    async with place.service(), place.worker(lambda prompt: say(f"about {prompt[:3]}")), place.client() as client:
        report = await client.run(make_job(), seen.append, 30)
        statuses = await client.statuses()
    assert [section.text for section in report.sections] == ["about One", "about Two", "about Sum"]
    assert statuses["job"].state is JobState.DONE
    assert (statuses["job"].done, statuses["job"].total) == (3, 3)
    assert [status.done for status in seen] == sorted(status.done for status in seen)


async def test_only_what_changed_is_generated(place, make_job, say):
    """With one changed source a job sends what depends on it and nothing else, from another service too."""
    async with place.worker(lambda prompt: say(f"about {prompt[:9]}")), place.client() as client:
        async with place.service():
            await client.run(make_job(), timeout_s=60)
            assert len(place.prompts) == 3
            await client.run(make_job(), timeout_s=60)
            assert len(place.prompts) == 3
        async with place.service():
            await client.run(make_job("item,2019\nC,8\nD,9\n"), timeout_s=60)
    again = place.prompts[3:]
    assert [prompt[:3] for prompt in again] == ["Two"]


async def test_a_service_that_stops_is_taken_over(place, make_job, say):
    """What was sent by one service is awaited by the next, and not sent again."""
    async with place.client() as client:
        async with place.service():
            submitted = await client.submit(make_job())
            with pytest.raises(NoProgress):
                await client.wait(submitted, timeout_s=3)
        async with place.worker(lambda prompt: say(f"about {prompt[:3]}")):
            async with asyncio.timeout(60):
                while len(place.prompts) < 2:  # noqa: ASYNC110  # the stand-in has no event for a number of prompts
                    await asyncio.sleep(0.05)
            async with place.service():
                report = await client.wait(submitted, timeout_s=60)
    assert report.state is JobState.DONE
    assert len(place.prompts) == 3


async def test_cancel(place, make_job):
    """A cancelled job ends, and its requests are taken back."""
    async with place.service(), place.client() as client:
        submitted = await client.submit(make_job())
        running = asyncio.Event()
        waiting = asyncio.create_task(client.wait(submitted, lambda _: running.set(), 30))
        await running.wait()
        await client.cancel("job")
        report = await waiting
        taken_back = [record async for record in client._everything(place.kafka.cancels_topic)]
    assert report.state is JobState.CANCELLED
    assert len(taken_back) == 2


async def test_a_record_that_is_no_job(place, make_job, say):
    """It is answered with an error, and the jobs behind it go on."""
    producer = AIOKafkaProducer(bootstrap_servers=place.kafka.bootstrap_servers)
    await producer.start()
    async with place.service(), place.worker(lambda _: say("x")), place.client() as client:
        for value in (b"{", b"[]", b'{"entity": 1}', b""):
            await producer.send_and_wait(place.reports.jobs_topic, value, b"bad")
        report = await client.run(make_job(), timeout_s=60)
        bad = [one async for one in client.reports("bad")]
    await producer.stop()
    assert report.state is JobState.DONE
    assert [one.error["code"] for one in bad] == ["invalid_job"] * 4


async def test_a_failed_job_says_why(place, make_job):
    """A source without data ends the job with an error that names it."""
    async with place.service(), place.client() as client:
        with pytest.raises(ReportError, match="'other'"):
            await client.run(make_job("item\n"), timeout_s=60)


async def test_two_services_share_the_work(place, make_job, say):
    """Jobs of all partitions are finished, each once, while a second service comes and goes."""
    async with place.service(), place.worker(lambda prompt: say(prompt[:3])), place.client() as client:
        async with place.service():
            first = [await client.submit(make_job(id=f"job-{number}")) for number in range(10)]
            reports = [await client.wait(one, timeout_s=60) for one in first]
        later = [await client.submit(make_job(id=f"later-{number}")) for number in range(10)]
        reports += [await client.wait(one, timeout_s=60) for one in later]
        results = [[one async for one in client.reports(one.job_id)] for one in [*first, *later]]
    assert {report.state for report in reports} == {JobState.DONE}
    assert {len(found) for found in results} == {1}
    assert len(place.prompts) == 60


async def test_jobs_wait_in_kafka_for_room(place, make_job, say):
    """No more jobs are taken up than the settings allow; those behind them follow as jobs end."""
    place = replace(place, reports=place.reports.model_copy(update={"max_active_jobs": 2}))
    async with place.service(), place.client() as client:
        submitted = [await client.submit(make_job(id=f"job-{number}")) for number in range(20)]
        states: Counter[JobState] = Counter()
        async with asyncio.timeout(60):
            while states[JobState.RUNNING] < 2 * PARTITIONS:
                states = Counter(status.state for status in (await client.statuses()).values())
        assert states == {JobState.RUNNING: 2 * PARTITIONS, JobState.QUEUED: 20 - 2 * PARTITIONS}
        async with place.worker(lambda prompt: say(prompt[:3])):
            reports = [await client.wait(one, timeout_s=60) for one in submitted]
    assert {report.state for report in reports} == {JobState.DONE}
    assert len(place.prompts) == 60


async def test_a_service_that_was_shut_out_takes_over_again(place, make_job, say):
    """Fenced by another producer of its partitions, as after a freeze, a member goes on, and sends nothing again."""
    async with place.service(), place.client() as client:
        submitted = await client.submit(make_job())
        running = asyncio.Event()
        waiting = asyncio.create_task(client.wait(submitted, lambda _: running.set(), 60))
        await running.wait()
        for partition in range(PARTITIONS):
            intruder = AIOKafkaProducer(
                bootstrap_servers=place.kafka.bootstrap_servers,
                transactional_id=f"{place.reports.group_id}-{place.reports.jobs_topic}-{partition}",
            )
            await intruder.start()
            await intruder.stop()
        async with place.worker(lambda prompt: say(prompt[:3])):
            report = await waiting
    assert report.state is JobState.DONE
    assert len(place.prompts) == 3


async def test_each_section_has_its_spans(place, make_job, say, kept):
    """One when it is sent, which names the job, and one when it is there."""
    service, worker = place.service(kept.traces), place.worker(lambda prompt: say(f"about {prompt[:3]}"))
    async with service, worker, place.client() as client:
        await client.run(make_job(), timeout_s=60)
    [topic] = place.kafka.request_topics
    sent = [span for span in kept.spans if span.name == f"send {topic}"]
    received = [span for span in kept.spans if span.name.startswith("receive")]
    names = {span.attributes["messaging.message.conversation_id"] for span in sent}
    assert [span.attributes["pelton.job"] for span in sent] == ["job"] * 3
    assert {span.attributes["messaging.message.conversation_id"] for span in received} == names
    assert len(names) == len({span.context.trace_id for span in sent}) == 3
