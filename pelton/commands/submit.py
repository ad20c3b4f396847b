"""`pelton submit`: an OpenAI Batch file through Kafka, with a progress bar."""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import orjson
import typer

from pelton.commands.common import Config, Exit, clear_errors, quiet_libraries, run_async, stderr
from pelton.commands.interrupts import interruptible
from pelton.commands.progress import progress_bar
from pelton.commands.waiting import Waiting, say_line, waiting
from pelton.pipeline.outside_text import shown
from pelton.pipeline.settings.loading import Settings, load_settings
from pelton.producers.batch.input_file import readable_input
from pelton.producers.batch.retry_failed import without_answer
from pelton.producers.batch.run import InFlight
from pelton.producers.batch.submit import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT_S, Progress, Summary
from pelton.producers.batch.submit import submit as submit_batch
from pelton.producers.errors import WebhookFailed
from pelton.producers.webhook import WebhookSender, batch_event, tell
from pelton.telemetry import traces

WEBHOOK_PATIENCE_S = 300.0


def submit(  # noqa: PLR0913, PLR0917  # the command's options, each by name
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="OpenAI Batch requests, one JSON object a line; - for standard input."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="PATH", help="Append the results here, as they come.")],
    max_in_flight: Annotated[
        int, typer.Option(min=1, help="Most requests sent and unanswered: some 500 for each worker keep it busy.")
    ] = DEFAULT_IN_FLIGHT,
    timeout: Annotated[
        float, typer.Option(min=0, help="Give up after so many seconds without any progress; 0: never.")
    ] = DEFAULT_TIMEOUT_S,
    retry_failed: Annotated[
        Path | None, typer.Option(metavar="EARLIER", help="Send only what has no answer in this earlier output.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Send at most so many requests a second.")] = None,
    max_tokens_total: Annotated[
        int | None, typer.Option(min=1, help="Stop sending before the answers of all runs use more tokens.")
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Post the end there, signed with webhook.secret.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print the final counts as JSON on stdout.")
    ] = False,
    config: Config = None,
) -> None:
    """Send a file of OpenAI Batch requests, and collect the results.

    Each line of INPUT becomes one line of the output, in order of completion:

    {"custom_id": "a-1", "method": "POST", "url": "/v1/chat/completions",
    "body": {"model": "default", "messages": [...]}}

    INPUT may be a pipe, gzip, or UTF-16 and UTF-32: it is copied first.

    A journal beside the output (PATH.journal) remembers what was sent. After
    an interruption, a kill or a time-out the same command goes on where it
    stopped: no request that Kafka has accepted is sent again, and no result
    is lost or doubled.

    Ctrl-C stops sending. Pressed again within three seconds it cancels the
    requests that are sent and unanswered: the next run finds them ended with
    the error cancelled, and --retry-failed sends them anew. A third time it
    ends at once.

    The webhook gets OpenAI's event batch.completed, signed by the Standard
    Webhooks scheme. One that does not take it for five minutes is given up
    with a message; the batch is done all the same.

    Exit codes: 0 all answered; 1 some failed (the output has their errors);
    2 bad arguments, files or settings, or no Kafka; 3 no progress within
    --timeout, or --max-tokens-total is reached; 130 interrupted.
    """
    quiet_libraries()

    async def run(lines: Path, show: Callable[[Progress], None]) -> Summary:
        settings, in_flight = load_settings(config), InFlight()
        sender = None if webhook is None else WebhookSender(settings.webhook, webhook)
        sending = send(settings, lines, show, in_flight)
        take_back = partial(in_flight.cancel, settings.kafka)
        summary = await interruptible(sending, lambda: len(in_flight), take_back, interrupted)
        if sender is not None:
            await _tell(sender, summary)
        return summary

    async def send(settings: Settings, lines: Path, show: Callable[[Progress], None], in_flight: InFlight) -> Summary:
        with traces(settings.traces, "pelton-submit") as kept:
            async with waiting(settings.kafka, say_line) as teller:
                return await submit_batch(
                    settings.kafka,
                    lines,
                    out,
                    max_in_flight=max_in_flight,
                    timeout_s=timeout or None,
                    rate_per_s=rate,
                    max_tokens_total=max_tokens_total,
                    on_progress=_moving(teller, show),
                    traces=kept,
                    in_flight=in_flight,
                )

    interrupted = f"Interrupted. {out} has what is done; run the same command again to go on."
    with (
        clear_errors(interrupted=interrupted),
        readable_input(source) as whole,
        without_answer(whole, retry_failed) as lines,
        progress_bar() as show,
    ):
        summary = run_async(run(lines, show), interrupted=interrupted)
    _report(summary, out, as_json=as_json)


def _moving(teller: Waiting, show: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """Show progress, and that it is no longer waited for."""

    def progress(now: Progress) -> None:
        teller.moved()
        show(now)

    return progress


def _report(summary: Summary, out: Path, *, as_json: bool) -> None:
    """Print the counts; end the command as failed where a request has."""
    if as_json:
        typer.echo(orjson.dumps(dataclasses.asdict(summary)))
    counts = f"{summary.requests:,} requests: {summary.answered:,} answered, {summary.failed:,} failed"
    stderr.print(f"{counts}. Results: {out}", markup=False, highlight=False, soft_wrap=True)
    for code, count in summary.errors.items():
        stderr.print(f"  {count:,} {shown(code)}", markup=False, highlight=False, soft_wrap=True)
    if summary.failed:
        raise typer.Exit(Exit.FAILED)


async def _tell(sender: WebhookSender, summary: Summary) -> None:
    counts = {"total": summary.requests, "completed": summary.answered, "failed": summary.failed}
    event = batch_event(summary.run_id, "completed", int(time.time()), counts)
    try:
        await tell(sender, event, WEBHOOK_PATIENCE_S)
    except WebhookFailed as error:
        stderr.print(f"{error} The end of the batch is not told.", markup=False, highlight=False, soft_wrap=True)
