"""`pelton submit`: an OpenAI Batch file through Kafka, with a progress bar."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import orjson
import typer

from pelton.commands.common import Config, Exit, quiet_libraries, run_async, stderr
from pelton.commands.progress import progress_bar
from pelton.pipeline.settings.loading import load_settings
from pelton.producers.batch.submit import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT_S, Progress, Summary
from pelton.producers.batch.submit import submit as submit_batch


def submit(  # noqa: PLR0913, PLR0917  # the command's options, each by name
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="OpenAI Batch requests, one JSON object a line.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="PATH", help="Append the results here, as they come.")],
    max_in_flight: Annotated[
        int, typer.Option(min=1, help="Most requests sent and unanswered: some 500 for each worker keep it busy.")
    ] = DEFAULT_IN_FLIGHT,
    timeout: Annotated[
        float, typer.Option(min=0, help="Give up after so many seconds without any progress; 0: never.")
    ] = DEFAULT_TIMEOUT_S,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Send at most so many requests a second.")] = None,
    max_tokens_total: Annotated[
        int | None, typer.Option(min=1, help="Stop sending before the answers of all runs use more tokens.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the final counts as JSON on stdout.")] = False,
    config: Config = None,
) -> None:
    """Send a file of OpenAI Batch requests, and collect the results.

    Each line of INPUT becomes one line of the output, in order of completion:

    {"custom_id": "a-1", "method": "POST", "url": "/v1/chat/completions",
    "body": {"model": "default", "messages": [...]}}

    A journal beside the output (PATH.journal) remembers what was sent. After
    an interruption, a kill or a time-out the same command goes on where it
    stopped: no request that Kafka has accepted is sent again, and no result
    is lost or doubled.

    Exit codes: 0 all answered; 1 some failed (the output has their errors);
    2 bad arguments, files or settings, or no Kafka; 3 no progress within
    --timeout, or --max-tokens-total is reached; 130 interrupted.
    """
    quiet_libraries()

    async def run(show: Callable[[Progress], None]) -> Summary:
        kafka = load_settings(config).kafka
        limit_s = timeout or None
        return await submit_batch(
            kafka,
            source,
            out,
            max_in_flight=max_in_flight,
            timeout_s=limit_s,
            rate_per_s=rate,
            max_tokens_total=max_tokens_total,
            on_progress=show,
        )

    with progress_bar() as show:
        interrupted = f"Interrupted. {out} has what is done; run the same command again to go on."
        summary = run_async(run(show), interrupted=interrupted)
    if as_json:
        typer.echo(orjson.dumps(dataclasses.asdict(summary)))
    counts = f"{summary.requests:,} requests: {summary.answered:,} answered, {summary.failed:,} failed"
    stderr.print(f"{counts}. Results: {out}", markup=False, highlight=False, soft_wrap=True)
    if summary.failed:
        raise typer.Exit(Exit.FAILED)
