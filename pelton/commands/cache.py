"""`pelton cache`: look over the reply cache, purge it, warm it."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from pelton.cache.connection import connected
from pelton.cache.replies import admin
from pelton.commands.common import Config, Exit, clear_errors, fail, quiet_libraries, run_async, say, stderr
from pelton.commands.progress import progress_bar
from pelton.commands.shared.tables import folding_table
from pelton.pipeline.outside_text import shown
from pelton.pipeline.settings.cache import CacheSettings
from pelton.pipeline.settings.loading import load_settings
from pelton.producers.batch.cache_warming import WarmingCounts
from pelton.producers.batch.cache_warming import warm as warm_cache
from pelton.producers.batch.input_file import readable_input
from pelton.producers.batch.submit import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT_S, Progress

app = typer.Typer(name="cache", help="Look over the reply cache, purge it, or warm it.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON on stdout.")]


@app.command()
def stats(as_json: AsJson = False, config: Config = None) -> None:
    """Show what Redis holds, by model and tenant, and how requests came by their answers.

    A worker adds its counts every few seconds. Entries without a model are
    whole replies, kept for requests that are sent again.

    Exit codes: 0 shown; 2 bad arguments or settings, or no Redis;
    130 interrupted.
    """
    settings = _settings(config)

    async def look() -> admin.CacheSummary:
        async with connected(settings) as client:
            return await admin.survey(client)

    with stderr.status("Looking over the cache ..."):
        found = run_async(look())
    if as_json:
        say(_as_json(found))
        return
    console = Console()
    console.print(_holdings(found))
    if found.outcomes:
        console.print(_outcomes(found))


@app.command()
def purge(
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Only answers of this model.")] = None,
    tenant: Annotated[
        str | None, typer.Option(metavar="NAME", help='Only entries of this tenant; "" for those without one.')
    ] = None,
    everything: Annotated[bool, typer.Option("--all", metavar="", help="Every entry.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Delete entries: from Redis now, and from the memory of all workers within a second.

    --model and --tenant together delete what fits both. Sessions stay. What is
    being generated now is cached when it is done: stop a wrong model first.

    Example: pelton cache purge --model smollm2-135m-instruct

    Exit codes: 0 purged; 2 bad arguments or settings, or no Redis;
    130 interrupted.
    """
    if everything == (model is not None or tenant is not None):
        fail("Say what to purge: --model, --tenant or both, or else --all.", Exit.UNUSABLE)
    settings = _settings(config)

    async def delete() -> int:
        async with connected(settings) as client:
            return await admin.purge(client, model=model, tenant=tenant)

    with stderr.status("Purging the cache ..."):
        deleted = run_async(delete(), interrupted="Interrupted. Run the same command again for the rest.")
    typer.echo(orjson.dumps({"deleted": deleted}) if as_json else f"{deleted:,} entries deleted.")


@app.command()
def warm(  # noqa: PLR0913, PLR0917  # the command's options, each by name
    source: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="OpenAI Batch requests, one JSON object a line; - reads standard input."),
    ],
    tenant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Ask as this tenant: answers are cached by it.")
    ] = None,
    max_in_flight: Annotated[int, typer.Option(min=1, help="Most requests sent and unanswered.")] = DEFAULT_IN_FLIGHT,
    timeout: Annotated[
        float, typer.Option(min=0, help="Give up after so many seconds without any reply; 0: never.")
    ] = DEFAULT_TIMEOUT_S,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Have the workers answer a file of requests, so that the answers are cached.

    The file is one that `pelton submit` takes. The answers are not written
    anywhere: they are counted by where they came from. Only reproducible
    requests are cached, those with temperature 0 or a seed.

    Example: pelton cache warm common-questions.jsonl --tenant acme

    Exit codes: 0 all answered; 1 some failed; 2 bad arguments, files or
    settings, or no Kafka; 3 no reply within --timeout; 130 interrupted.
    """
    quiet_libraries()

    async def run(lines: Path, show: Callable[[Progress], None]) -> WarmingCounts:
        return await warm_cache(
            load_settings(config).kafka,
            lines,
            tenant=tenant,
            max_in_flight=max_in_flight,
            timeout_s=timeout or None,
            on_progress=show,
        )

    with clear_errors(), readable_input(source) as lines, progress_bar() as show:
        tally = run_async(run(lines, show), interrupted="Interrupted. What was answered is in the cache.")
    if as_json:
        counts = {"requests": tally.requests, "outcomes": tally.outcomes, "failures": tally.failures}
        say(orjson.dumps(counts))
    else:
        say(f"{tally.requests:,} requests: {_counted(tally)}.")
    if tally.failures:
        raise typer.Exit(Exit.FAILED)


def _settings(config: Path | None) -> CacheSettings:
    quiet_libraries()
    with clear_errors():
        return load_settings(config).cache


def _counted(tally: WarmingCounts) -> str:
    outcomes = [f"{count:,} {shown(outcome)}" for outcome, count in tally.outcomes.most_common()]
    failures = [f"{count:,} failed ({shown(code)})" for code, count in tally.failures.most_common()]
    return ", ".join(outcomes + failures) or "none sent"


def _as_json(found: admin.CacheSummary) -> bytes:
    entries = [
        {"kind": _kind(owner), "model": owner.model, "tenant": owner.tenant, **dataclasses.asdict(held)}
        for owner, held in found.holdings.items()
    ]
    return orjson.dumps({"entries": entries, "outcomes": found.outcomes, "since_ms": found.since_ms})


def _kind(owner: admin.Owner) -> str:
    return owner.kind.name.lower()


def _holdings(found: admin.CacheSummary) -> Table:
    table = folding_table("kind", "model", "tenant", figures=("entries", "memory"), box=box.SIMPLE_HEAD)
    for owner, held in sorted(found.holdings.items(), key=lambda item: -item[1].bytes):
        names = (_kind(owner), owner.model or "-", owner.tenant or "-")
        table.add_row(*(Text(shown(name)) for name in names), f"{held.entries:,}", decimal(held.bytes))
    return table


def _outcomes(found: admin.CacheSummary) -> Table:
    since = "answers" if found.since_ms is None else f"answers since {_time(found.since_ms)}"
    table = folding_table(since, figures=("count", "share"), box=box.SIMPLE_HEAD)
    total = found.outcomes.total()
    for outcome, count in found.outcomes.most_common():
        table.add_row(Text(shown(outcome)), f"{count:,}", f"{count / total:.1%}")
    return table


def _time(unix_ms: int) -> str:
    """Local time."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
