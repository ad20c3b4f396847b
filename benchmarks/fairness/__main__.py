"""`python -m benchmarks.fairness`: a table, the same as JSON, and a figure of the waits under overload."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.fairness import plot, traffic
from benchmarks.fairness.scenarios import SCENARIOS, Figure, overload
from benchmarks.support.data import DATA

OVERLOAD = "a cloud's traffic at 1.2 times what the engine can do"


def main(
    figure: Annotated[Path, typer.Option(help="Where the page with the figure goes.")] = Path("fairness.html"),
    data: Annotated[
        Path, typer.Option(help="Folder of the Azure traces; without them traffic is made like it.")
    ] = DATA,
    only: Annotated[str, typer.Option(help="Only measurements whose name has this in it.")] = "",
) -> None:
    """Measure who gets the engine; exits with 1 where something is not as it must be."""
    measured: dict[str, list[Figure]] = {name: run() for name, run in SCENARIOS.items() if only in name}
    if only in OVERLOAD:
        measured[OVERLOAD], curves = overload(traffic.read(data))
        plot.write(figure, f"Wait in the line: {OVERLOAD}", curves)
    for name, figures in measured.items():
        _print(name, figures)
    print(orjson.dumps({name: [asdict(each) for each in figures] for name, figures in measured.items()}).decode())
    if any(each.holds is False for figures in measured.values() for each in figures):
        sys.exit(1)


def _print(name: str, figures: list[Figure]) -> None:
    table = Table("", "measured", "", "must be", "", title=name)
    for each in figures:
        verdict = {True: "yes", False: "NO", None: ""}[each.holds]
        table.add_row(each.what, f"{each.value:,.3f}".rstrip("0").rstrip("."), each.unit, each.bound, verdict)
    Console().print(table)


typer.run(main)
