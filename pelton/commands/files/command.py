"""`pelton files`: batch files checked, split and compared."""

import dataclasses
from pathlib import Path
from typing import Annotated

import orjson
import typer

from pelton.commands.common import Config, Exit, clear_errors, say, stderr
from pelton.commands.files.estimates import measured_speed, token_counter
from pelton.commands.shared.duration import duration
from pelton.pipeline.settings.loading import load_settings
from pelton.producers.batch.tools.check import Fault
from pelton.producers.batch.tools.check import check as check_file
from pelton.producers.batch.tools.diff import diff as diff_files
from pelton.producers.batch.tools.split import MAX_BYTES, MAX_LINES
from pelton.producers.batch.tools.split import split as split_file

app = typer.Typer(name="files", help="Check, split and compare batch files.", no_args_is_help=True)

Source = Annotated[Path, typer.Argument(metavar="INPUT", help="OpenAI Batch requests, one JSON object a line.")]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON, one object a line.")]


@app.command()
def check(  # noqa: PLR0913, PLR0917  # the command's options, each by name
    source: Source,
    model: Annotated[str | None, typer.Option(help="Fault lines that ask for a model other than this.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Count tokens with this model's tokenizer: a folder, or a name.")
    ] = None,
    speed: Annotated[
        float | None, typer.Option("--tokens-per-second", min=0.001, help="Say how long it takes at this speed.")
    ] = None,
    metrics: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="The same, at the speed that a worker's metrics tell.")
    ] = None,
    most: Annotated[int, typer.Option("--max-faults", min=0, help="Print as many faults at most; 0: all.")] = 100,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Look through a file before it is sent: every line, every fault, by line and field.

    Faults are those that a worker would find in headers and bodies. Token
    counts are estimates, four bytes a token; exact with --tokenizer. Answers
    are taken to be as long as they may get. The time is that of workers with
    nothing else to do; give --metrics once for each.

    Exit codes: 0 nothing is wrong; 1 faults; 2 the file cannot be read.
    """
    printed = 0

    def on_fault(fault: Fault) -> None:
        nonlocal printed
        printed += 1
        if most and printed > most:
            return
        told = f"line {fault.line}: {f'{fault.field}: ' if fault.field else ''}{fault.message} ({fault.code})"
        say(orjson.dumps(dataclasses.asdict(fault)) if as_json else told)

    with clear_errors():
        limits = load_settings(config).worker
        per_second = measured_speed(metrics) if metrics else speed
        checked = check_file(
            source,
            on_fault,
            max_request_bytes=limits.max_request_bytes,
            model=model,
            count_tokens=None if tokenizer is None else token_counter(tokenizer),
        )
    answered = checked.answer_tokens + checked.open_ended * limits.default_max_new_tokens
    seconds = None if per_second is None else (checked.prompt_tokens + answered) / per_second
    if as_json:
        say(orjson.dumps({**dataclasses.asdict(checked), "tokens_per_second": per_second, "at_most_s": seconds}))
    answers = f"answers of up to {checked.answer_tokens:,} tokens"
    if checked.open_ended:
        answers += f" and {checked.open_ended:,} answers without a limit (up to {limits.default_max_new_tokens:,} each)"
    _tell(
        f"{checked.requests:,} requests, {checked.faulty:,} faulty with {checked.faults:,} faults. Of the others: "
        f"prompts of {'' if checked.exact else 'about '}{checked.prompt_tokens:,} tokens, {answers}."
    )
    if seconds is not None:
        _tell(f"At {per_second:,.0f} tokens a second that takes {duration(seconds)} at most.")
    if checked.faulty:
        raise typer.Exit(Exit.FAILED)


@app.command()
def split(
    source: Source,
    folder: Annotated[Path, typer.Option("--to", file_okay=False, exists=True, help="Where the parts go.")] = Path(),
    lines: Annotated[int, typer.Option(min=1, help="Most requests of a part.")] = MAX_LINES,
    size: Annotated[int, typer.Option("--bytes", min=1, help="Most bytes of a part.")] = MAX_BYTES,
) -> None:
    """Cut a file into parts, between lines: INPUT-0001.jsonl and so on.

    Exit codes: 0 done; 2 a file cannot be read or written, or is there
    already.
    """
    with clear_errors():
        parts = split_file(source, folder, lines=lines, size=size)
    for part in parts:
        say(str(part.path))
    _tell(f"{sum(part.lines for part in parts):,} requests in {len(parts):,} parts.")


@app.command()
def diff(
    source: Source,
    outputs: Annotated[list[Path], typer.Argument(metavar="OUTPUT...", help="What was answered, in any order.")],
    as_json: AsJson = False,
) -> None:
    """Say which requests of INPUT have no answer in the outputs.

    Exit codes: 0 each request has one answer; 1 not so; 2 a file cannot be
    read.
    """

    def on_open(line: int, custom_id: str | None, what: str) -> None:
        told = {"line": line, "custom_id": custom_id, "outcome": what}
        say(orjson.dumps(told) if as_json else f"line {line}: {what}: {custom_id}")

    with clear_errors():
        found = diff_files(source, outputs, on_open)
    if as_json:
        say(orjson.dumps(dataclasses.asdict(found)))
    _tell(
        f"{found.requests:,} requests: {found.answered:,} answered, {found.failed:,} failed, "
        f"{found.missing:,} missing, {found.doubled:,} doubled; {found.foreign:,} output lines without a request."
    )
    if not found.complete:
        raise typer.Exit(Exit.FAILED)


def _tell(text: str) -> None:
    stderr.print(text, markup=False, highlight=False, soft_wrap=True)
