"""`pelton map`: a map tried on sample records, before a worker uses it."""

from pathlib import Path
from typing import Annotated

import typer

from pelton.commands.common import Config, Exit, clear_errors, fail, say, stderr
from pelton.pipeline.errors import RequestError
from pelton.pipeline.map_file import load_map
from pelton.pipeline.outside_text import escaped
from pelton.pipeline.settings.loading import load_settings
from pelton.pipeline.wire.records import RequestRecord, Source

app = typer.Typer(name="map", help="Try a map on sample records.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """A group also while it has one command."""


@app.command()
def check(
    map_file: Annotated[Path, typer.Argument(metavar="MAP", help="The map, a TOML file.")],
    sample: Annotated[Path | None, typer.Option(metavar="PATH", help="Records, one JSON object a line.")] = None,
    config: Config = None,
) -> None:
    """Say what is wrong with a map; print the bodies it makes of sample records.

    Records of a sample have no key.

    Exit codes: 0 nothing is wrong; 1 records that the map does not fit; 2 a
    file cannot be used.
    """
    with clear_errors():
        settings = load_settings(config)
        limit, made = settings.worker.max_request_bytes, load_map(map_file, settings.schemas)
    faulty = 0
    for number, line in _lines(sample) if sample else []:
        record = RequestRecord(Source("sample", 0, number), None, line, (), 0, 0)
        try:
            body = made.body(record, max_bytes=limit)
            made.decode(record, max_bytes=limit)
        except RequestError as error:
            faulty += 1
            told = f"line {number}: {error.message} ({error.code})"
            stderr.print(escaped(told), markup=False, highlight=False, soft_wrap=True)
        else:
            say(body)
    if faulty:
        raise typer.Exit(Exit.FAILED)


def _lines(sample: Path) -> list[tuple[int, bytes]]:
    try:
        return [(at, line) for at, line in enumerate(sample.read_bytes().splitlines(), 1) if line.strip()]
    except OSError as error:
        fail(f"The sample {sample} cannot be read: {error.strerror}.", Exit.UNUSABLE)
