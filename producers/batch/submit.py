"""A whole OpenAI Batch file through Kafka, to be interrupted and taken up again at will.

Killed at any moment and run again with the same input and output, `submit` sends nothing a second time that Kafka had
acknowledged, and neither loses a result nor writes one twice:

- what was acknowledged is in the journal, or else on the request topic above the journal's last offsets, where the run
  that takes up looks for its own correlation ids before it sends;
- what was answered is in the output, or else in the replies above the journal's last checkpoint, which are read again.

A request that Kafka had *not* acknowledged is sent again. It would be doubled only if it lay in the broker all through
the restart and was stored after the look at the topic; its second reply would be left out.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.tracing.spans import Traces
from pelton.producers.batch.file import InputSummary, custom_ids, survey
from pelton.producers.batch.journal import Header, Journal, Record
from pelton.producers.batch.limits import Pace, TokenCap
from pelton.producers.batch.recovery import Stored, stored_since
from pelton.producers.batch.results import LineState, Results, RunNames
from pelton.producers.batch.run import Batch, BatchRun, InFlight
from pelton.producers.errors import BatchError, CapReached, NoProgress
from pelton.producers.flow import ProgressTimeout
from pelton.producers.kafka.cluster import look_up
from pelton.producers.kafka.offsets import end_offsets
from pelton.producers.kafka.reply_reader import ReplyReader
from pelton.producers.kafka.request_sender import RequestSender

DEFAULT_IN_FLIGHT = 1_024
DEFAULT_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts of requests: all in the file, with an answer, with an error, sent and still without reply."""

    requests: int
    answered: int
    failed: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The finished batch. `sent` counts what this call sent, the others the whole batch; `errors` by their code."""

    run_id: str
    output: str
    requests: int
    answered: int
    failed: int
    sent: int
    errors: dict[str, int]


async def submit(  # noqa: PLR0913  # the command passes each of these options on
    kafka: KafkaSettings,
    source: Path,
    out: Path,
    *,
    max_in_flight: int = DEFAULT_IN_FLIGHT,
    timeout_s: float | None = DEFAULT_TIMEOUT_S,
    rate_per_s: float | None = None,
    max_tokens_total: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    traces: Traces | None = None,
    in_flight: InFlight | None = None,
) -> Summary:
    """Send every line of `source`, and append the results to `out` as they arrive. Takes up where a former call ended.

    `timeout_s` is how long it waits without any progress; None: for ever. At most `rate_per_s` requests are sent in a
    second. Where the answers of all calls together come to `max_tokens_total`, prompts included, nothing more is sent,
    and when what was sent is answered `CapReached` is raised. `in_flight` learns what is sent and unanswered.

    Raises `BatchError` (files), `NoProgress`, `BrokerUnreachable`, `TopicMissing`, `SendFailed` or `RepliesUnreadable`;
    after each, the call can be repeated.
    """
    if max_in_flight < 1:
        raise ValueError(f"max_in_flight must be at least 1, got {max_in_flight}")
    content = await asyncio.to_thread(survey, source)
    with contextlib.ExitStack() as files:
        journal = files.enter_context(Journal(out))
        try:
            async with ProgressTimeout(timeout_s) as patience:
                record = journal.load(content) or await _begin(kafka, journal, content, out)
                names = RunNames(record.header.run_id)
                results = files.enter_context(Results(out, names, record.sent))
                batch = Batch(source, content.requests, names, journal, results, record.sent, waiting={})
                if in_flight is not None:
                    in_flight.follow(batch)

                def report() -> None:
                    patience.progress()
                    on_progress(Progress(batch.requests, results.answered, results.failed, len(batch.waiting)))

                if results.count < content.requests:
                    pace = None if rate_per_s is None else Pace(rate_per_s)
                    cap = None if max_tokens_total is None else await _cap(max_tokens_total, out)
                    sender = RequestSender(kafka, record.header.request_topic, traces)
                    await _carry_on(kafka, batch, record, sender, max_in_flight, report, pace, cap)
        except TimeoutError:
            raise NoProgress(
                f"Nothing has moved for {timeout_s:g} s: is a worker running, and is Kafka up? What is done is kept; "
                "run the same command again to go on."
            ) from None
    if results.count < content.requests:
        raise CapReached(
            f"{content.requests - results.count:,} of {content.requests:,} requests are not sent: the answers so far "
            f"come to nearly {max_tokens_total:,} tokens. What is done is in {out}; run the same command with a higher "
            "--max-tokens-total to go on."
        )
    errors = dict(results.errors.most_common())
    return Summary(names.run_id, str(out), content.requests, results.answered, results.failed, batch.sent, errors)


async def _begin(kafka: KafkaSettings, journal: Journal, content: InputSummary, out: Path) -> Record:
    _refuse_foreign(out)
    topic = kafka.request_topics[0]
    cluster = await look_up(kafka, topic, kafka.reply_topic)
    reader = ReplyReader(kafka)
    await reader.start()
    await reader.stop()
    header = Header(
        run_id=secrets.token_hex(8),
        input_sha256=content.sha256,
        cluster_id=cluster.id,
        request_topic=topic,
        request_offsets=await end_offsets(kafka, topic, cluster.topics[topic].partitions),
        reply_topic=kafka.reply_topic,
        reply_partition=reader.partition,
        reply_offset=reader.position,
    )
    journal.begin(header)
    return Record(header, bytearray(content.lines + 1), dict(header.request_offsets))


def _refuse_foreign(out: Path) -> None:
    if out.exists() and out.stat().st_size:
        raise BatchError(f"{out} exists, and no journal of a run beside it: choose another output, or move it away.")


async def _cap(most: int, out: Path) -> TokenCap:
    return await asyncio.to_thread(TokenCap.going_on, most, out)


async def _carry_on(  # noqa: PLR0913, PLR0917  # where the batch stands, and how hard it may go on
    kafka: KafkaSettings,
    batch: Batch,
    record: Record,
    sender: RequestSender,
    max_in_flight: int,
    report: Callable[[], None],
    pace: Pace | None,
    cap: TokenCap | None,
) -> None:
    header = record.header
    partitions = await _check_kafka(kafka, header, batch.journal)
    replies_from = record.replies_from(batch.results.count)
    # Outdates the checkpoints that no longer hold, should the output have been cut: it is about to grow differently.
    batch.journal.checkpoint(batch.results.count, replies_from)
    batch.journal.sync()
    reader = ReplyReader(kafka, partition=header.reply_partition, start=replies_from)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(sender.stop)
        await sender.start()
        stack.push_async_callback(reader.stop)
        await reader.start()
        async for found in stored_since(kafka, header.request_topic, partitions, record.next_offsets):
            _count_as_sent(batch, found)
            report()
        batch.waiting.update(await asyncio.to_thread(_unanswered, batch))
        report()
        run = BatchRun(batch, sender, reader, max_in_flight=max_in_flight, on_change=report, pace=pace, cap=cap)
        await run.run()


async def _check_kafka(kafka: KafkaSettings, header: Header, journal: Journal) -> int:
    """Make sure that this is the Kafka the run began on; return how many partitions its request topic has."""
    configured = (kafka.request_topics[0], kafka.reply_topic)
    if configured != (header.request_topic, header.reply_topic):
        raise BatchError(
            f"{journal.path} tells of a run on topics {header.request_topic} and {header.reply_topic}, the settings "
            f"name {configured[0]} and {configured[1]}: go on with the settings it began with."
        )
    cluster = await look_up(kafka, header.request_topic, header.reply_topic)
    if cluster.id != header.cluster_id:
        raise BatchError(
            f"{journal.path} tells of a run on another Kafka cluster than the one at {kafka.bootstrap_servers}: go on "
            "there, or move output and journal away to start from the beginning here."
        )
    return cluster.topics[header.request_topic].partitions


def _count_as_sent(batch: Batch, found: list[Stored]) -> None:
    """Those of this run among requests that are on the topic and not in the journal."""
    for request in found:
        line = batch.names.line_of(request.correlation_id)
        if line is not None and line < len(batch.states):
            batch.journal.acknowledged(line, request.place)
            batch.states[line] = max(batch.states[line], LineState.SENT)


def _unanswered(batch: Batch) -> dict[int, str | None]:
    """The lines that were sent and have no result yet, by number, with their `custom_id`."""
    if LineState.SENT not in batch.states:
        return {}
    return custom_ids(batch.source, lambda number: batch.states[number] == LineState.SENT)
