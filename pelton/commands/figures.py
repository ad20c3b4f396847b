"""`pelton figures check`: what a file of texts claims, against the tables and paragraphs beside each text."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import orjson
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from pelton.commands.common import Exit, clear_errors, fail, stderr
from pelton.producers.reports.figures.json_lines import Counts, check_line

app = typer.Typer(name="figures", help="Check the figures of texts against their sources.", no_args_is_help=True)


@app.command()
def check(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN.jsonl", exists=True, dir_okay=False, readable=True, help="One JSON object a line."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="PATH", dir_okay=False, help="Write there. Default: stdout.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", metavar="", help="Print the final counts as JSON: on stdout with --out, else on stderr."
        ),
    ] = False,
) -> None:
    """Say of every figure whether its source supports it.

    Each line of IN.jsonl has a text and its sources; each line of the output
    has a verdict for every amount of the text, in order:

    {"text": "...", "tables": [[["", "2019"], ["Sales", "$5.2"]]], "paragraphs": ["..."]}

    {"figures": [{"text": "$5.2", "start": 10, "end": 14, "verdict": "supported", "source": "...", "formula": null}]}

    Verdicts are supported (source quotes where), derived (formula shows how) and
    unsupported (reason says why). A line that cannot be read becomes
    {"error": "..."} at its own place. Start and end count characters.

    Example: pelton figures check drafts.jsonl --out checked.jsonl

    Exit codes: 0 all lines checked; 1 some lines could not be read;
    2 the files cannot be opened; 130 interrupted.
    """
    counts = Counts()
    with clear_errors(interrupted="Interrupted. The output has the lines that were checked."), ExitStack() as files:
        try:
            lines = files.enter_context(source.open("rb"))
            target = files.enter_context(out.open("wb")) if out else sys.stdout.buffer
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}", Exit.UNUSABLE)
        for number, line in files.enter_context(_progress(lines, source.stat().st_size)):
            checked = check_line(number, line, counts)
            target.write(orjson.dumps(checked) + b"\n")
        target.flush()
    _report(counts, out, as_json=as_json)
    if counts.errors:
        raise typer.Exit(Exit.FAILED)


def _report(counts: Counts, out: Path | None, *, as_json: bool) -> None:
    for number, message in counts.first_errors:
        stderr.print(f"pelton: line {number}: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        typer.echo(orjson.dumps(counts.as_dict()), err=out is None)
        return
    kinds = f"{counts.supported:,} supported, {counts.derived:,} derived, {counts.unsupported:,} unsupported"
    where = f" Results: {out}" if out else ""
    stderr.print(
        f"{counts.lines:,} lines, {counts.figures:,} figures: {kinds}.{where}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if counts.errors:
        stderr.print(f"{counts.errors:,} lines could not be read.", style="red", highlight=False)


@contextmanager
def _progress(lines: BinaryIO, size: int) -> Iterator[Iterator[tuple[int, bytes]]]:
    """The file's lines that are not blank with their numbers, and a bar on a terminal's stderr."""
    columns = (BarColumn(), DownloadColumn(), TextColumn("{task.fields[lines]:,} lines"), TimeRemainingColumn())
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("", total=size, lines=0)

        def each() -> Iterator[tuple[int, bytes]]:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
                bar.update(task, advance=len(line), lines=number)

        yield each()
