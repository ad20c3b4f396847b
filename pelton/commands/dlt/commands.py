"""`pelton dlt`: look at dead letters, and replay them."""

import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from pelton.commands.common import Config, Exit, clear_errors, fail, quiet_libraries, run_async, say, stderr
from pelton.commands.dlt import view
from pelton.commands.dlt.options import (
    AsJson,
    Codes,
    CorrelationId,
    Partitions,
    Places,
    Since,
    Tenant,
    Text,
    Topic,
    Until,
    parse_place,
)
from pelton.pipeline.settings.kafka import KafkaSettings
from pelton.pipeline.settings.loading import load_settings
from pelton.pipeline.wire.contract import DEAD_LETTER_SUFFIX, dead_letter_topic
from pelton.producers.dead_letters import replay as dead_letter_replay
from pelton.producers.dead_letters.letters import DeadLetter, LetterPosition, Replayed, Selection
from pelton.producers.dead_letters.reader import look_at
from pelton.producers.dead_letters.replay import ReplayCounts

_PIPE_WIDTH = 160
_MAX_TOLD = 10

app = typer.Typer(
    name="dlt", help="Look at dead letters, the requests that failed, and replay them.", no_args_is_help=True
)


@app.command("list")
def list_letters(  # noqa: PLR0913, PLR0917  # the command's options, each by name
    places: Places = None,
    codes: Codes = None,
    partitions: Partitions = None,
    since: Since = None,
    until: Until = None,
    correlation_id: CorrelationId = None,
    tenant: Tenant = None,
    text: Text = None,
    as_json: AsJson = False,
    topic: Topic = None,
    config: Config = None,
) -> None:
    """List dead letters, oldest first: where each lies, why, and whether it was replayed.

    Options narrow the list; a letter has to fit all of them.

    Example: pelton dlt list --code out_of_memory --since 2h

    Exit codes: 0 listed; 2 bad arguments or settings, or no Kafka; 3 the topic
    could not be read to its end; 130 interrupted.
    """
    kafka, name = _kafka_and_topic(config, topic)
    selection = _selection(places, codes, partitions, since, until, correlation_id, tenant, text)
    if as_json:
        run_async(_each(kafka, name, selection, lambda *found: say(view.as_json(*found, whole=False))))
        return
    rows: dict[tuple[int, LetterPosition], view.Row] = {}

    def keep(letter: DeadLetter, replayed: Replayed | None) -> None:
        rows[letter.timestamp_ms, letter.place] = view.row(letter, replayed)

    with stderr.status(f"Reading {name} ..."):
        run_async(_each(kafka, name, selection, keep))
    if not rows:
        stderr.print(f"No dead letter of {name} fits." if selection != Selection() else f"{name} has no dead letters.")
        return
    console = _console()
    console.print(view.listing(name, [rows[when] for when in sorted(rows)], console.width))


async def _each(
    kafka: KafkaSettings, topic: str, selection: Selection, tell: Callable[[DeadLetter, Replayed | None], None]
) -> None:
    log = await look_at(kafka, topic)
    replays = await log.replays()
    async with aclosing(log.letters()) as letters:
        async for letter in letters:
            if selection.matches(letter):
                tell(letter, replays.get(letter.place))


@app.command()
def show(
    place: Annotated[
        LetterPosition, typer.Argument(parser=parse_place, metavar="PLACE", help="partition:offset, from the list.")
    ],
    as_json: AsJson = False,
    topic: Topic = None,
    config: Config = None,
) -> None:
    """Show all of one dead letter: the reason, the headers, the body.

    Example: pelton dlt show 3:41

    Exit codes: 0 shown; 2 no letter there, bad arguments or settings, or no
    Kafka; 3 the topic could not be read to its end; 130 interrupted.
    """
    kafka, name = _kafka_and_topic(config, topic)

    async def find() -> tuple[DeadLetter, Replayed | None] | None:
        return await (await look_at(kafka, name)).find(place)

    found = run_async(find())
    if found is None:
        fail(f"No dead letter lies at {place} on topic {name}: `pelton dlt list` has those that do.", Exit.UNUSABLE)
    if as_json:
        say(view.as_json(*found, whole=True))
    else:
        _console().print(view.details(*found))
        _console().print(view.body(found[0]), soft_wrap=True)


@app.command()
def replay(  # noqa: PLR0913, PLR0917  # the command's options, each by name
    places: Places = None,
    codes: Codes = None,
    partitions: Partitions = None,
    since: Since = None,
    until: Until = None,
    correlation_id: CorrelationId = None,
    tenant: Tenant = None,
    text: Text = None,
    again: Annotated[
        bool, typer.Option("--again", metavar="", help="Send also what was replayed before: each time.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Only say what would be sent.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Send without asking.")] = False,
    topic: Topic = None,
    config: Config = None,
) -> None:
    """Send dead letters back to their request topic, each once.

    Without options that is all of them. A letter goes out as the request it
    was, and the same transaction notes that on the dead-letter topic: run
    twice, killed halfway or started by two at once, it sends nothing twice.
    A request that fails again is a new letter; one whose deadline has passed
    is answered with deadline_exceeded.

    Example: pelton dlt replay --code out_of_memory --since 2h

    Exit codes: 0 replayed, or nothing was left to replay; 1 some letters cannot
    be, or the answer was no; 2 bad arguments or settings, no Kafka, or another
    replay took over; 3 the topic could not be read to its end; 130 interrupted.
    """
    if not (yes or dry_run or _is_terminal()):
        fail("There is nobody to ask: add --yes to send, or --dry-run to see what would be sent.", Exit.UNUSABLE)
    kafka, name = _kafka_and_topic(config, topic)
    selection = _selection(places, codes, partitions, since, until, correlation_id, tenant, text)
    if dry_run or not yes:
        planned = run_async(dead_letter_replay.plan(kafka, name, selection, again=again))
        _tell(planned, f"to replay from {name}")
        if dry_run or not planned.places:
            _end(planned)
        if not typer.confirm(f"Send them to {name.removesuffix(DEAD_LETTER_SUFFIX)}?"):
            fail("Nothing was sent.", Exit.FAILED)
        selection = Selection(places=frozenset(planned.places))
    done = _replay(kafka, name, selection, again=again)
    _tell(done, f"replayed from {name}")
    _end(done)


def _replay(kafka: KafkaSettings, topic: str, selection: Selection, *, again: bool) -> ReplayCounts:
    with stderr.status(f"Replaying {topic} ...") as status:

        def tell(sent: int) -> None:
            status.update(f"Replaying {topic}: {sent:,} sent ...")

        return run_async(
            dead_letter_replay.replay(kafka, topic, selection, again=again, on_progress=tell),
            interrupted="Interrupted. What was sent is noted: run the same command for the rest.",
        )


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _kafka_and_topic(config: Path | None, topic: str | None) -> tuple[KafkaSettings, str]:
    quiet_libraries()
    with clear_errors():
        kafka = load_settings(config).kafka
    return kafka, topic or dead_letter_topic(kafka.request_topics[0])


def _selection(  # noqa: PLR0913, PLR0917  # as the commands' options stand
    places: list[LetterPosition] | None,
    codes: list[str] | None,
    partitions: list[int] | None,
    since_ms: int | None,
    until_ms: int | None,
    correlation_id: str | None,
    tenant: str | None,
    text: str | None,
) -> Selection:
    return Selection(
        places=frozenset(places) if places else None,
        codes=frozenset(codes) if codes else None,
        partitions=frozenset(partitions) if partitions else None,
        since_ms=since_ms,
        until_ms=until_ms,
        correlation_id=None if correlation_id is None else correlation_id.encode(),
        tenant=tenant,
        text=text,
    )


def _tell(tally: ReplayCounts, what: str) -> None:
    codes = ", ".join(f"{count:,} {code or 'without code'}" for code, count in tally.codes.most_common())
    count = len(tally.places)
    typer.echo(f"{count:,} dead letter{'' if count == 1 else 's'} {what}{f': {codes}' if codes else ''}.")
    notes = [f"{place}: cannot be replayed, {reason}." for place, reason in sorted(tally.impossible.items())]
    notes += [f"{place}: no such letter in the selection." for place in sorted(tally.missing)]
    hidden = len(notes) - _MAX_TOLD
    for note in [*notes[:_MAX_TOLD], f"... and {hidden:,} more."] if hidden > 0 else notes:
        stderr.print(view.harmless(note), soft_wrap=True)
    if before := len(tally.replayed_before):
        told = (
            "1 was replayed before; --again sends it"
            if before == 1
            else f"{before:,} were replayed before; --again sends them"
        )
        stderr.print(f"{told} once more.", highlight=False, soft_wrap=True)


def _end(tally: ReplayCounts) -> NoReturn:
    raise typer.Exit(Exit.FAILED if tally.impossible or tally.missing else Exit.OK)


def _console() -> Console:
    """As wide as the terminal; where there is none, the lines are long rather than cut."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
