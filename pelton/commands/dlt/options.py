"""The options by which `pelton dlt` chooses letters."""

import re
import time
from datetime import datetime
from typing import Annotated

import typer

from pelton.producers.dead_letters.letters import LetterPosition

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_AGE = re.compile(r"([0-9]{1,9})([smhd])")


def parse_place(text: str) -> LetterPosition:
    try:
        return LetterPosition.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def parse_moment(text: str) -> int:
    """Unix milliseconds of a time, local where it names no zone, or of so long ago."""
    if age := _AGE.fullmatch(text):
        return int((time.time() - int(age[1]) * _UNITS_S[age[2]]) * 1000)
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is neither an age (90m, 2h, 3d) nor a time (2026-01-31T14:00)") from None


Places = Annotated[
    list[LetterPosition] | None,
    typer.Argument(parser=parse_place, metavar="PLACE", help="Only these: partition:offset."),
]
Codes = Annotated[list[str] | None, typer.Option("--code", help="Only with this error code; repeatable.")]
Partitions = Annotated[
    list[int] | None, typer.Option("--partition", min=0, help="Only from this request partition; repeatable.")
]
Since = Annotated[
    int | None,
    typer.Option(parser=parse_moment, metavar="TIME", help="Only since: 2h (ago), 2026-01-31T14:00 (local)."),
]
Until = Annotated[int | None, typer.Option(parser=parse_moment, metavar="TIME", help="Only before.")]
CorrelationId = Annotated[str | None, typer.Option(help="Only the request with this correlation id.")]
Tenant = Annotated[str | None, typer.Option(help="Only this tenant's.")]
Text = Annotated[str | None, typer.Option(help="Only with this in the message, in whatever case.")]
Topic = Annotated[
    str | None, typer.Option(metavar="NAME", help="The dead-letter topic. Default: the first request topic's.")
]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON, a line for each letter.")]
